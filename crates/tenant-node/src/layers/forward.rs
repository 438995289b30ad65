//! Hands a request to the node that serves its tenant, streaming both ways.
//!
//! Must not buffer a body, nor try a second node: the client retries, since only it knows whether that is safe.

use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tenantry_types::NodeRoute;

use super::ingress::Forwarded;
use super::peer_headers;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// A connection that takes longer than this to a machine next door will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections to a node are kept this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept per node.
const IDLE_PER_NODE: usize = 64;

/// Keeps connections to the other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Forwarder {
    client: Client<HttpConnector, Body>,
}

impl Default for Forwarder {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_NODE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client }
    }
}

impl Forwarder {
    /// The other node's answer, or a refusal that says whether the request may have reached it.
    pub async fn forward(&self, request: Request<Body>, node: &NodeRoute, forwarded: Forwarded) -> Response<Body> {
        let request = match readdress(request, node, forwarded) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(node = %node.id, address = node.peer_address, %error, "cannot address a node");
                return unreachable(node).into_response();
            }
        };
        match self.client.request(request).await {
            Ok(response) if response.status() == StatusCode::MISDIRECTED_REQUEST => {
                let detail = "the tenant is just changing its node; try again";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "placement-changing", detail)
                    .retry_after(1)
                    .into_response()
            }
            Ok(response) => {
                let mut response = response.map(|body| body.map_err(Into::into).boxed_unsync());
                strip_hop_by_hop(response.headers_mut());
                response
            }
            Err(error) if error.is_connect() => {
                tracing::warn!(node = %node.id, %error, "a node cannot be reached");
                unreachable(node).into_response()
            }
            Err(error) => {
                tracing::warn!(node = %node.id, %error, "a node broke off a forwarded request");
                let detail = format!(
                    "node {} broke off; the request may or may not have been carried out",
                    node.id
                );
                Problem::new(StatusCode::BAD_GATEWAY, "owner-broke-off", detail).into_response()
            }
        }
    }
}

fn unreachable(node: &NodeRoute) -> Problem {
    let detail = format!(
        "node {} serves this tenant and cannot be reached; nothing was carried out",
        node.id
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "owner-unreachable", detail).retry_after(1)
}

fn readdress(request: Request<Body>, node: &NodeRoute, forwarded: Forwarded) -> Result<Request<Body>, http::Error> {
    let (mut parts, body) = request.into_parts();
    // HTTP/2 carries the host in the URI alone, and the other node wants to see it for its logs.
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(header::HOST)
        && let Ok(host) = authority.as_str().parse()
    {
        parts.headers.insert(header::HOST, host);
    }
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(node.peer_address.parse::<Authority>()?)
        .path_and_query(path)
        .build()?;
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    peer_headers::write(&mut parts.headers, forwarded);
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

/// Headers that belong to one connection (RFC 9110, 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<header::HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Epoch, NodeId, TenantUid};

    use super::*;
    use crate::http::body::empty;

    fn node(address: &str) -> NodeRoute {
        NodeRoute {
            id: NodeId::new("node-2").unwrap(),
            peer_address: address.into(),
        }
    }

    const FORWARDED: Forwarded = Forwarded {
        tenant: TenantUid::from_u128(1),
        epoch: Epoch(4),
    };

    #[test]
    fn a_forwarded_request_keeps_its_path_and_loses_connection_headers() {
        let request = Request::post("/v2/pipeline?x=1")
            .header("host", "acme.localhost")
            .header("connection", "close, x-private")
            .header("x-private", "1")
            .body(empty())
            .unwrap();
        let request = readdress(request, &node("127.0.0.1:9"), FORWARDED).unwrap();
        assert_eq!(request.uri(), "http://127.0.0.1:9/v2/pipeline?x=1");
        assert_eq!(request.headers()["host"], "acme.localhost");
        assert!(!request.headers().contains_key("x-private") && !request.headers().contains_key("connection"));
        assert_eq!(peer_headers::read(request.headers()).unwrap(), FORWARDED);
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_gives_503_and_says_that_nothing_was_done() {
        let request = Request::get("/v2").body(empty()).unwrap();
        let response = Forwarder::default()
            .forward(request, &node("127.0.0.1:1"), FORWARDED)
            .await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[tokio::test]
    async fn a_node_without_a_usable_address_gives_503() {
        let request = Request::get("/v2").body(empty()).unwrap();
        let response = Forwarder::default()
            .forward(request, &node("not an address"), FORWARDED)
            .await;
        assert_eq!(response.status(), 503);
    }
}
