//! How often the layers allocate. What comes with every request must not.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::quota::{Admission, Charge, QuotaRegistry, RequestLimits};
use tenantry_layers::{AdmitLayer, Burst, Tenant, TenantName, TenantUid};
use tower::{Layer as _, Service};

const UID: TenantUid = TenantUid::from_u128(7);
/// A reservation is a thousandth of the day: none is written while these few requests come.
const LIMITS: RequestLimits = RequestLimits {
    requests_per_day: 1_000_000_000,
    burst: Some(Burst {
        requests_per_second: 1_000_000,
        size: 1_000_000,
    }),
    concurrent_requests: 100,
};
const REQUESTS: usize = 1_000;
/// Requests for one allocation: the text of a header is cut from a buffer that so many share.
const REQUESTS_AN_ALLOCATION: usize = 20;

/// With the tenant's ledger in memory, and its first request behind it.
fn registry(folder: &tempfile::TempDir, clock: &Arc<dyn Clock>) -> Arc<QuotaRegistry> {
    let registry = QuotaRegistry::new(folder.path(), Arc::clone(clock));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let admit = registry.admit(UID, &LIMITS, Charge::Counted);
    let decision = runtime.map(|runtime| runtime.block_on(admit));
    assert!(
        matches!(&decision, Ok(Ok(decision)) if matches!(decision.admission, Admission::Admitted(..))),
        "{decision:?}"
    );
    registry
}

#[test]
fn a_decision_that_allows_never_allocates() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let registry = registry(&folder, &clock);
    let counted = measure(|| {
        for _ in 0..REQUESTS {
            let decision = registry.try_admit(UID, &LIMITS, Charge::Counted);
            assert!(matches!(decision.admission, Admission::Admitted(..)));
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// Answers with a header, as most services do.
#[derive(Clone)]
struct Handler;

impl Service<Request<()>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(Full::default());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        ready(Ok(response))
    }
}

/// Allocations of these calls. Polled by hand: nothing waits once the ledger is in memory. All heads are kept, as if each
/// waited for a slow client, so that no buffer is free again.
fn allocations<S, B>(mut service: S, requests: Vec<Request<()>>) -> u64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut heads = Vec::with_capacity(requests.len());
    let counted = measure(|| {
        for request in requests {
            let answer = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(Ok(response)) = answer {
                heads.push(response.into_parts().0);
            }
        }
    });
    assert_eq!(heads.len(), REQUESTS);
    assert!(heads.iter().all(|head| head.status.is_success()));
    counted.count_total
}

#[test]
fn the_layer_allocates_once_for_many_requests_that_it_lets_through() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let registry = registry(&folder, &clock);
    let requests = || {
        let tenant = Tenant {
            uid: UID,
            name: TenantName::new("acme").unwrap(),
            limits: LIMITS,
        };
        let one = || {
            let mut request = Request::new(());
            request.extensions_mut().insert(tenant.clone());
            request
        };
        std::iter::repeat_with(one).take(REQUESTS).collect::<Vec<_>>()
    };
    let handler = allocations(Handler, requests());
    let admit = AdmitLayer::<Tenant>::new(registry, clock);
    let allowed = u64::try_from(REQUESTS / REQUESTS_AN_ALLOCATION).unwrap();
    for (fields, layer) in [
        ("draft", admit.clone()),
        ("draft and legacy", admit.with_legacy_fields()),
    ] {
        let all = allocations(layer.layer(Handler), requests());
        let of_the_layer = all - handler;
        assert!(
            of_the_layer <= allowed,
            "{fields}: {of_the_layer} for {REQUESTS} requests, the handler's own {handler}"
        );
    }
}
