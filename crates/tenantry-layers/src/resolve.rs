//! Which tenant has that name? Asks a directory of the service's own.
//!
//! For services that keep their tenants in memory. One that has to wait for the answer writes a layer of its own that puts
//! a [`KnownTenant`] into the request.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::identify::TenantHint;
use crate::problem::Problem;
use crate::refusable::{Refusable, RefusableFuture};
use crate::tenant::KnownTenant;

/// Knows the tenants. Any closure from a hint to a tenant is one.
pub trait Directory: Clone + Send + Sync + 'static {
    /// What it knows of a tenant.
    type Tenant: KnownTenant;

    /// The tenant that a request named. Called for each request on an async worker: must not block.
    fn find(&self, hint: &TenantHint) -> Option<Self::Tenant>;
}

impl<F, T> Directory for F
where
    F: Fn(&TenantHint) -> Option<T> + Clone + Send + Sync + 'static,
    T: KnownTenant,
{
    type Tenant = T;

    fn find(&self, hint: &TenantHint) -> Option<T> {
        self(hint)
    }
}

/// Adds [`Resolve`].
#[derive(Debug, Clone)]
pub struct ResolveLayer<D> {
    directory: D,
}

impl<D: Directory> ResolveLayer<D> {
    /// Asks that directory.
    #[must_use]
    pub const fn new(directory: D) -> Self {
        Self { directory }
    }
}

impl<S, D: Directory> Layer<S> for ResolveLayer<D> {
    type Service = Resolve<S, D>;

    fn layer(&self, inner: S) -> Resolve<S, D> {
        Resolve {
            inner,
            directory: self.directory.clone(),
        }
    }
}

/// Answers 404 to requests of nobody's and passes on the others with their tenant.
#[derive(Debug, Clone)]
pub struct Resolve<S, D> {
    inner: S,
    directory: D,
}

impl<S, D, A, B> Service<Request<A>> for Resolve<S, D>
where
    S: Service<Request<A>, Response = Response<B>>,
    D: Directory,
    B: http_body::Body<Data = Bytes>,
{
    type Response = Response<Refusable<B>>;
    type Error = S::Error;
    type Future = RefusableFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let found = request
            .extensions()
            .get::<TenantHint>()
            .and_then(|hint| self.directory.find(hint));
        match found {
            Some(tenant) => {
                request.extensions_mut().insert(tenant);
                RefusableFuture::serving(self.inner.call(request))
            }
            None => RefusableFuture::refused(Problem::new(
                StatusCode::NOT_FOUND,
                "tenant-unknown",
                "there is no such tenant",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, Full};
    use tenantry_types::TenantUid;
    use tower::{ServiceBuilder, ServiceExt as _, service_fn};

    use super::*;
    use crate::identify::IdentifyLayer;
    use crate::quota::RequestLimits;
    use crate::tenant::Tenant;

    #[tokio::test]
    async fn a_request_is_passed_on_with_its_tenant_or_refused() {
        let directory = |hint: &TenantHint| match hint {
            TenantHint::Name(name) if name.as_str() == "acme" => Some(Tenant {
                uid: TenantUid::from_u128(7),
                name: name.clone(),
                limits: RequestLimits {
                    requests_per_day: 5,
                    burst: None,
                    concurrent_requests: 1,
                },
            }),
            _ => None,
        };
        let service = ServiceBuilder::new()
            .layer(IdentifyLayer::new("example.com"))
            .layer(ResolveLayer::new(directory))
            .service(service_fn(async |request: Request<()>| {
                let uid = request.extensions().get::<Tenant>().unwrap().uid.as_u128();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(uid.to_string()))))
            }));
        for (host, status, text) in [
            ("acme.example.com", 200, "7"),
            ("other.example.com", 404, "tenant-unknown"),
            ("example.com", 400, "tenant-not-named"),
        ] {
            let request = Request::builder().header("host", host).body(()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{host}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(std::str::from_utf8(&body).unwrap().contains(text), "{host}: {body:?}");
        }
    }
}
