//! Version probes: whether this node speaks a version of the protocol, and in which encoding.
//!
//! SDKs ask so before they connect, without a token, and take a refusal for a no. The answer is the same for every host and says nothing
//! of who is there. So it is given above all that asks who it is: it is nobody's request, neither measured nor charged. Must not answer
//! anything that depends on a tenant.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::body::{Body, full};

/// Adds [`Probes`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbesLayer;

impl<S> Layer<S> for ProbesLayer {
    type Service = Probes<S>;

    fn layer(&self, inner: S) -> Probes<S> {
        Probes { inner }
    }
}

/// Answers probes, and passes on everything else.
#[derive(Debug, Clone)]
pub(super) struct Probes<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Probes<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match probed(request.method(), request.uri().path()) {
            Some(encoding) => Either::Left(ready(Ok(spoken(encoding)))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}

/// The encoding that a probe asks for.
fn probed(method: &Method, path: &str) -> Option<&'static str> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    match path {
        "/v2" | "/v3" => Some("json"),
        "/v3-protobuf" => Some("protobuf"),
        _ => None,
    }
}

fn spoken(encoding: &str) -> Response<Body> {
    let body = format!(r#"{{"protocol":"hrana-over-http","encoding":"{encoding}"}}"#);
    let mut response = Response::new(full(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
