//! Which listener a request came in by, and what that listener's requests are believed.
//!
//! Comes before a request's tenant is read from it: what a node says of a request counts more than the request's own host,
//! and what a client says as if it were a node does not count at all.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::{Request, Response};
use tenantry_layers::TenantHint;
use tenantry_types::{Epoch, TenantUid};
use tower::{Layer, Service};

use super::peer_headers;
use crate::http::body::Body;
use crate::http::problem::IntoAnswer as _;

/// Put into a request's extensions by the connection that it arrived on. Where nothing is said, it was a client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ingress {
    /// From a client. Its headers say nothing about routing.
    #[default]
    Public,
    /// From another node, which has identified the tenant and must not be forwarded to again.
    Peer,
}

/// What a forwarding node says of a request; believed on [`Ingress::Peer`] only. Put into its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// Whom the request is for.
    pub tenant: TenantUid,
    /// The placement that the forwarding node acted on.
    pub epoch: Epoch,
}

/// Adds [`Believe`].
#[derive(Debug, Clone, Copy)]
pub struct IngressLayer;

impl<S> Layer<S> for IngressLayer {
    type Service = Believe<S>;

    fn layer(&self, inner: S) -> Believe<S> {
        Believe { inner }
    }
}

/// Passes on a node's requests with what it says of them, and a client's without what only nodes may say.
#[derive(Debug, Clone)]
pub struct Believe<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Believe<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Self::Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match request.extensions().get().copied().unwrap_or_default() {
            Ingress::Public => peer_headers::strip(request.headers_mut()),
            Ingress::Peer => match peer_headers::read(request.headers()) {
                Ok(forwarded) => {
                    let extensions = request.extensions_mut();
                    extensions.insert(TenantHint::Uid(forwarded.tenant));
                    extensions.insert(forwarded);
                }
                Err(problem) => return Either::Left(ready(Ok(problem.into_answer()))),
            },
        }
        Either::Right(self.inner.call(request))
    }
}
