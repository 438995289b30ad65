//! Measures every request of a tenant from its arrival to the end of its answer, refusals of the layers below included.
//!
//! Around everything below it and must not decide anything. An answer whose body breaks off counts as our failure,
//! whatever its status said; a request whose client left before the answer counts as abandoned.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::TenantContext;
use crate::http::body::Body;
use crate::metrics::{AnswerClass, InFlight, MeterRegistry};

/// Makes [`Observe`] services that share one registry.
#[derive(Debug, Clone)]
pub struct ObserveLayer {
    meters: Arc<MeterRegistry>,
}

impl ObserveLayer {
    /// Counts into the meters of that registry.
    #[must_use]
    pub const fn new(meters: Arc<MeterRegistry>) -> Self {
        Self { meters }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            meters: Arc::clone(&self.meters),
        }
    }
}

/// Measures the requests of tenants. A request without a [`TenantContext`] passes unmeasured.
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    meters: Arc<MeterRegistry>,
}

impl<S, B> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<ObservedBody<B>>;
    type Error = Infallible;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let in_flight = request
            .extensions()
            .get::<TenantContext>()
            .map(|tenant| self.meters.begin(tenant.uid, &tenant.name));
        ObserveFuture {
            serving: self.inner.call(request),
            in_flight,
        }
    }
}

pin_project! {
    /// The answer to one request.
    pub struct ObserveFuture<F> {
        #[pin]
        serving: F,
        in_flight: Option<InFlight>,
    }
}

impl<F, B> Future for ObserveFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<ObservedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.serving.poll(context));
        let mut in_flight = this.in_flight.take();
        if let Some(in_flight) = &mut in_flight {
            in_flight.answered(AnswerClass::of(response.status()));
        }
        Poll::Ready(Ok(response.map(|body| ObservedBody { body, in_flight })))
    }
}

pin_project! {
    /// The body of an answer that is measured. The measurement ends with it.
    pub struct ObservedBody<B> {
        #[pin]
        body: B,
        in_flight: Option<InFlight>,
    }
}

impl<B> http_body::Body for ObservedBody<B>
where
    B: http_body::Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                if let Some(mut in_flight) = this.in_flight.take() {
                    in_flight.answered(AnswerClass::ServerError);
                }
            }
            None => drop(this.in_flight.take()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
