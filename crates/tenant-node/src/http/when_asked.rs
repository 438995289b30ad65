//! A layer for the requests that ask for it. All others go past it, unboxed and without a clone of anything.
//!
//! Most requests come from SDKs in servers: they name no origin and take no compression. They are the ones that count.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::{Either, MapOk};
use http::{Request, Response};
use tower::{Layer, Service};

use super::body::{Body, BoxError, boxed};

/// Adds a layer for the requests that ask for it. The services below must always be ready.
pub(super) struct WhenAsked<L> {
    layer: Arc<L>,
    asks: fn(&Request<Body>) -> bool,
}

impl<L> WhenAsked<L> {
    /// `layer` for the requests that `asks` picks out.
    pub(super) fn new(layer: L, asks: fn(&Request<Body>) -> bool) -> Self {
        Self {
            layer: Arc::new(layer),
            asks,
        }
    }
}

impl<S, L> Layer<S> for WhenAsked<L> {
    type Service = Asked<S, L>;

    fn layer(&self, inner: S) -> Asked<S, L> {
        Asked {
            inner,
            layer: Arc::clone(&self.layer),
            asks: self.asks,
        }
    }
}

/// Serves some requests through a layer.
pub(super) struct Asked<S, L> {
    inner: S,
    layer: Arc<L>,
    asks: fn(&Request<Body>) -> bool,
}

impl<S: Clone, L> Clone for Asked<S, L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: Arc::clone(&self.layer),
            asks: self.asks,
        }
    }
}

/// The answer of the layer, in the stack's type of body.
type Layered<F, B> = MapOk<F, fn(Response<B>) -> Response<Body>>;

impl<S, L, B> Service<Request<Body>> for Asked<S, L>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
    L: Layer<S>,
    L::Service: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Layered<<L::Service as Service<Request<Body>>>::Future, B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !(self.asks)(&request) {
            return Either::Left(self.inner.call(request));
        }
        let mut layered = self.layer.layer(self.inner.clone());
        let unify: fn(Response<B>) -> Response<Body> = |response| response.map(boxed);
        Either::Right(layered.call(request).map_ok(unify))
    }
}
