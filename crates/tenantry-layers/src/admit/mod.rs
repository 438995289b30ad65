//! Quotas on the way in: decides from the request's tenant before the inner service is called and before the body is
//! read, so a refused request costs nothing below.
//!
//! Every answer that passed here, refusals too, says what the limits are and what is left of them. A limit of the tenant
//! is a 429 with a true `Retry-After`; a ledger of ours that cannot be read or written is a 503. A tenant that goes on asking
//! is refused ever later, up to a second ([`crate::quota`]). Must not wait on anything but that and the tenant's own ledger.

mod body;
mod fields;
mod future;
mod refusals;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, Uri};
use http_body_util::Full;
use tenantry_types::{TenantName, TenantUid, UnixMillis};
use tokio::sync::mpsc;
use tower::{Layer, Service};

pub use self::body::AdmittedBody;
use self::fields::{Dialect, Fields};
pub use self::future::AdmitFuture;
use self::future::{Holding, Waiting, Whose};
use self::refusals::{jittered_seconds, no_tenant, quota_exceeded};
use crate::clock::Clock;
use crate::quota::{Admission, Charge, Crossing, QuotaRegistry, Refusal, RequestLimits};
use crate::tenant::{KnownTenant, Tenant};

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

/// Makes [`Admit`] services that share one registry. Looks for a `T` in each request's extensions.
pub struct AdmitLayer<T = Tenant> {
    shared: Arc<Shared>,
    tenant: PhantomData<fn() -> T>,
}

/// What a request costs, told from its first line.
type ChargeOf = fn(&Method, &Uri) -> Charge;

#[derive(Clone)]
struct Shared {
    registry: Arc<QuotaRegistry>,
    clock: Arc<dyn Clock>,
    charge_of: ChargeOf,
    held_elsewhere: fn(&Extensions) -> bool,
    dialect: Dialect,
    events: Option<mpsc::Sender<QuotaEvent>>,
}

impl<T: KnownTenant> AdmitLayer<T> {
    /// Charges every request but CORS preflights; tells nobody of shares that were passed.
    #[must_use]
    pub fn new(registry: Arc<QuotaRegistry>, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry,
                clock,
                charge_of: |method, _| match *method {
                    Method::OPTIONS => Charge::Free,
                    _ => Charge::Counted,
                },
                held_elsewhere: |_| false,
                dialect: Dialect::Draft,
                events: None,
            }),
            tenant: PhantomData,
        }
    }

    /// Charges what `charge_of` says.
    #[must_use]
    pub fn charging(self, charge_of: fn(&Method, &Uri) -> Charge) -> Self {
        self.with(|shared| shared.charge_of = charge_of)
    }

    /// Refuses requests of which `held_elsewhere` says so without holding the answers back: somebody nearer to the client does that, so
    /// that what is between the two is free meanwhile.
    #[must_use]
    pub fn leaving_holding_of(self, held_elsewhere: fn(&Extensions) -> bool) -> Self {
        self.with(|shared| shared.held_elsewhere = held_elsewhere)
    }

    /// Shares that were passed go to `events`; one that finds the channel full is counted in
    /// [`QuotaCounters`](crate::quota::QuotaCounters) and dropped.
    #[must_use]
    pub fn telling(self, events: mpsc::Sender<QuotaEvent>) -> Self {
        self.with(|shared| shared.events = Some(events))
    }

    /// Answers say `X-RateLimit-Limit`, `-Remaining` and `-Reset` of the daily limit, too, for clients that know nothing else.
    #[must_use]
    pub fn with_legacy_fields(self) -> Self {
        self.with(|shared| shared.dialect = Dialect::DraftAndLegacy)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

impl<T> Clone for AdmitLayer<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            tenant: PhantomData,
        }
    }
}

impl<S, T> Layer<S> for AdmitLayer<T> {
    type Service = Admit<S, T>;

    fn layer(&self, inner: S) -> Admit<S, T> {
        Admit {
            inner,
            shared: Arc::clone(&self.shared),
            tenant: PhantomData,
        }
    }
}

/// Lets requests through within their tenant's limits.
pub struct Admit<S, T = Tenant> {
    inner: S,
    shared: Arc<Shared>,
    tenant: PhantomData<fn() -> T>,
}

impl<S: Clone, T> Clone for Admit<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
            tenant: PhantomData,
        }
    }
}

impl<S, T, A, B> Service<Request<A>> for Admit<S, T>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    T: KnownTenant,
    B: http_body::Body<Data = Bytes>,
{
    type Response = Response<AdmittedBody<B>>;
    type Error = S::Error;
    type Future = AdmitFuture<S, T, A>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Some(tenant) = request.extensions().get::<T>() else {
            return AdmitFuture::answer(no_tenant());
        };
        let charge = (self.shared.charge_of)(request.method(), request.uri());
        let holding = match (self.shared.held_elsewhere)(request.extensions()) {
            true => Holding::Elsewhere,
            false => Holding::Here,
        };
        let limits = tenant.limits();
        let decision = self.shared.registry.try_admit(tenant.uid(), &limits, charge);
        self.shared.report(tenant, decision.crossing);
        match decision.admission {
            Admission::Admitted(permit, standing) => {
                let fields = self.shared.fields(&limits, decision.policy).with(standing);
                let whose = Whose {
                    shared: Arc::clone(&self.shared),
                    tenant: tenant.uid(),
                    holding,
                };
                AdmitFuture::serve(self.inner.call(request), permit, fields, whose)
            }
            Admission::Refused(refusal) => {
                let fields = self.shared.fields(&limits, decision.policy);
                AdmitFuture::refuse(self.shared.refuse(fields, &refusal), holding.here(refusal.hold))
            }
            Admission::NeedsLedger | Admission::Gone => {
                let (registry, uid) = (Arc::clone(&self.shared.registry), tenant.uid());
                // The service that was polled ready serves this request; a clone of it is polled for the next one.
                let clone = self.inner.clone();
                let waiting = Waiting {
                    inner: std::mem::replace(&mut self.inner, clone),
                    shared: Arc::clone(&self.shared),
                    request,
                    charge,
                    limits,
                    holding,
                    tenant: PhantomData,
                };
                AdmitFuture::wait(
                    Box::pin(async move { registry.admit(uid, &limits, charge).await }),
                    waiting,
                )
            }
        }
    }
}

impl Shared {
    fn report<T: KnownTenant>(&self, tenant: &T, crossing: Option<Crossing>) {
        let (Some(crossing), Some(events)) = (crossing, &self.events) else {
            return;
        };
        let event = QuotaEvent {
            tenant: tenant.uid(),
            name: tenant.name().clone(),
            occurred_at: self.clock.now().wall,
            crossing,
        };
        if events.try_send(event).is_err() {
            self.registry.counters().crossings_dropped.fetch_add(1, Relaxed);
        }
    }

    fn refuse(&self, fields: Fields, refusal: &Refusal) -> Response<Full<Bytes>> {
        if let Some(first) = refusal.violated().next() {
            self.registry.counters().count_refusal(first);
        }
        quota_exceeded(fields, refusal, jittered_seconds(refusal.retry_after, rand::random()))
    }

    fn fields(&self, limits: &RequestLimits, policy: Option<http::HeaderValue>) -> Fields {
        let legacy_at = match self.dialect {
            Dialect::Draft => None,
            Dialect::DraftAndLegacy => Some(self.clock.now().wall),
        };
        Fields::new(limits, policy, legacy_at)
    }
}

#[cfg(test)]
mod tests;
