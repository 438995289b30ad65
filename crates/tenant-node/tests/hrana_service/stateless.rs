//! Streams of which nothing has to be kept: idle connections of SDKs, as many as there are, for as long as they like.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::hrana::{BatonKey, HranaConfig, HranaService};
use tower::ServiceExt as _;

use crate::harness::{Harness, Tenant, execute, tenant};

const HOURS: Duration = Duration::from_secs(100 * 3_600);

/// A request and its answer, at another service of the same databases.
async fn pipeline_at(service: &HranaService, tenant: &Tenant, baton: &Value, requests: &Value) -> Value {
    let body = json!({"baton": baton, "requests": requests}).to_string();
    let request = tenant.request(Method::POST, "/v3/pipeline", body);
    let response = service.clone().oneshot(request).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

/// The baton in a cursor's first line, and what came after it.
async fn cursor(harness: &Harness, tenant: &Tenant, baton: &Value, sql: &str) -> (Value, String) {
    let steps = json!([{"stmt": {"sql": sql}}]);
    let response = harness.cursor(tenant, baton.clone(), steps).await;
    assert_eq!(response.status(), 200, "{sql}");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let head: Value = serde_json::from_str(first).unwrap();
    (head["baton"].clone(), rest.to_owned())
}

async fn last_insert_rowid(harness: &Harness, tenant: &Tenant, baton: &Value) -> Value {
    let requests = json!([execute("select last_insert_rowid()")]);
    let answer = harness.pipeline(tenant, baton.clone(), requests).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.rows(0)[0][0].clone()
}

#[tokio::test]
async fn a_stream_without_state_goes_on_after_hours_with_its_row_id() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let insert = json!([execute("insert into t values (7), (8)")]);
    let answer = harness.pipeline(&tenant, Value::Null, insert).await;
    let baton = answer.body["baton"].clone();
    assert_eq!(harness.service.open_streams(), 0);
    harness.advance(HOURS);
    for _ in 0..2 {
        assert_eq!(last_insert_rowid(&harness, &tenant, &baton).await, json!("2"));
    }
    let (baton, rows) = cursor(&harness, &tenant, &baton, "select last_insert_rowid(), count(*) from t").await;
    assert!(rows.contains(r#"{"type":"row","row":[{"type":"integer","value":"2"},{"type":"integer","value":"2"}]}"#));
    harness.advance(HOURS);
    assert_eq!(last_insert_rowid(&harness, &tenant, &baton).await, json!("2"));
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn five_hundred_requests_at_once_may_all_leave_their_streams_open() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let requests = [
        json!([execute("select count(*) >= 0 from t")]),
        json!([execute("insert into t values (1) returning x")]),
        json!([execute("begin"), execute("commit"), execute("select 1")]),
        json!([{"type": "store_sql", "sql_id": 1, "sql": "select 1"}, {"type": "execute", "stmt": {"sql_id": 1}},
            {"type": "close_sql", "sql_id": 1}]),
    ];
    let each = |number: usize| harness.pipeline(&tenant, Value::Null, requests[number % requests.len()].clone());
    let answers = join_all((0..500).map(each)).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body["baton"].is_string());
    }
    assert_eq!(harness.service.open_streams(), 0);
    let each = |answer: &crate::harness::Answer| {
        let baton = answer.body["baton"].clone();
        let harness = &harness;
        let tenant = &tenant;
        async move {
            harness
                .pipeline(tenant, baton, json!([execute("select 1")]))
                .await
                .rows(0)
        }
    };
    for rows in join_all(answers.iter().map(each)).await {
        assert_eq!(rows, [[json!("1")]]);
    }
}

#[tokio::test]
async fn the_baton_of_a_cursor_that_writes_is_good_for_an_hour_if_no_state_was_left() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let (baton, _) = cursor(&harness, &tenant, &Value::Null, "insert into t values (1) returning x").await;
    assert_eq!(harness.service.open_streams(), 1);
    harness.advance(Duration::from_secs(3_599));
    assert_eq!(last_insert_rowid(&harness, &tenant, &baton).await, json!("1"));
    assert_eq!(harness.service.open_streams(), 0);
    let (baton, _) = cursor(&harness, &tenant, &Value::Null, "begin").await;
    harness.advance(Duration::from_secs(10));
    let answer = harness.pipeline(&tenant, baton, json!([execute("commit")])).await;
    assert_eq!(answer.body["type"], "https://tenantry.dev/problems/spent-baton");
}

#[tokio::test]
async fn a_cursor_that_explains_what_would_leave_state_keeps_its_stream() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let (baton, _) = cursor(&harness, &tenant, &Value::Null, "explain create temp table mine (x)").await;
    assert_eq!(harness.service.open_streams(), 1);
    assert_eq!(last_insert_rowid(&harness, &tenant, &baton).await, json!("0"));
}

#[tokio::test]
async fn a_stream_without_state_outlives_its_node() {
    let hrana = HranaConfig {
        baton_key: BatonKey::new([3; 32]),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|_| {}, &hrana);
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let insert = json!([execute("insert into t values (7), (8)")]);
    let idle = harness.pipeline(&tenant, Value::Null, insert).await;
    let busy = harness.pipeline(&tenant, Value::Null, json!([execute("begin")])).await;
    harness.service.close_streams();
    let again = harness.restarted(&hrana);
    let asked = json!([execute("select last_insert_rowid()")]);
    let answer = pipeline_at(&again, &tenant, &idle.body["baton"], &asked).await;
    let result = &answer["results"][0]["response"]["result"];
    assert_eq!(result["rows"][0][0]["value"], "2", "{answer}");
    // The transaction is gone, and its baton must not lead to somebody else's.
    let begun = pipeline_at(&again, &tenant, &Value::Null, &json!([execute("begin")])).await;
    assert!(begun["baton"].is_string(), "{begun}");
    let answer = pipeline_at(&again, &tenant, &busy.body["baton"], &asked).await;
    assert_eq!(answer["type"], "https://tenantry.dev/problems/spent-baton");
    let stranger = harness.restarted(&HranaConfig::default());
    let answer = pipeline_at(&stranger, &tenant, &idle.body["baton"], &asked).await;
    assert_eq!(answer["type"], "https://tenantry.dev/problems/invalid-baton");
}

#[tokio::test]
async fn state_of_any_kind_is_kept_for_ten_seconds() {
    for begin in [
        "begin",
        "savepoint a",
        "create temp table mine (x)",
        "pragma foreign_keys = off",
    ] {
        let harness = Harness::new();
        let tenant = tenant(1);
        let answer = harness.pipeline(&tenant, Value::Null, json!([execute(begin)])).await;
        assert_eq!(answer.body["results"][0]["type"], "ok", "{begin}: {}", answer.body);
        assert_eq!(harness.service.open_streams(), 1, "{begin}");
        harness.advance(Duration::from_secs(10));
        let baton = answer.body["baton"].clone();
        let answer = harness.pipeline(&tenant, baton, json!([execute("select 1")])).await;
        assert_eq!(
            answer.body["type"], "https://tenantry.dev/problems/spent-baton",
            "{begin}"
        );
    }
}
