use http::Method;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::harness::{Harness, execute, tenant};

/// A result of about `kib` KiB.
fn large(kib: u32) -> Value {
    execute(&format!(
        "with recursive c(x) as (select 1 union all select x + 1 from c limit {kib}) select x, printf('%.*c', 960, 'x') from c"
    ))
}

#[tokio::test]
async fn a_large_answer_leaves_in_pieces_and_means_the_same() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let requests = json!([
        large(100),
        large(200),
        large(40),
        large(90),
        execute("begin"),
        execute("select 'last'")
    ]);
    let body = json!({"baton": null, "requests": requests}).to_string();
    let response = harness.open(&tenant, Method::POST, "/v3/pipeline", body).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.body().size_hint().exact(),
        None,
        "its length is not known at its start"
    );
    let mut body = response.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.push(frame.unwrap().into_data().unwrap());
    }
    assert!(
        pieces.iter().all(|piece| piece.len() <= 64 << 10),
        "a piece has 64 KiB at most"
    );
    let answer: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    let counts: Vec<usize> = (0..4)
        .map(|index| {
            answer["results"][index]["response"]["result"]["rows"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(counts, [100, 200, 40, 90]);
    let next = harness
        .pipeline(&tenant, answer["baton"].clone(), json!([{"type": "get_autocommit"}]))
        .await;
    assert_eq!(
        next.body["results"][0]["response"]["is_autocommit"], false,
        "{}",
        next.body
    );
}

#[tokio::test]
async fn one_large_result_at_the_end_is_a_single_body_of_known_length() {
    let harness = Harness::new();
    let body = json!({"baton": null, "requests": [large(600)]}).to_string();
    let response = harness.open(&tenant(1), Method::POST, "/v3/pipeline", body).await;
    assert!(response.body().size_hint().exact().is_some_and(|bytes| bytes > 600_000));
}

#[tokio::test]
async fn a_failure_after_the_first_piece_stands_in_its_result_alone() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.database_bytes = 1 << 20;
    harness.sql(&tenant, "create table t (x)").await;
    let full = execute("insert into t values (zeroblob(4000000))");
    let late = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([large(400), full.clone(), execute("select 'after'")]),
        )
        .await;
    assert_eq!((late.status.as_u16(), late.error(1).0), (200, "SQLITE_FULL"));
    assert_eq!(late.rows(2), [[json!("after")]]);
    let early = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([full, large(400), execute("select 'after'")]),
        )
        .await;
    assert_eq!((early.status.as_u16(), early.error(0).0), (507, "SQLITE_FULL"));
    assert_eq!(early.rows(2), [[json!("after")]]);
}

#[tokio::test]
async fn the_limit_of_the_result_holds_for_all_pieces_together() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.result_bytes = 1 << 20;
    let answer = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([large(500), large(400), large(400), execute("select 1")]),
        )
        .await;
    assert_eq!(answer.rows(1).len(), 400);
    assert_eq!(answer.error(2).0, "RESPONSE_TOO_LARGE");
    assert_eq!(answer.rows(3), [[json!("1")]]);
}

#[tokio::test]
async fn a_client_that_leaves_a_large_answer_ends_its_stream_and_frees_the_turn_to_write() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let mut requests = vec![execute("begin immediate"), execute("insert into t values (1)")];
    requests.extend((0..20).map(|_| large(300)));
    let body = json!({"baton": null, "requests": requests}).to_string();
    let response = harness.open(&tenant, Method::POST, "/v3/pipeline", body).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    harness.sql(&tenant, "insert into t values (2)").await;
    assert_eq!(harness.sql(&tenant, "select x from t").await, [[json!("2")]]);
    assert_eq!(
        (harness.service.open_streams(), harness.service.queued_answer_bytes()),
        (0, 0)
    );
}
