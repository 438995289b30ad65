//! Step 1: whose request is it? From the host, a registered domain, or the `X-Tenant-ID` header.
//!
//! Must not look at the routing of the tenant, nor at tokens. A request without a tenant is answered 400 here.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::HOST;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use tenantry_types::{DomainName, TenantName};
use tower::{Layer, Service};

use super::ingress::{Forwarded, Ingress};
use super::peer_headers;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// The header that names a tenant where the host does not.
pub const TENANT_HEADER: &str = "x-tenant-id";

/// How a request named its tenant. Put into its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantHint {
    /// By name: the host's first label, or the header.
    Name(TenantName),
    /// By a host that is not below our suffix; leads to a tenant if it is registered.
    Domain(DomainName),
    /// By the node that forwarded it.
    Forwarded(Forwarded),
}

/// Adds [`Identify`].
#[derive(Debug, Clone)]
pub struct IdentifyLayer {
    /// Tenants live at `TENANT.suffix`. Lower case, no dots around it.
    host_suffix: Arc<str>,
}

impl IdentifyLayer {
    /// Tenants live at `TENANT.host_suffix`.
    #[must_use]
    pub fn new(host_suffix: &str) -> Self {
        Self {
            host_suffix: host_suffix.trim_matches('.').to_ascii_lowercase().into(),
        }
    }
}

impl<S> Layer<S> for IdentifyLayer {
    type Service = Identify<S>;

    fn layer(&self, inner: S) -> Identify<S> {
        Identify {
            host_suffix: self.host_suffix.clone(),
            inner,
        }
    }
}

/// Answers 400 to requests without a tenant and passes on the others with a [`TenantHint`].
#[derive(Debug, Clone)]
pub struct Identify<S> {
    host_suffix: Arc<str>,
    inner: S,
}

impl<S> Service<Request<Body>> for Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let ingress = request.extensions().get().copied().unwrap_or(Ingress::Public);
        let hint = match ingress {
            Ingress::Peer => peer_headers::read(request.headers()).map(TenantHint::Forwarded),
            Ingress::Public => {
                peer_headers::strip(request.headers_mut());
                hint(request.headers(), request.uri(), &self.host_suffix)
            }
        };
        match hint {
            Ok(hint) => {
                request.extensions_mut().insert(hint);
                Either::Right(self.inner.call(request))
            }
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}

/// The header wins over the host, so that a client behind a fixed host can still choose.
fn hint(headers: &HeaderMap, uri: &Uri, suffix: &str) -> Result<TenantHint, Problem> {
    if let Some(value) = headers.get(TENANT_HEADER) {
        let text = value
            .to_str()
            .map_err(|_| invalid("X-Tenant-ID", "must be plain ASCII"))?;
        return TenantName::new(text)
            .map(TenantHint::Name)
            .map_err(|error| invalid("X-Tenant-ID", &error.to_string()));
    }
    // HTTP/2 carries the host in the URI's authority.
    let host = match (uri.host(), headers.get(HOST)) {
        (Some(host), _) => host,
        (None, Some(value)) => value.to_str().map_err(|_| invalid("Host", "must be plain ASCII"))?,
        (None, None) => return Err(invalid("Host", "is missing, and so is X-Tenant-ID")),
    };
    let host = strip_port(host).trim_end_matches('.').to_ascii_lowercase();
    if let Some(name) = host.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')) {
        return TenantName::new(name)
            .map(TenantHint::Name)
            .map_err(|error| invalid("Host", &error.to_string()));
    }
    let unnamed = || {
        invalid(
            "Host",
            &format!("names no tenant: use TENANT.{suffix}, a registered domain, or X-Tenant-ID"),
        )
    };
    if host == suffix || host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return Err(unnamed());
    }
    DomainName::new(&host).map(TenantHint::Domain).map_err(|_| unnamed())
}

/// `host:port` without its port; an IPv6 address keeps its brackets.
fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn invalid(field: &'static str, reason: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "tenant-not-named", format!("{field} {reason}")).with("field", field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: Option<&str>, header: Option<&str>) -> Result<TenantHint, StatusCode> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, host.parse().unwrap());
        }
        if let Some(header) = header {
            headers.insert(TENANT_HEADER, header.parse().unwrap());
        }
        hint(&headers, &Uri::from_static("/v2/pipeline"), "localhost").map_err(|problem| problem.status())
    }

    #[test]
    fn a_tenant_is_named_by_host_domain_or_header() {
        let name = |text| Ok(TenantHint::Name(TenantName::new(text).unwrap()));
        assert_eq!(of(Some("acme.localhost:8401"), None), name("acme"));
        assert_eq!(of(Some("ACME.LocalHost"), None), name("acme"));
        assert_eq!(of(Some("acme.localhost."), None), name("acme"));
        assert_eq!(of(Some("127.0.0.1:8401"), Some("acme")), name("acme"));
        assert_eq!(of(Some("other.localhost"), Some("acme")), name("acme"));
        let domain = DomainName::new("db.acme.example").unwrap();
        assert_eq!(of(Some("db.acme.example:443"), None), Ok(TenantHint::Domain(domain)));
    }

    #[test]
    fn anything_else_is_a_bad_request() {
        for (host, header) in [
            (None, None),
            (Some("localhost:8401"), None),
            (Some("127.0.0.1:8401"), None),
            (Some("[::1]:8401"), None),
            (Some("a.b.localhost"), None),
            (Some("../x.localhost"), None),
            (Some("-x.localhost"), None),
            (Some(""), None),
            (Some("plainhost"), None),
            (Some("acme.localhost"), Some("../etc")),
            (Some("acme.localhost"), Some("")),
        ] {
            assert_eq!(of(host, header), Err(StatusCode::BAD_REQUEST), "{host:?} {header:?}");
        }
    }
}
