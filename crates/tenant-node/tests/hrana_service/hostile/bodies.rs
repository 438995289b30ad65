//! Request bodies that are large, or that never end.

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;
use tenant_node::http::body::BoxError;
use tower::ServiceExt as _;

use super::{assert_neighbour_is_served, hostile};
use crate::harness::{Harness, Tenant};

/// For whatever has to happen.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A request whose body never comes to its end.
fn withheld(tenant: &Tenant) -> http::Request<tenant_node::http::body::Body> {
    let mut request = tenant.request(Method::POST, "/v3/pipeline", "");
    let first = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"{\"requests\":[")))]);
    *request.body_mut() = StreamBody::new(first.chain(stream::pending())).boxed_unsync();
    request
}

#[tokio::test]
async fn bodies_that_never_end_keep_out_large_bodies_of_their_own_tenant_alone() {
    let hrana = HranaConfig {
        answer_stall: std::time::Duration::from_millis(50),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|_| {}, &hrana);
    let hostile = hostile();
    let mut endless: Vec<_> = (0..2)
        .map(|_| Box::pin(harness.service.clone().oneshot(withheld(&hostile))))
        .collect();
    for request in &mut endless {
        assert!(request.now_or_never().is_none());
    }
    let large = json!({"requests": [{"type": "get_autocommit"}], "padding": "x".repeat(1 << 20)}).to_string();
    let refused = harness
        .send(&hostile, Method::POST, "/v3/pipeline", large.clone())
        .await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(
        refused.body["type"],
        "https://tenantry.dev/problems/too-many-large-bodies"
    );
    assert_eq!(refused.body["limit_bytes"], 32 << 20);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(
        harness.sql(&hostile, "select 1").await,
        [[json!("1")]],
        "small ones are let in"
    );
    let neighbour = crate::harness::tenant(1);
    let answer = harness
        .send(&neighbour, Method::POST, "/v3/pipeline", large.clone())
        .await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
    assert_neighbour_is_served(&harness).await;
    drop(endless);
    let answer = harness.send(&hostile, Method::POST, "/v3/pipeline", large).await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
}

#[tokio::test]
async fn bodies_that_stop_coming_give_back_what_they_held() {
    let hrana = HranaConfig {
        body_stall: std::time::Duration::from_millis(50),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|_| {}, &hrana);
    let hostile = hostile();
    // As many as there may be.
    let stopped = (0..2).map(|_| harness.service.clone().oneshot(withheld(&hostile)));
    let answers = tokio::time::timeout(PATIENCE, futures_util::future::join_all(stopped)).await;
    for answer in answers.expect("they are not waited for") {
        let (parts, body) = answer.unwrap().into_parts();
        assert_eq!(parts.status, 408);
        let problem: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(problem["type"], "https://tenantry.dev/problems/request-timeout");
    }
    let large = json!({"requests": [{"type": "get_autocommit"}], "padding": "x".repeat(16_000_000)}).to_string();
    let answer = harness.send(&hostile, Method::POST, "/v3/pipeline", large).await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
}

#[tokio::test]
async fn bodies_of_16_mib_of_the_smallest_parts_are_served_one_after_the_other() {
    let harness = Harness::new();
    let hostile = hostile();
    let arguments = vec![r#"{"type":"null"}"#; 900_000].join(",");
    let body = format!(r#"{{"requests":[{{"type":"execute","stmt":{{"sql":"select 1","args":[{arguments}]}}}}]}}"#);
    let requests = (0..8).map(|_| harness.send(&hostile, Method::POST, "/v3/pipeline", body.clone()));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.error(0).0, "ARGS_INVALID", "{}", answer.body);
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn conditions_and_arrays_that_are_nested_without_end_are_refused_by_field() {
    let harness = Harness::new();
    for (body, field) in [
        ("[".repeat(1 << 20), "."),
        (format!(r#"{{"requests":{}"#, "[".repeat(1 << 20)), "requests[0]"),
        (
            format!(r#"{{"requests":[{{"type":"close","x":{}"#, "[".repeat(1 << 20)),
            "requests[0].x",
        ),
    ] {
        let answer = harness.send(&hostile(), Method::POST, "/v3/pipeline", body).await;
        assert_eq!(answer.status, 400);
        assert_ne!(answer.body["field"], Value::Null, "{field}: {}", answer.body);
    }
    assert_neighbour_is_served(&harness).await;
}
