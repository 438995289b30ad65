//! Measures every request of a tenant from its arrival to the end of its answer, refusals of the layers below included.
//!
//! Around everything below it and must not decide anything. An answer whose body breaks off counts as our failure,
//! whatever its status said; a request whose client left before the answer counts as abandoned.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::meter::{AnswerClass, InFlight, MeterRegistry};
use crate::tenant::{KnownTenant, Tenant};

/// Makes [`Observe`] services that share one registry. Looks for a `T` in each request's extensions.
pub struct ObserveLayer<T = Tenant> {
    meters: Arc<MeterRegistry>,
    tenant: PhantomData<fn() -> T>,
}

impl<T: KnownTenant> ObserveLayer<T> {
    /// Counts into the meters of that registry.
    #[must_use]
    pub const fn new(meters: Arc<MeterRegistry>) -> Self {
        Self {
            meters,
            tenant: PhantomData,
        }
    }
}

impl<T> Clone for ObserveLayer<T> {
    fn clone(&self) -> Self {
        Self {
            meters: Arc::clone(&self.meters),
            tenant: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for ObserveLayer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObserveLayer").field("meters", &self.meters).finish()
    }
}

impl<S, T> Layer<S> for ObserveLayer<T> {
    type Service = Observe<S, T>;

    fn layer(&self, inner: S) -> Observe<S, T> {
        Observe {
            inner,
            layer: self.clone(),
        }
    }
}

/// Measures the requests of tenants. A request without a `T` passes unmeasured.
#[derive(Debug)]
pub struct Observe<S, T = Tenant> {
    inner: S,
    layer: ObserveLayer<T>,
}

impl<S: Clone, T> Clone for Observe<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S, T, A, B> Service<Request<A>> for Observe<S, T>
where
    S: Service<Request<A>, Response = Response<B>>,
    T: KnownTenant,
{
    type Response = Response<ObservedBody<B>>;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let in_flight = request
            .extensions()
            .get::<T>()
            .map(|tenant| self.layer.meters.begin(tenant.uid(), tenant.name()));
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

impl<F, B, E> Future for ObserveFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.serving.poll(context));
        let mut in_flight = this.in_flight.take();
        let response = match answered {
            Ok(response) => response,
            Err(error) => {
                // No answer, and not because the client left.
                if let Some(in_flight) = &mut in_flight {
                    in_flight.answered(AnswerClass::ServerError);
                }
                return Poll::Ready(Err(error));
            }
        };
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http_body_util::{BodyExt as _, StreamBody};
    use tenantry_types::{TenantName, TenantUid};
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::clock::ManualClock;
    use crate::quota::RequestLimits;
    use crate::refusable::BoxError;
    use crate::test_body::{Body, empty, full};

    struct Stack {
        clock: Arc<ManualClock>,
        meters: Arc<MeterRegistry>,
    }

    impl Stack {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(1_700_000_000_000));
            let meters = MeterRegistry::new(clock.clone());
            Self { clock, meters }
        }

        /// The answer to a request that the inner service answers so.
        async fn ask(&self, status: u16, body: Body) -> Response<ObservedBody<Body>> {
            let mut body = Some(body);
            let inner = service_fn(move |_: Request<Body>| {
                let response = Response::builder().status(status).body(body.take().unwrap());
                async move { Ok::<_, Infallible>(response.unwrap()) }
            });
            let service = ObserveLayer::<Tenant>::new(Arc::clone(&self.meters)).layer(inner);
            service.oneshot(request()).await.unwrap()
        }

        fn counted(&self, class: AnswerClass) -> u64 {
            assert_eq!(self.meters.answers().total(), self.meters.answers().get(class));
            self.meters.answers().get(class)
        }
    }

    fn request() -> Request<Body> {
        let mut request = Request::new(empty());
        request.extensions_mut().insert(Tenant {
            uid: TenantUid::from_u128(9),
            name: TenantName::new("acme").unwrap(),
            limits: RequestLimits {
                requests_per_day: 1_000,
                burst: None,
                concurrent_requests: 5,
            },
        });
        request
    }

    #[tokio::test]
    async fn a_request_is_counted_when_its_body_has_ended() {
        let stack = Stack::new();
        let response = stack.ask(200, full("row")).await;
        assert_eq!((stack.meters.concurrent(), stack.meters.answers().total()), (1, 0));
        stack.clock.advance(Duration::from_millis(40));
        response.into_body().collect().await.unwrap();
        assert_eq!((stack.meters.concurrent(), stack.counted(AnswerClass::Success)), (0, 1));

        let meter = stack
            .meters
            .meter(TenantUid::from_u128(9), &TenantName::new("acme").unwrap());
        let quantile = meter.response_quantile_seconds(crate::clock::Clock::now(&*stack.clock), 1.0);
        assert_eq!(quantile, Some(0.05), "40 ms lie in the bucket up to 50 ms");
    }

    #[tokio::test]
    async fn refusals_count_in_classes_of_their_own() {
        for (status, class) in [
            (429, AnswerClass::Throttled),
            (507, AnswerClass::StorageFull),
            (503, AnswerClass::ServerError),
            (404, AnswerClass::ClientError),
        ] {
            let stack = Stack::new();
            drop(stack.ask(status, empty()).await);
            assert_eq!(stack.counted(class), 1, "{status}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_our_failure() {
        let stack = Stack::new();
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"row"))),
            Err(BoxError::from("disk gone")),
        ];
        let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
        let response = stack.ask(200, body).await;
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(stack.counted(AnswerClass::ServerError), 1);
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_the_answer_is_counted_as_such() {
        let stack = Stack::new();
        let never = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let service = ObserveLayer::<Tenant>::new(Arc::clone(&stack.meters)).layer(never);
        let mut call = Box::pin(service.oneshot(request()));
        assert!(futures_util::poll!(call.as_mut()).is_pending());
        assert_eq!(stack.meters.concurrent(), 1);
        drop(call);
        assert_eq!(
            (stack.meters.concurrent(), stack.counted(AnswerClass::Abandoned)),
            (0, 1)
        );
    }

    #[tokio::test]
    async fn an_error_of_the_inner_service_is_our_failure() {
        let stack = Stack::new();
        let failing = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(BoxError::from("timed out")) });
        let service = ObserveLayer::<Tenant>::new(Arc::clone(&stack.meters)).layer(failing);
        assert!(service.oneshot(request()).await.is_err());
        assert_eq!(stack.counted(AnswerClass::ServerError), 1);
    }

    #[tokio::test]
    async fn a_request_without_a_tenant_passes_unmeasured() {
        let stack = Stack::new();
        let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(empty())) });
        let service = ObserveLayer::<Tenant>::new(Arc::clone(&stack.meters)).layer(inner);
        let response = service.oneshot(Request::new(empty())).await.unwrap();
        assert_eq!(response.status(), 200);
        drop(response);
        assert_eq!((stack.meters.tenants(), stack.meters.answers().total()), (0, 0));
    }
}
