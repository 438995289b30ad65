//! The way of one request through the layer.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tenantry_types::TenantUid;
use tokio::time::Sleep;
use tower::Service;

use super::Shared;
use super::body::AdmittedBody;
use super::fields::Fields;
use super::refusals::{no_tenant, quota_unavailable};
use crate::quota::{Admission, Charge, Decision, Permit, QuotaError, RequestLimits};
use crate::tenant::KnownTenant;

/// A request that waits for its tenant's ledger.
pub(super) struct Waiting<S, T, A> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
    pub(super) request: Request<A>,
    pub(super) charge: Charge,
    pub(super) limits: RequestLimits,
    pub(super) holding: Holding,
    pub(super) tenant: PhantomData<fn() -> T>,
}

impl<S, T, A, B> Waiting<S, T, A>
where
    S: Service<Request<A>, Response = Response<B>>,
    T: KnownTenant,
{
    fn resume(mut self, outcome: Result<Decision, QuotaError>) -> State<S, T, A> {
        let Some(tenant) = self.request.extensions().get::<T>() else {
            return State::answer(no_tenant());
        };
        let (shared, limits) = (&self.shared, &self.limits);
        let (permit, fields) = match outcome {
            Ok(decision) => {
                shared.report(tenant, decision.crossing);
                let fields = shared.fields(limits, decision.policy);
                match decision.admission {
                    Admission::Admitted(permit, standing) => (permit, fields.with(standing)),
                    Admission::Refused(refusal) => {
                        return State::refuse(shared.refuse(fields, &refusal), self.holding.here(refusal.hold));
                    }
                    Admission::NeedsLedger | Admission::Gone => {
                        return State::answer(quota_unavailable(fields, QuotaError::LedgerBusy));
                    }
                }
            }
            // What is free is not held up by a disk of ours.
            Err(_) if self.charge == Charge::Free => (None, shared.fields(limits, None)),
            Err(error) => return State::answer(quota_unavailable(shared.fields(limits, None), error)),
        };
        let whose = Whose {
            shared: Arc::clone(&self.shared),
            tenant: tenant.uid(),
            holding: self.holding,
        };
        State::Serving {
            serving: self.inner.call(self.request),
            permit,
            fields: Some(fields),
            whose,
        }
    }
}

pin_project! {
    /// The answer to one request.
    pub struct AdmitFuture<S, T, A>
    where
        S: Service<Request<A>>,
    {
        #[pin]
        state: State<S, T, A>,
    }
}

type Deciding = Pin<Box<dyn Future<Output = Result<Decision, QuotaError>> + Send>>;

pin_project! {
    #[project = StateProjection]
    enum State<S, T, A>
    where
        S: Service<Request<A>>,
    {
        Answer { response: Option<Response<Full<Bytes>>> },
        Held {
            until: Pin<Box<Sleep>>,
            response: Option<Response<Full<Bytes>>>,
        },
        Waiting {
            deciding: Deciding,
            waiting: Option<Waiting<S, T, A>>,
        },
        Serving {
            #[pin]
            serving: S::Future,
            permit: Option<Permit>,
            fields: Option<Fields>,
            whose: Whose,
        },
        RefusedBelow {
            until: Pin<Box<Sleep>>,
            response: Option<S::Response>,
        },
    }
}

/// Whose request the inner service has.
pub(super) struct Whose {
    pub(super) shared: Arc<Shared>,
    pub(super) tenant: TenantUid,
    pub(super) holding: Holding,
}

/// Who holds a flood of refusals back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    Here,
    /// Somebody nearer to the client.
    Elsewhere,
}

impl Holding {
    /// How long an answer waits here that is to be held back for so long.
    pub(super) const fn here(self, hold: Duration) -> Duration {
        match self {
            Self::Here => hold,
            Self::Elsewhere => Duration::ZERO,
        }
    }
}

impl<S, T, A> State<S, T, A>
where
    S: Service<Request<A>>,
{
    const fn answer(response: Response<Full<Bytes>>) -> Self {
        Self::Answer {
            response: Some(response),
        }
    }

    fn refuse(response: Response<Full<Bytes>>, hold: Duration) -> Self {
        if hold.is_zero() {
            return Self::answer(response);
        }
        Self::Held {
            until: Box::pin(tokio::time::sleep(hold)),
            response: Some(response),
        }
    }
}

impl<S, T, A> AdmitFuture<S, T, A>
where
    S: Service<Request<A>>,
{
    pub(super) const fn answer(response: Response<Full<Bytes>>) -> Self {
        Self {
            state: State::answer(response),
        }
    }

    pub(super) fn refuse(response: Response<Full<Bytes>>, hold: Duration) -> Self {
        Self {
            state: State::refuse(response, hold),
        }
    }

    pub(super) fn wait(deciding: Deciding, waiting: Waiting<S, T, A>) -> Self {
        Self {
            state: State::Waiting {
                deciding,
                waiting: Some(waiting),
            },
        }
    }

    pub(super) const fn serve(serving: S::Future, permit: Option<Permit>, fields: Fields, whose: Whose) -> Self {
        Self {
            state: State::Serving {
                serving,
                permit,
                fields: Some(fields),
                whose,
            },
        }
    }
}

impl<S, T, A, B> Future for AdmitFuture<S, T, A>
where
    S: Service<Request<A>, Response = Response<B>>,
    T: KnownTenant,
{
    type Output = Result<Response<AdmittedBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Answer { response } => {
                    // A future is not polled again after its answer; if it is, it has none.
                    return response.take().map_or(Poll::Pending, |response| {
                        Poll::Ready(Ok(AdmittedBody::refusal(response)))
                    });
                }
                StateProjection::Held { until, response } => {
                    ready!(until.as_mut().poll(context));
                    State::Answer {
                        response: response.take(),
                    }
                }
                StateProjection::Serving {
                    serving,
                    permit,
                    fields,
                    whose,
                } => {
                    let mut response = ready!(serving.poll(context))?;
                    if let Some(fields) = fields.take() {
                        fields.put_into(&mut response);
                    }
                    // A limit of the inner service's own. Who floods it is slowed down all the same.
                    let hold = match response.status() {
                        StatusCode::TOO_MANY_REQUESTS => whose
                            .holding
                            .here(whose.shared.registry.refused_elsewhere(whose.tenant)),
                        _ => Duration::ZERO,
                    };
                    if hold.is_zero() {
                        return Poll::Ready(Ok(AdmittedBody::served(response, permit.take())));
                    }
                    // What is only held back is not being served.
                    drop(permit.take());
                    State::RefusedBelow {
                        until: Box::pin(tokio::time::sleep(hold)),
                        response: Some(response),
                    }
                }
                StateProjection::RefusedBelow { until, response } => {
                    ready!(until.as_mut().poll(context));
                    return response.take().map_or(Poll::Pending, |response| {
                        Poll::Ready(Ok(AdmittedBody::served(response, None)))
                    });
                }
                StateProjection::Waiting { deciding, waiting } => {
                    let outcome = ready!(deciding.as_mut().poll(context));
                    match waiting.take() {
                        Some(waiting) => waiting.resume(outcome),
                        None => return Poll::Pending,
                    }
                }
            };
            state.set(next);
        }
    }
}
