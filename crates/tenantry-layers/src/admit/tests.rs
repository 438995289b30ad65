use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use http_body_util::BodyExt as _;
use tenantry_types::{Burst, QuotaKind, TierDefinition};
use tower::{ServiceExt as _, service_fn};
use tower_test::mock;

use super::*;
use crate::clock::ManualClock;
use crate::quota::{Policy, RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::test_body::{Body, empty, full};

type Inner = mock::Mock<Request<Body>, Response<Body>>;

/// The layer over a service that tests answer for.
struct Stack {
    _data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    registry: Arc<QuotaRegistry>,
    events: mpsc::Receiver<QuotaEvent>,
    layer: AdmitLayer,
    limits: RequestLimits,
}

impl Stack {
    fn with_limits(change: impl FnOnce(&mut RequestLimits)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let registry = QuotaRegistry::new(data.path(), clock.clone());
        let (sender, events) = mpsc::channel(4);
        let mut limits = RequestLimits::from(&TierDefinition::defaults()[0].quota);
        change(&mut limits);
        Self {
            layer: AdmitLayer::new(Arc::clone(&registry), clock.clone())
                .telling(sender)
                .charging(|method, uri| match (method, uri.path()) {
                    (&Method::OPTIONS, _) | (&Method::GET | &Method::HEAD, "/v1/usage") => Charge::Free,
                    _ => Charge::Counted,
                }),
            _data: data,
            clock,
            registry,
            events,
            limits,
        }
    }

    fn request(&self, method: Method, path: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).body(empty()).unwrap();
        request.extensions_mut().insert(Tenant {
            uid: TenantUid::from_u128(9),
            name: TenantName::new("acme").unwrap(),
            limits: self.limits,
        });
        request
    }

    /// An answer with a body of one frame.
    async fn ask(&self, method: Method, path: &str) -> Response<AdmittedBody<Body>> {
        let service = self.layer.layer(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(full("row")))
        }));
        service.oneshot(self.request(method, path)).await.unwrap()
    }

    async fn query(&self) -> Response<AdmittedBody<Body>> {
        self.ask(Method::POST, "/v2/pipeline").await
    }
}

/// A list of RFC 9651 whose members are strings with parameters.
fn parse_list(headers: &HeaderMap, name: HeaderName) -> Vec<(String, sfv::Parameters)> {
    let list: sfv::List = sfv::Parser::new(headers[name].as_bytes()).parse().unwrap();
    list.into_iter()
        .map(|entry| match entry {
            sfv::ListEntry::Item(item) => (item.bare_item.as_string().unwrap().as_str().to_owned(), item.params),
            sfv::ListEntry::InnerList(list) => panic!("{list:?}"),
        })
        .collect()
}

/// What both fields must keep to, whatever the answer. Gives what `RateLimit` says: name, `r` and `t`.
fn check_fields(headers: &HeaderMap) -> Vec<(String, u64, Option<u64>)> {
    let number = |parameters: &sfv::Parameters, key: &str| {
        let value = parameters.get(key)?.as_integer().unwrap();
        Some(u64::try_from(i64::from(value)).unwrap())
    };
    let policies = parse_list(headers, RATE_LIMIT_POLICY);
    let names = policies.iter().map(|(name, _)| name.clone()).collect::<HashSet<_>>();
    assert_eq!(names.len(), policies.len(), "names are unique");
    for (name, parameters) in &policies {
        assert!(number(parameters, "q").is_some(), "{name} has a quota");
    }
    parse_list(headers, RATE_LIMIT)
        .into_iter()
        .map(|(name, parameters)| {
            assert!(names.contains(&name), "{name} is a policy");
            let left = number(&parameters, "r").expect("what is left");
            (name, left, number(&parameters, "t"))
        })
        .collect()
}

#[tokio::test]
async fn every_answer_says_what_the_limits_are_and_what_is_left() {
    let stack = Stack::with_limits(|limits| {
        limits.requests_per_day = 3;
        limits.burst = Some(Burst {
            requests_per_second: 1,
            size: 10,
        });
    });
    for left in [2, 1, 0] {
        let response = stack.query().await;
        assert_eq!(response.status(), 200);
        let fields = check_fields(response.headers());
        assert_eq!((fields[0].0.as_str(), fields[0].1), ("daily", left));
        assert_eq!((fields[1].0.as_str(), fields[1].1), ("burst", 7 + left));
    }
    let refused = stack.query().await;
    assert_eq!(refused.status(), 429);
    let fields = check_fields(refused.headers());
    let retry_after = refused.headers()[RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(fields[0], ("daily".to_owned(), 0, Some(retry_after)));

    let usage = stack.ask(Method::GET, "/v1/usage").await;
    assert_eq!(usage.status(), 200);
    assert_eq!(check_fields(usage.headers())[0].1, 0);
}

#[tokio::test]
async fn a_refusal_tells_what_was_passed_and_when_to_come_back() {
    let stack = Stack::with_limits(|limits| limits.requests_per_day = 1);
    drop(stack.query().await);
    let response = stack.query().await;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let seconds = response.headers()[RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["type"], "https://tenantry.dev/problems/quota-exceeded");
    assert_eq!(problem["violated-policies"], serde_json::json!(["daily"]));
    assert_eq!(
        (problem["limit"].as_u64(), problem["used"].as_u64()),
        (Some(1), Some(1))
    );

    stack.clock.advance(Duration::from_secs(seconds));
    assert_eq!(stack.query().await.status(), 200);
}

#[tokio::test]
async fn a_refused_request_does_not_reach_the_inner_service_and_costs_nothing() {
    let stack = Stack::with_limits(|limits| limits.concurrent_requests = 1);
    let (inner, mut answers): (Inner, _) = mock::pair();
    let inner = tower::ServiceExt::map_err(inner, |error| panic!("{error}"));
    let service = stack.layer.layer(inner);
    let first = tokio::spawn(service.clone().oneshot(stack.request(Method::POST, "/v2/pipeline")));
    let (_, respond) = answers.next_request().await.unwrap();
    for _ in 0..5 {
        let refused = service
            .clone()
            .oneshot(stack.request(Method::POST, "/v2/pipeline"))
            .await
            .unwrap();
        assert_eq!(refused.status(), 429);
        assert_eq!(check_fields(refused.headers())[1], ("concurrent".to_owned(), 0, None));
    }
    respond.send_response(Response::new(full("row")));
    let answer = first.await.unwrap().unwrap();
    let standing = stack
        .registry
        .standing(TenantUid::from_u128(9), &stack.limits)
        .await
        .unwrap();
    assert_eq!(
        (standing.daily_used, standing.concurrent),
        (1, 1),
        "the body is not read yet"
    );
    assert_eq!(stack.registry.counters().refusals(Policy::Concurrent), 5);

    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "row");
    assert_eq!(stack.query().await.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let stack = Stack::with_limits(|limits| limits.concurrent_requests = 1);
    // Before the answer.
    let (inner, mut answers): (Inner, _) = mock::pair();
    let inner = tower::ServiceExt::map_err(inner, |error| panic!("{error}"));
    let service = stack.layer.layer(inner);
    let call = tokio::spawn(service.oneshot(stack.request(Method::POST, "/v2/pipeline")));
    let received = answers.next_request().await.unwrap();
    assert_eq!(stack.query().await.status(), 429);
    call.abort();
    assert!(call.await.is_err_and(|error| error.is_cancelled()));
    drop(received);
    // With the answer half read.
    let answer = stack.query().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(stack.query().await.status(), 429);
    drop(answer);
    assert_eq!(stack.query().await.status(), 200);
}

#[tokio::test]
async fn parallel_callers_get_exactly_the_quota() {
    let stack = Stack::with_limits(|limits| {
        limits.requests_per_day = 50;
        limits.concurrent_requests = 1_000;
    });
    let service = stack.layer.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(full("row")))
    }));
    let calls = (0..120)
        .map(|_| tokio::spawn(service.clone().oneshot(stack.request(Method::POST, "/v2/pipeline"))))
        .collect::<Vec<_>>();
    let mut admitted = 0;
    for call in calls {
        admitted += usize::from(call.await.unwrap().unwrap().status() == 200);
    }
    assert_eq!(admitted, 50);
}

#[tokio::test]
async fn questions_about_use_and_preflights_are_not_charged() {
    let stack = Stack::with_limits(|limits| limits.requests_per_day = 1);
    drop(stack.query().await);
    let cases = [
        (Method::GET, "/v1/usage", 200),
        (Method::HEAD, "/v1/usage", 200),
        (Method::OPTIONS, "/v2/pipeline", 200),
        (Method::POST, "/v1/usage", 429),
        (Method::GET, "/v2", 429),
        (Method::POST, "/v3/cursor", 429),
    ];
    for (method, path, status) in cases {
        let response = stack.ask(method.clone(), path).await;
        assert_eq!(response.status(), status, "{method} {path}");
        check_fields(response.headers());
    }
}

#[tokio::test]
async fn a_shortage_of_ours_is_a_503_and_not_the_tenants_fault() {
    let stack = Stack::with_limits(|_| ());
    std::fs::write(stack._data.path().join("tenants"), b"").unwrap();
    let response = stack.query().await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key(RETRY_AFTER));
    assert!(response.headers().contains_key(RATE_LIMIT_POLICY));
    // What is free still passes.
    assert_eq!(stack.ask(Method::GET, "/v1/usage").await.status(), 200);
}

#[tokio::test]
async fn crossings_are_sent_once_and_counted_when_nobody_takes_them() {
    let mut stack = Stack::with_limits(|limits| limits.requests_per_day = 20);
    for _ in 0..25 {
        drop(stack.query().await);
    }
    for percent in [80, 95, 100] {
        let event = stack.events.try_recv().unwrap();
        assert_eq!(
            (event.crossing.percent, event.crossing.quota),
            (percent, QuotaKind::RequestsPerDay)
        );
        assert_eq!(event.name.as_str(), "acme");
    }
    assert!(stack.events.try_recv().is_err());
    stack.events.close();
    stack.limits.requests_per_day = 200;
    drop(stack.query().await);
    stack.limits.requests_per_day = 20;
    drop(stack.query().await);
    assert_eq!(stack.registry.counters().crossings_dropped.load(Relaxed), 1);
}

#[tokio::test]
async fn a_request_without_a_tenant_is_our_mistake() {
    let stack = Stack::with_limits(|_| ());
    let service = stack.layer.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(empty()))
    }));
    let response = service.oneshot(Request::new(empty())).await.unwrap();
    assert_eq!(response.status(), 500);
}

#[tokio::test]
async fn the_old_fields_are_sent_where_they_were_asked_for() {
    let stack = Stack::with_limits(|limits| limits.requests_per_day = 2);
    let response = stack.query().await;
    assert!(!response.headers().contains_key("x-ratelimit-limit"));
    let layer = stack.layer.clone().with_legacy_fields();
    let service = layer.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(full("row")))
    }));
    let number =
        |response: &Response<_>, name: &str| response.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
    let served = service.clone().oneshot(stack.request(Method::POST, "/")).await.unwrap();
    assert_eq!(
        (
            number(&served, "x-ratelimit-limit"),
            number(&served, "x-ratelimit-remaining")
        ),
        (2, 0)
    );
    let reset = number(&served, "x-ratelimit-reset");
    let refused = service.oneshot(stack.request(Method::POST, "/")).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), number(&refused, "x-ratelimit-remaining")),
        (429, 0)
    );
    // 24 hours and a bucket after the present one began, as unix time.
    assert!((1_700_086_400..=1_700_086_400 + 151).contains(&reset), "{reset}");
    assert!(number(&refused, "x-ratelimit-reset") >= reset, "jitter comes on top");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_answered_ever_later_and_served_requests_are_not() {
    let stack = Stack::with_limits(|limits| limits.requests_per_day = 1);
    drop(stack.query().await);
    let began = tokio::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(stack.query().await.status(), 429);
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "the first are answered at once");
    let flood = futures_util::future::join_all((0..300).map(|_| stack.query()));
    assert!(flood.await.iter().all(|answer| answer.status() == 429));
    assert!(began.elapsed() >= Duration::from_millis(299), "{:?}", began.elapsed());
    let held = began.elapsed();
    assert_eq!(stack.ask(Method::GET, "/v1/usage").await.status(), 200);
    assert_eq!(began.elapsed(), held, "what is served is not held back");
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_the_inner_service_refuses_keeps_the_same_pace() {
    let stack = Stack::with_limits(|limits| {
        limits.requests_per_day = 1_000_000;
        limits.concurrent_requests = 1_000;
    });
    let refusing = || {
        stack.layer.layer(service_fn(|_: Request<Body>| async {
            let refusal = Response::builder().status(429).body(full("too many streams"));
            Ok::<_, Infallible>(refusal.unwrap())
        }))
    };
    let began = tokio::time::Instant::now();
    let ask = || refusing().oneshot(stack.request(Method::POST, "/v2/pipeline"));
    let flood = futures_util::future::join_all((0..300).map(|_| ask())).await;
    assert!(began.elapsed() >= Duration::from_millis(199), "{:?}", began.elapsed());
    for answer in flood {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 429);
        check_fields(answer.headers());
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "too many streams"
        );
    }
    let standing = stack
        .registry
        .standing(TenantUid::from_u128(9), &stack.limits)
        .await
        .unwrap();
    assert_eq!((standing.daily_used, standing.concurrent), (300, 0));
}

#[test]
fn retry_after_is_never_early_and_at_most_a_tenth_late() {
    let cases = [
        // milliseconds, random, seconds
        (0, 0.0, 1),
        (1, 0.0, 1),
        (1_001, 0.0, 2),
        (1_001, 0.999, 3),
        (100_000, 0.0, 100),
        (100_000, 1.0, 110),
        (86_400_000, 0.999_999, 86_700),
    ];
    for (millis, random, seconds) in cases {
        assert_eq!(
            jittered_seconds(Duration::from_millis(millis), random),
            seconds,
            "{millis} ms"
        );
    }
}
