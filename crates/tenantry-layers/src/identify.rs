//! Whose request is it? From the host, a domain of the tenant's own, or the `X-Tenant-ID` header.
//!
//! Must not look the tenant up, nor at tokens. A request without a tenant is answered 400 here.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri};
use tenantry_types::{DomainName, TenantName, TenantUid};
use tower::{Layer, Service};

use crate::problem::Problem;
use crate::refusable::{Refusable, RefusableFuture};

/// The header that names a tenant where the host does not.
pub const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

/// How a request named its tenant. Put into its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantHint {
    /// By name: the host's first label, or the header.
    Name(TenantName),
    /// By a host that is not below our suffix; leads to a tenant if it is registered.
    Domain(DomainName),
    /// By its uid. Never read from a request: put there by a trusted layer above, which knew it.
    Uid(TenantUid),
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

/// Answers 400 to requests without a tenant and passes on the others with a [`TenantHint`]. One that has a hint already, from a
/// layer above, keeps it.
#[derive(Debug, Clone)]
pub struct Identify<S> {
    host_suffix: Arc<str>,
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Identify<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes>,
{
    type Response = Response<Refusable<B>>;
    type Error = S::Error;
    type Future = RefusableFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        if request.extensions().get::<TenantHint>().is_some() {
            return RefusableFuture::serving(self.inner.call(request));
        }
        match hint(request.headers(), request.uri(), &self.host_suffix) {
            Ok(hint) => {
                request.extensions_mut().insert(hint);
                RefusableFuture::serving(self.inner.call(request))
            }
            Err(problem) => RefusableFuture::refused(problem),
        }
    }
}

/// The header wins over the host, so that a client behind a fixed host can still choose. Where the request's own URI has a
/// host, that one counts (RFC 9112, 3.2.2).
fn hint(headers: &HeaderMap, uri: &Uri, suffix: &str) -> Result<TenantHint, Problem> {
    // Somebody on the way may have looked at another one than we would.
    let only = |name: &HeaderName, shown: &'static str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(invalid(shown, "must be given once")),
        }
    };
    let host = only(&HOST, "Host")?;
    if let Some(value) = only(&TENANT_HEADER, "X-Tenant-ID")? {
        let text = value
            .to_str()
            .map_err(|_| invalid("X-Tenant-ID", "must be plain ASCII"))?;
        return TenantName::new(text)
            .map(TenantHint::Name)
            .map_err(|error| invalid("X-Tenant-ID", &error.to_string()));
    }
    // HTTP/2 carries the host in the URI's authority.
    let host = match (uri.host(), host) {
        (Some(host), _) => host,
        (None, Some(value)) => value.to_str().map_err(|_| invalid("Host", "must be plain ASCII"))?,
        (None, None) => return Err(invalid("Host", "is missing, and so is X-Tenant-ID")),
    };
    let host = strip_port(host);
    let host = lower_case(host.strip_suffix('.').unwrap_or(host));
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
    if *host == *suffix || host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return Err(unnamed());
    }
    DomainName::new(&host).map(TenantHint::Domain).map_err(|_| unnamed())
}

/// Nearly all hosts come so, and need no copy.
fn lower_case(host: &str) -> Cow<'_, str> {
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

/// `host:port` without its port; an IPv6 address keeps its brackets.
fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn invalid(field: &'static str, reason: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "tenant-not-named", format!("{field} {reason}"))
        .with("field", field)
        .of_a_stranger()
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
    fn a_host_or_a_header_that_is_given_twice_is_a_bad_request() {
        for name in [HOST, TENANT_HEADER] {
            let mut headers = HeaderMap::new();
            for value in ["acme.localhost", "other.localhost"] {
                headers.append(&name, value.parse().unwrap());
            }
            let problem = hint(&headers, &Uri::from_static("/"), "localhost").unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.kind()), (400, "tenant-not-named"));
        }
    }

    #[test]
    fn names_beyond_ascii_are_known_by_their_punycode_alone() {
        assert!(of(Some("xn--mnchen-3ya.localhost"), None).is_ok());
        let mut headers = HeaderMap::new();
        headers.insert(
            HOST,
            http::HeaderValue::from_bytes("münchen.localhost".as_bytes()).unwrap(),
        );
        let refused = hint(&headers, &Uri::from_static("/"), "localhost").unwrap_err();
        assert_eq!(refused.status(), 400);
        let long = format!("{}.localhost", "a".repeat(10_000));
        assert_eq!(of(Some(&long), None), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn the_host_in_the_uri_counts_before_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "other.localhost".parse().unwrap());
        let found = hint(&headers, &Uri::from_static("http://acme.localhost:80/v2"), "localhost").unwrap();
        assert_eq!(found, TenantHint::Name(TenantName::new("acme").unwrap()));
    }

    #[test]
    fn a_host_below_the_suffix_is_a_name_even_where_a_domain_like_it_is_registered() {
        // The table is asked by name, so that no other tenant's domain can stand in its way.
        let name = TenantHint::Name(TenantName::new("acme").unwrap());
        assert_eq!(of(Some("acme.localhost"), None), Ok(name));
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
            (Some("acme.localhost.."), None),
            (Some(".localhost"), None),
            (Some("../../etc/passwd"), None),
            (Some("..%2f..%2fetc.localhost"), None),
            (Some("ac%6de.localhost"), None),
            (Some("acme.localhost:80:80"), None),
            (Some("acme.localhost:8401/../x"), None),
            (Some("user@acme.localhost"), None),
            (Some("acme_1.localhost"), None),
            (Some("acme.localhost"), Some("../etc")),
            (Some("acme.localhost"), Some("")),
        ] {
            assert_eq!(of(host, header), Err(StatusCode::BAD_REQUEST), "{host:?} {header:?}");
        }
    }
}
