//! Decisions in this process, one after the other, without HTTP: what one costs.
//!
//! Prints one line of JSON: how many decisions were counted, and how many nanoseconds they took. Under valgrind the time
//! means nothing; its own count of instructions does.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use governor::RateLimiter;
use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::quota::{Admission, Charge, QuotaRegistry, RequestLimits};
use tenantry_layers::{AdmitLayer, Burst, Tenant, TenantUid};
use tokio::task::JoinSet;
use tower::{Layer as _, Service};

use crate::access::draw;
use crate::library_clock::LibraryClock;
use crate::tenants::{Limit, tenant, uid};

/// Never reached, but kept.
const BURST: Burst = Burst {
    requests_per_second: 100_000_000,
    size: 100_000_000,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    decider: Decider,
    /// Where quota ledgers are kept. One is written and synced for each tenant: best in memory.
    #[arg(long)]
    folder: PathBuf,
    /// How many there are; the first ones are asked for most.
    #[arg(long, default_value_t = 1)]
    tenants: u32,
    /// Decisions that are counted.
    #[arg(long)]
    decisions: u32,
    /// Decisions before that.
    #[arg(long, default_value_t = 10_000)]
    warm_up: u32,
    /// Read the clocks through the C library, as valgrind needs it.
    #[arg(long)]
    library_clock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Decider {
    /// Nobody: an empty service is called.
    Empty,
    /// The quotas by themselves, with limits per day and at one moment.
    TryAdmit,
    /// The same with a limit per second besides.
    TryAdmitBurst,
    /// Governor's keyed limiter, which has a limit per second alone.
    Governor,
    /// The layer around the empty service.
    AdmitLayer,
}

/// Every decision allows.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let access = draw(arguments.tenants);
    let limits = Limit::Generous.ours();
    let nanos = match arguments.decider {
        Decider::Empty => {
            let (mut empty, mut requests) = prepare(arguments.tenants, limits)?;
            time(arguments, &access, |tenant| call(&mut empty, &mut requests, tenant))?
        }
        Decider::TryAdmit => try_admit(arguments, &access, limits)?,
        Decider::TryAdmitBurst => {
            let limits = RequestLimits {
                burst: Some(BURST),
                ..limits
            };
            try_admit(arguments, &access, limits)?
        }
        Decider::Governor => {
            let quota = Limit::Generous.governors()?;
            match arguments.library_clock {
                true => governor(
                    arguments,
                    &access,
                    &RateLimiter::dashmap_with_clock(quota, MonotonicClock),
                )?,
                false => governor(arguments, &access, &RateLimiter::keyed(quota))?,
            }
        }
        Decider::AdmitLayer => {
            let registry = registry(arguments, limits)?;
            let (empty, mut requests) = prepare(arguments.tenants, limits)?;
            let mut service = AdmitLayer::<Tenant>::new(registry, clock(arguments)).layer(empty);
            time(arguments, &access, |tenant| call(&mut service, &mut requests, tenant))?
        }
    };
    let line = serde_json::json!({ "decisions": arguments.decisions, "nanos": nanos });
    writeln!(std::io::stdout(), "{line}").context("cannot print the result")
}

fn try_admit(arguments: &Arguments, access: &[u32], limits: RequestLimits) -> Result<u64> {
    let registry = registry(arguments, limits)?;
    time(arguments, access, |tenant| {
        let decision = registry.try_admit(uid(tenant), &limits, Charge::Counted);
        // Its permit goes with it.
        matches!(decision.admission, Admission::Admitted(..))
    })
}

fn governor<C: governor::clock::Clock>(
    arguments: &Arguments,
    access: &[u32],
    limiter: &RateLimiter<TenantUid, DashMapStateStore<TenantUid>, C, NoOpMiddleware<C::Instant>>,
) -> Result<u64> {
    for number in 0..arguments.tenants {
        ensure!(limiter.check_key(&uid(number)).is_ok(), "nobody has asked before");
    }
    time(arguments, access, |tenant| limiter.check_key(&uid(tenant)).is_ok())
}

/// Nanoseconds of all decisions that are counted.
fn time(arguments: &Arguments, access: &[u32], mut allow: impl FnMut(u32) -> bool) -> Result<u64> {
    let mut next = access.iter().copied().cycle();
    let mut allowed = 0_u32;
    let mut go = |count: u32| {
        for tenant in next.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            allowed += u32::from(black_box(allow(tenant)));
        }
    };
    go(arguments.warm_up);
    let start = Instant::now();
    go(arguments.decisions);
    let took = start.elapsed();
    ensure!(
        allowed == arguments.warm_up + arguments.decisions,
        "a decision did not allow"
    );
    Ok(u64::try_from(took.as_nanos())?)
}

/// With the ledgers of all tenants in memory. Its runtime is gone before the clock starts: nothing else runs then, and no
/// decision needs a ledger any more, since reservations are a thousandth of what a day allows.
fn registry(arguments: &Arguments, limits: RequestLimits) -> Result<Arc<QuotaRegistry>> {
    let registry = QuotaRegistry::new(&arguments.folder, clock(arguments));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut loading = JoinSet::new();
        for number in 0..arguments.tenants {
            let registry = Arc::clone(&registry);
            loading.spawn(async move { registry.admit(uid(number), &limits, Charge::Counted).await });
        }
        while let Some(loaded) = loading.join_next().await {
            loaded.context("a task panicked")??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(registry)
}

fn clock(arguments: &Arguments) -> Arc<dyn Clock> {
    match arguments.library_clock {
        true => Arc::new(LibraryClock::start()),
        false => Arc::new(SystemClock::start()),
    }
}

/// A request for each tenant, made before the clock starts. A call takes it, and the empty service gives it back.
struct Requests {
    waiting: Vec<Option<Request<()>>>,
    back: Rc<RefCell<Option<Request<()>>>>,
}

fn prepare(tenants: u32, limits: RequestLimits) -> Result<(Empty, Requests)> {
    let one = |number| {
        let mut request = Request::new(());
        request.extensions_mut().insert(tenant(number, limits)?);
        Ok(Some(request))
    };
    let back = Rc::default();
    let waiting = (0..tenants).map(one).collect::<Result<_>>()?;
    Ok((Empty(Rc::clone(&back)), Requests { waiting, back }))
}

/// Answers at once, with a header as most services have one. Gives the request back to who sent it.
#[derive(Clone)]
struct Empty(Rc<RefCell<Option<Request<()>>>>);

impl Service<Request<()>> for Empty {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        *self.0.borrow_mut() = Some(request);
        let mut response = Response::new(Full::default());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        ready(Ok(response))
    }
}

/// Whether the tenant's request was served. Polled by hand: nothing waits once the ledger is in memory.
fn call<S, B>(service: &mut S, requests: &mut Requests, tenant: u32) -> bool
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let Some(slot) = usize::try_from(tenant)
        .ok()
        .and_then(|tenant| requests.waiting.get_mut(tenant))
    else {
        return false;
    };
    let Some(request) = slot.take() else { return false };
    let answer = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
    *slot = requests.back.borrow_mut().take();
    matches!(answer, Poll::Ready(Ok(response)) if response.status().is_success())
}
