//! Hands a request to the node that serves its tenant, streaming both ways.
//!
//! Must not hold a body back, nor choose a node. What a client is told follows one rule: **503 only if nothing was carried
//! out**, so that it may send the request again; 502 and 504 if nobody can know.
//!
//! | what happened | nothing was carried out, because | the client gets |
//! |---|---|---|
//! | no connection, or none on which the owner says its first word, within two seconds | nothing was sent | 503 `owner-unreachable` |
//! | no room on the connections | nothing was sent | 503 `overloaded` |
//! | the connection closed before the request left, or the owner's GOAWAY or refused stream says that it did not take it up | nothing was sent, or the owner says so | sent once more, if its body can be had again; else 503 `stopping` |
//! | 421: not the owner, or not at that epoch | no layer below the owner's `route` saw it | `route` decides, at most one further hop |
//! | the connection or the stream broke off before the answer | - | 502 `owner-broke-off` |
//! | no sign of life on the connection | - | 504 `owner-silent` |
//! | the answer broke off after its headers | - | a body that is cut off: never a proper end, never a wait |
//!
//! No answer has a time limit of its own, since a pipeline may hold any number of statements, each with the tenant's query
//! time: a dead or frozen owner is noticed by the connection's PINGs ([`peer_protocol`](super::peer_protocol)), and what the
//! owner itself never answers it would not answer a direct client either.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mutual_tls::Security;
use tenantry_types::{Epoch, NodeRoute};
use tokio::sync::OwnedSemaphorePermit;

use super::held_refusals::HeldRefusals;
use super::ingress::Forwarded;
use super::peer_headers;
use super::peers::{PeerError, Peers};
use super::upload::{Upload, UploadBody};
use crate::http::body::{Body, BoxError};
use crate::http::problem::{IntoAnswer as _, Problem};

/// A request that was not taken up is sent once more, since the owner may have been started again meanwhile.
const ATTEMPTS: u32 = 2;

/// Keeps connections to the other nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Forwarder {
    peers: Arc<Peers>,
    refusals: Arc<HeldRefusals>,
}

/// What came of a request that was forwarded.
#[derive(Debug)]
pub(super) enum Forwarding {
    /// The client's answer.
    Answered(Response<Body>),
    /// That node does not serve the tenant at that epoch; nothing was carried out.
    Misdirected {
        /// The request, if its body can be had again.
        again: Option<Request<Body>>,
        /// The epoch that the other node knows.
        known: Option<Epoch>,
    },
}

impl Forwarder {
    /// Connects to the other nodes by `security`.
    #[must_use]
    pub fn new(security: Security) -> Self {
        Self {
            peers: Arc::new(Peers::new(security)),
            refusals: Arc::default(),
        }
    }

    /// The other node's answer, or a refusal that says whether the request may have been carried out.
    pub(super) async fn forward(&self, request: Request<Body>, node: &NodeRoute, forwarded: Forwarded) -> Forwarding {
        let (parts, body) = request.into_parts();
        let upload = Upload::new(body);
        let mut attempt = 0;
        let error = loop {
            attempt += 1;
            let Some(body) = upload.begin() else {
                // A first attempt always has a body; this is a second one, of a request that was not taken up.
                count("stopping");
                break Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", stopping(node)).retry_after(1);
            };
            let outcome = match readdress(&parts, body, node, forwarded) {
                Ok(request) => self.peers.send(&node.peer_address, request).await,
                Err(error) => {
                    tracing::warn!(node = %node.id, %error, "a request cannot be put to a node");
                    break Problem::new(StatusCode::BAD_REQUEST, "malformed-request", error.to_string());
                }
            };
            let error = match outcome {
                Ok((response, _)) if response.status() == StatusCode::MISDIRECTED_REQUEST => {
                    count("misdirected");
                    return Forwarding::Misdirected {
                        again: upload
                            .begin()
                            .map(|body| Request::from_parts(parts, body.boxed_unsync())),
                        known: peer_headers::known_epoch(response.headers()),
                    };
                }
                Ok((response, place)) => {
                    count("answered");
                    let answer = relayed(response, place);
                    return Forwarding::Answered(self.refusals.hold(forwarded.tenant, answer).await);
                }
                Err(error) => error,
            };
            match &error {
                PeerError::Silent(_) | PeerError::BrokeOff(_) => {
                    tracing::warn!(node = %node.id, %error, "a node did not answer; the outcome is unknown");
                }
                _ => tracing::debug!(node = %node.id, attempt, %error, "a node did not take a request up"),
            }
            if upload.is_broken() {
                break Problem::new(
                    StatusCode::BAD_REQUEST,
                    "incomplete-body",
                    "the request's body broke off",
                );
            }
            match error {
                PeerError::NotTakenUp(_) if attempt < ATTEMPTS => {}
                error => break refusal(&error, node),
            }
        };
        Forwarding::Answered(error.into_answer())
    }
}

fn stopping(node: &NodeRoute) -> String {
    format!(
        "node {} serves this tenant and is stopping; nothing was carried out",
        node.id
    )
}

fn refusal(error: &PeerError, node: &NodeRoute) -> Problem {
    let NodeRoute { id, .. } = node;
    match error {
        PeerError::Unreachable(_) => {
            count("unreachable");
            let detail = format!("node {id} serves this tenant and cannot be reached; nothing was carried out");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "owner-unreachable", detail).retry_after(1)
        }
        PeerError::Busy => {
            count("busy");
            let detail = format!("too many requests for node {id} are under way; nothing was carried out");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(1)
        }
        PeerError::NotTakenUp(_) => {
            count("stopping");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", stopping(node)).retry_after(1)
        }
        PeerError::Silent(_) => {
            count("silent");
            let detail = format!("node {id} gives no sign of life; the request may or may not have been carried out");
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "owner-silent", detail)
        }
        PeerError::BrokeOff(_) => {
            count("broke-off");
            let detail = format!("node {id} broke off; the request may or may not have been carried out");
            Problem::new(StatusCode::BAD_GATEWAY, "owner-broke-off", detail)
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("tenantry_node_forwarded_requests_total", "outcome" => outcome).increment(1);
}

fn readdress(
    parts: &Parts,
    body: UploadBody,
    node: &NodeRoute,
    forwarded: Forwarded,
) -> Result<Request<UploadBody>, http::Error> {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    // For the other node's logs; it takes the tenant from our headers.
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let authority = match parts.uri.authority().cloned().or(host) {
        Some(authority) => authority,
        None => node.id.as_str().parse()?,
    };
    let path = parts.uri.path_and_query().cloned();
    *request.uri_mut() = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()?;
    *request.headers_mut() = parts.headers.clone();
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    headers.remove(header::HOST);
    // Met by this node when it reads the body.
    headers.remove(header::EXPECT);
    peer_headers::write(headers, forwarded);
    Ok(request)
}

fn relayed(response: Response<Incoming>, place: OwnedSemaphorePermit) -> Response<Body> {
    let mut response = response.map(|incoming| {
        Relayed {
            incoming,
            _place: place,
        }
        .boxed_unsync()
    });
    *response.version_mut() = Version::HTTP_11;
    strip_hop_by_hop(response.headers_mut());
    peer_headers::strip(response.headers_mut());
    response.extensions_mut().clear();
    response
}

/// The other node's answer on its way. Keeps the request's place on the connection until it has ended or is dropped.
struct Relayed {
    incoming: Incoming,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Relayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if let Poll::Ready(Some(Err(error))) = &frame {
            count("cut-off");
            tracing::warn!(%error, "a node's answer broke off");
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
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
    headers.remove("http2-settings");
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
        let (parts, body) = Request::post("/v2/pipeline?x=1")
            .header("host", "acme.localhost:8401")
            .header("connection", "close, x-private")
            .header("x-private", "1")
            .header("te", "trailers")
            .header("expect", "100-continue")
            .header("authorization", "Bearer x")
            .body(empty())
            .unwrap()
            .into_parts();
        let body = Upload::new(body).begin().unwrap();
        let request = readdress(&parts, body, &node("127.0.0.1:9"), FORWARDED).unwrap();
        assert_eq!(request.uri(), "http://acme.localhost:8401/v2/pipeline?x=1");
        for gone in ["host", "connection", "x-private", "te", "expect"] {
            assert!(!request.headers().contains_key(gone), "{gone}");
        }
        assert_eq!(request.headers()["authorization"], "Bearer x");
        assert_eq!(peer_headers::read(request.headers()).unwrap(), FORWARDED);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_to_other_nodes_outlive_the_workers_of_the_request_that_needed_them_first() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counting = Arc::clone(&accepted);
        let owner = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let io = hyper_util::rt::TokioIo::new(socket);
                let answer =
                    hyper::service::service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(empty())));
                let executor = hyper_util::rt::TokioExecutor::new();
                tokio::spawn(hyper::server::conn::http2::Builder::new(executor).serve_connection(io, answer));
            }
        });
        let forwarder = Forwarder::new(Security::Plain);
        let ask = move |forwarder: Forwarder| {
            let node = node(&address);
            async move {
                let request = Request::get("http://acme.localhost/v2").body(empty()).unwrap();
                match forwarder.forward(request, &node, FORWARDED).await {
                    Forwarding::Answered(response) => response.status().as_u16(),
                    Forwarding::Misdirected { .. } => 421,
                }
            }
        };
        // As many as there are connections to a node, so that each is opened by a worker that goes away.
        let others = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let connections = super::super::peer_protocol::CONNECTIONS;
        for _ in 0..connections {
            assert_eq!(others.spawn(ask(forwarder.clone())).await.unwrap(), 200);
        }
        others.shutdown_background();
        for _ in 0..2 * connections {
            assert_eq!(ask(forwarder.clone()).await, 200);
        }
        assert_eq!(accepted.load(std::sync::atomic::Ordering::Relaxed), connections);
        owner.abort();
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_gives_503_and_says_that_nothing_was_done() {
        // Nobody listens on port 1; the second address is none.
        for address in ["127.0.0.1:1", "not an address"] {
            let request = Request::get("/v2").body(empty()).unwrap();
            let forwarder = Forwarder::new(Security::Plain);
            let Forwarding::Answered(response) = forwarder.forward(request, &node(address), FORWARDED).await else {
                panic!("{address}: an answer was expected");
            };
            assert_eq!(
                (response.status().as_u16(), &response.headers()["retry-after"]),
                (503, &"1".parse().unwrap())
            );
        }
    }
}
