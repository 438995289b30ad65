//! Quotas on the way in: decides from the [`TenantContext`] before the inner service is called and before the body is
//! read, so a refused request opens no database.
//!
//! Every answer that passed here, refusals too, says what the limits are and what is left of them. A limit of the tenant
//! is a 429 with a true `Retry-After`; a ledger of ours that cannot be read or written is a 503. Must not wait on
//! anything but the tenant's own ledger.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tenantry_types::{EffectiveQuota, TenantName, TenantUid, UnixMillis};
use tokio::sync::mpsc;
use tower::{Layer, Service};

use super::TenantContext;
use crate::clock::Clock;
use crate::http::body::{Body, BoxError};
use crate::http::problem::Problem;
use crate::quota::{
    Admission, Charge, Crossing, Decision, Permit, Policy, QuotaError, QuotaRegistry, RATE_LIMIT, RATE_LIMIT_POLICY,
    Refusal, Standing, policy_field, rate_limit_field, seconds_up,
};

/// A share of a daily limit that a tenant passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaEvent {
    /// Who.
    pub tenant: TenantUid,
    /// Its name at that time.
    pub name: TenantName,
    /// When, by the wall clock.
    pub occurred_at: UnixMillis,
    /// What was passed.
    pub crossing: Crossing,
}

/// Makes [`Admit`] services that share one registry.
#[derive(Clone)]
pub struct AdmitLayer {
    shared: Arc<Shared>,
}

impl AdmitLayer {
    /// Crossings go to `events`; one that finds the channel full is counted in [`crate::quota::QuotaCounters`] and dropped.
    #[must_use]
    pub fn new(registry: Arc<QuotaRegistry>, clock: Arc<dyn Clock>, events: mpsc::Sender<QuotaEvent>) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry,
                clock,
                events,
            }),
        }
    }
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Lets requests through within their tenant's limits.
#[derive(Clone)]
pub struct Admit<S> {
    inner: S,
    shared: Arc<Shared>,
}

struct Shared {
    registry: Arc<QuotaRegistry>,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<QuotaEvent>,
}

/// Which requests count: all but questions about the tenant's own use, and CORS preflights.
fn charge_of<B>(request: &Request<B>) -> Charge {
    match (request.method(), request.uri().path()) {
        (&Method::OPTIONS, _) | (&Method::GET | &Method::HEAD, "/v1/usage") => Charge::Free,
        _ => Charge::Counted,
    }
}

impl<S, B> Service<Request<Body>> for Admit<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<AdmittedBody<B>>;
    type Error = Infallible;
    type Future = AdmitFuture<S>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> AdmitFuture<S> {
        let Some(tenant) = request.extensions().get::<TenantContext>() else {
            return AdmitFuture::answer(no_context());
        };
        let charge = charge_of(&request);
        let decision = self.shared.registry.try_admit(tenant.uid, &tenant.quota, charge);
        self.shared.report(tenant, decision.crossing);
        match decision.admission {
            Admission::Admitted(permit, standing) => {
                let fields = Fields::new(&tenant.quota, Some(standing));
                AdmitFuture::serve(self.inner.call(request), permit, fields)
            }
            Admission::Refused(refusal) => AdmitFuture::answer(self.shared.refuse(&tenant.quota, &refusal)),
            Admission::NeedsLedger | Admission::Gone => {
                let (registry, uid, limits) = (Arc::clone(&self.shared.registry), tenant.uid, tenant.quota);
                // The service that was polled ready serves this request; a clone of it is polled for the next one.
                let clone = self.inner.clone();
                AdmitFuture {
                    state: State::Waiting {
                        deciding: Box::pin(async move { registry.admit(uid, &limits, charge).await }),
                        waiting: Some(Waiting {
                            inner: std::mem::replace(&mut self.inner, clone),
                            shared: Arc::clone(&self.shared),
                            request,
                            charge,
                        }),
                    },
                }
            }
        }
    }
}

impl Shared {
    fn report(&self, tenant: &TenantContext, crossing: Option<Crossing>) {
        let Some(crossing) = crossing else { return };
        let event = QuotaEvent {
            tenant: tenant.uid,
            name: tenant.name.clone(),
            occurred_at: self.clock.now().wall,
            crossing,
        };
        if self.events.try_send(event).is_err() {
            self.registry.counters().crossings_dropped.fetch_add(1, Relaxed);
        }
    }

    fn refuse(&self, limits: &EffectiveQuota, refusal: &Refusal) -> Response<Body> {
        let violated = refusal.violated().collect::<Vec<_>>();
        if let Some(first) = violated.first() {
            self.registry.counters().count_refusal(*first);
        }
        quota_exceeded(
            limits,
            refusal,
            &violated,
            jittered_seconds(refusal.retry_after, rand::random()),
        )
    }
}

/// A request that waits for its tenant's ledger.
struct Waiting<S> {
    inner: S,
    shared: Arc<Shared>,
    request: Request<Body>,
    charge: Charge,
}

impl<S, B> Waiting<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    fn resume(mut self, outcome: Result<Decision, QuotaError>) -> State<S> {
        let Some(tenant) = self.request.extensions().get::<TenantContext>() else {
            return State::Answer {
                response: Some(no_context()),
            };
        };
        let limits = tenant.quota;
        let answer = |response| State::Answer {
            response: Some(response),
        };
        let (permit, standing) = match outcome {
            Ok(decision) => {
                self.shared.report(tenant, decision.crossing);
                match decision.admission {
                    Admission::Admitted(permit, standing) => (permit, Some(standing)),
                    Admission::Refused(refusal) => return answer(self.shared.refuse(&limits, &refusal)),
                    Admission::NeedsLedger | Admission::Gone => {
                        return answer(quota_unavailable(&limits, QuotaError::LedgerBusy));
                    }
                }
            }
            // What is free is not held up by a disk of ours.
            Err(_) if self.charge == Charge::Free => (None, None),
            Err(error) => return answer(quota_unavailable(&limits, error)),
        };
        State::Serving {
            serving: self.inner.call(self.request),
            permit,
            fields: Fields::new(&limits, standing),
        }
    }
}

/// The two fields of an answer.
struct Fields {
    limits: EffectiveQuota,
    standing: Option<Standing>,
}

impl Fields {
    const fn new(limits: &EffectiveQuota, standing: Option<Standing>) -> Self {
        Self {
            limits: *limits,
            standing,
        }
    }

    fn put_into<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        headers.insert(RATE_LIMIT_POLICY, policy_field(&self.limits));
        if let Some(standing) = &self.standing {
            headers.insert(RATE_LIMIT, rate_limit_field(standing));
        }
    }
}

pin_project! {
    /// The answer to one request.
    pub struct AdmitFuture<S>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S>
    where
        S: Service<Request<Body>>,
    {
        Answer { response: Option<Response<Body>> },
        Waiting {
            deciding: Pin<Box<dyn Future<Output = Result<Decision, QuotaError>> + Send>>,
            waiting: Option<Waiting<S>>,
        },
        Serving {
            #[pin]
            serving: S::Future,
            permit: Option<Permit>,
            fields: Fields,
        },
    }
}

impl<S> AdmitFuture<S>
where
    S: Service<Request<Body>>,
{
    const fn answer(response: Response<Body>) -> Self {
        Self {
            state: State::Answer {
                response: Some(response),
            },
        }
    }

    const fn serve(serving: S::Future, permit: Option<Permit>, fields: Fields) -> Self {
        Self {
            state: State::Serving {
                serving,
                permit,
                fields,
            },
        }
    }
}

impl<S, B> Future for AdmitFuture<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    type Output = Result<Response<AdmittedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Answer { response } => {
                    // A future is not polled again after its answer; if it is, the answer is an empty 500.
                    let response = response.take().unwrap_or_else(no_context);
                    return Poll::Ready(Ok(response.map(|refusal| AdmittedBody {
                        source: Source::Refusal { refusal },
                    })));
                }
                StateProjection::Serving {
                    serving,
                    permit,
                    fields,
                } => {
                    let Ok(mut response) = ready!(serving.poll(context));
                    fields.put_into(&mut response);
                    let permit = permit.take();
                    return Poll::Ready(Ok(response.map(|body| AdmittedBody {
                        source: Source::Served { body, permit },
                    })));
                }
                StateProjection::Waiting { deciding, waiting } => {
                    let outcome = ready!(deciding.as_mut().poll(context));
                    waiting.take().map_or_else(
                        || State::Answer {
                            response: Some(no_context()),
                        },
                        |waiting| waiting.resume(outcome),
                    )
                }
            };
            state.set(next);
        }
    }
}

pin_project! {
    /// The body of an answer that passed the quotas. Holds the request's place among the concurrent ones until it ends
    /// or is dropped.
    pub struct AdmittedBody<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = SourceProjection]
    enum Source<B> {
        Served {
            #[pin]
            body: B,
            permit: Option<Permit>,
        },
        Refusal {
            #[pin]
            refusal: Body,
        },
    }
}

impl<B> http_body::Body for AdmittedBody<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().source.project() {
            SourceProjection::Served { body, permit } => {
                let frame = ready!(body.poll_frame(context));
                if !matches!(frame, Some(Ok(_))) {
                    drop(permit.take());
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            SourceProjection::Refusal { refusal } => refusal.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Served { body, .. } => body.is_end_stream(),
            Source::Refusal { refusal } => refusal.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Served { body, .. } => body.size_hint(),
            Source::Refusal { refusal } => refusal.size_hint(),
        }
    }
}

fn quota_exceeded(limits: &EffectiveQuota, refusal: &Refusal, violated: &[Policy], retry_after: u64) -> Response<Body> {
    let policy = violated.first().copied().unwrap_or(Policy::Daily);
    let (limit, used) = refusal.standing.limit_and_use(policy);
    let detail = match policy {
        Policy::Daily => format!("The tenant has used {used} of {limit} requests in 24 hours."),
        Policy::Burst => format!("The tenant has sent more than {limit} requests at once; slow down."),
        Policy::Concurrent => format!("The tenant has {used} requests being served, of {limit} allowed at one moment."),
    };
    let names = violated.iter().map(|policy| policy.as_str()).collect::<Vec<_>>();
    let mut standing = refusal.standing;
    // The draft wants both fields to name one moment.
    let moment = Duration::from_secs(retry_after);
    match policy {
        Policy::Daily => standing.daily_wait = Some(moment),
        Policy::Burst => {
            if let Some(burst) = &mut standing.burst {
                burst.wait = moment;
            }
        }
        Policy::Concurrent => {}
    }
    let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", detail)
        .with("violated-policies", names)
        .with("limit", limit)
        .with("used", used)
        .retry_after(retry_after)
        .into_response();
    Fields::new(limits, Some(standing)).put_into(&mut response);
    response
}

fn quota_unavailable(limits: &EffectiveQuota, error: QuotaError) -> Response<Body> {
    let detail = format!("This node cannot count the request at the moment: {error}.");
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "quota-unavailable", detail)
        .retry_after(jittered_seconds(Duration::from_secs(1), rand::random()))
        .into_response();
    Fields::new(limits, None).put_into(&mut response);
    response
}

fn no_context() -> Response<Body> {
    tracing::error!("a request reached the quotas without a tenant");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The request could not be attributed to a tenant.",
    )
    .into_response()
}

/// Whole seconds from 1, never before `wait` is over, and up to a tenth (1 to 300 s) later, so that the clients of a
/// tenant do not all come back in the same second. `random` is from 0 up to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product is between 0 and 301"
)]
fn jittered_seconds(wait: Duration, random: f64) -> u64 {
    let seconds = seconds_up(wait).max(1);
    let spread = (seconds / 10).clamp(1, 300);
    seconds
        .saturating_add(((spread + 1) as f64 * random.clamp(0.0, 1.0)) as u64)
        .min(seconds + spread)
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
