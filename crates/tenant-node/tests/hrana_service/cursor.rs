use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;
use tenant_node::http::body::Body;

use crate::harness::{Harness, Tenant, execute, tenant};

/// What may wait for one client: four pieces of 32 KiB, and the last one, which is smaller.
const MOST_QUEUED: usize = 5 * (32 << 10);

const ENDLESS: &str =
    "with recursive c(x) as (select 1 union all select x + 1 from c) select x, printf('%.*c', 500, 'x') from c";

fn step(sql: &str) -> Value {
    json!({"stmt": {"sql": sql}})
}

/// A tenant for whom neither time nor size is short.
fn roomy(number: u128) -> Tenant {
    let mut tenant = tenant(number);
    tenant.quota.result_bytes = 1 << 40;
    tenant.quota.query_time_ms = 600_000;
    tenant
}

fn lines(body: &[u8]) -> Vec<Value> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

async fn next(body: &mut Body) -> Option<Bytes> {
    Some(body.frame().await?.unwrap().into_data().unwrap())
}

/// The baton in the first line of what came first.
fn baton_of(first: &[u8]) -> Value {
    let end = first.iter().position(|byte| *byte == b'\n').unwrap();
    serde_json::from_slice::<Value>(&first[..end]).unwrap()["baton"].clone()
}

#[tokio::test]
async fn a_small_cursor_is_one_answer_of_known_length_with_an_entry_a_line() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let steps = json!([
        step("create table t (id integer primary key, word text)"),
        step("insert into t (word) values ('a'), (null) returning id"),
        {"stmt": {"sql": "select word as w from t order by id", "want_rows": false}},
        {"stmt": {"sql": "select 1"}, "condition": {"type": "error", "step": 0}},
        step("select word as w, 2.5 from t where id = 1"),
        step("insert into t (id) values (1)"),
        {"stmt": {"sql": "select 'after'"}, "condition": {"type": "error", "step": 5}},
    ]);
    let response = harness.cursor(&tenant, Value::Null, steps).await;
    assert_eq!(response.status(), 200);
    assert!(response.body().size_hint().exact().is_some());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let lines = lines(&body);
    assert!(
        lines[0]["baton"].is_string() && lines[0]["base_url"].is_null(),
        "{}",
        lines[0]
    );
    let one = json!({"type": "integer", "value": "1"});
    let two = json!({"type": "integer", "value": "2"});
    let expected = [
        json!({"type": "step_begin", "step": 0, "cols": []}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": "0"}),
        json!({"type": "step_begin", "step": 1, "cols": [{"name": "id", "decltype": "INTEGER"}]}),
        json!({"type": "row", "row": [one]}),
        json!({"type": "row", "row": [two]}),
        json!({"type": "step_end", "affected_row_count": 2, "last_insert_rowid": "2"}),
        json!({"type": "step_begin", "step": 2, "cols": [{"name": "w", "decltype": "TEXT"}]}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": null}),
        json!({"type": "step_begin", "step": 4,
            "cols": [{"name": "w", "decltype": "TEXT"}, {"name": "2.5", "decltype": null}]}),
        json!({"type": "row", "row": [{"type": "text", "value": "a"}, {"type": "float", "value": 2.5}]}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": null}),
    ];
    assert_eq!(lines[1..12], expected);
    assert_eq!(lines[12], json!({"type": "step_begin", "step": 5, "cols": []}));
    assert_eq!(
        (&lines[13]["type"], &lines[13]["step"]),
        (&json!("step_error"), &json!(5))
    );
    assert_eq!(lines[14]["step"], 6);
    assert_eq!(lines.len(), 17);
    let answer = harness
        .pipeline(&tenant, lines[0]["baton"].clone(), json!([{"type": "close"}]))
        .await;
    assert_eq!((answer.status.as_u16(), &answer.body["baton"]), (200, &Value::Null));
}

#[tokio::test]
async fn hundreds_of_megabytes_read_slowly_never_fill_more_than_the_queue() {
    let harness = Harness::new();
    let tenant = roomy(1);
    let rows = "with recursive c(x) as (select 1 union all select x + 1 from c limit 100000) \
                select x, printf('%.*c', 2000, 'x') from c";
    let response = harness.cursor(&tenant, Value::Null, json!([step(rows)])).await;
    assert_eq!(response.body().size_hint().exact(), None);
    let mut body = response.into_body();
    let (mut bytes, mut newlines) = (0_usize, 0_usize);
    while let Some(piece) = next(&mut body).await {
        assert!(
            harness.service.queued_answer_bytes() <= MOST_QUEUED,
            "{}",
            harness.service.queued_answer_bytes()
        );
        assert!(
            piece.len() < 2 * (32 << 10),
            "a piece is full when it has 32 KiB: {}",
            piece.len()
        );
        bytes += piece.len();
        newlines += piece.iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(newlines, 100_000 + 3, "head, begin, rows, end");
    assert!(bytes > 200_000_000, "{bytes}");
    assert_eq!(harness.service.queued_answer_bytes(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_thread_and_the_turn_to_write() {
    let harness = Harness::with(|config| config.running_jobs = 1, &HranaConfig::default());
    let tenant = roomy(1);
    harness.sql(&tenant, "create table t (x, y)").await;
    let insert = "insert into t with recursive c(x) as (select 1 union all select x + 1 from c limit 20000) \
                  select x, printf('%.*c', 500, 'x') from c returning x, y";
    let response = harness.cursor(&tenant, Value::Null, json!([step(insert)])).await;
    let mut body = response.into_body();
    next(&mut body).await.unwrap();
    drop(body);
    harness.sql(&tenant, "insert into t values (0, 0)").await;
    assert_eq!(
        harness.sql(&tenant, "select count(*) from t").await,
        [[json!("1")]],
        "what was being written is undone"
    );
    assert_eq!(harness.service.queued_answer_bytes(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_a_cursor_can_go_on_with_its_transaction() {
    let harness = Harness::new();
    let tenant = roomy(1);
    harness.sql(&tenant, "create table t (x)").await;
    let begun = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([execute("begin"), execute("insert into t values (1)")]),
        )
        .await;
    let response = harness
        .cursor(&tenant, begun.body["baton"].clone(), json!([step(ENDLESS)]))
        .await;
    let mut body = response.into_body();
    let baton = baton_of(&next(&mut body).await.unwrap());
    drop(body);
    let answer = harness
        .pipeline(
            &tenant,
            baton,
            json!([{"type": "get_autocommit"}, execute("commit"), {"type": "close"}]),
        )
        .await;
    assert_eq!(
        answer.body["results"][0]["response"]["is_autocommit"], false,
        "{}",
        answer.body
    );
    assert_eq!(harness.sql(&tenant, "select x from t").await, [[json!("1")]]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_answer_and_its_stream() {
    let hrana = HranaConfig {
        answer_stall: Duration::from_millis(20),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|config| config.running_jobs = 1, &hrana);
    let tenant = roomy(1);
    harness.sql(&tenant, "create table t (x)").await;
    let begun = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([execute("begin"), execute("insert into t values (1)")]),
        )
        .await;
    let response = harness
        .cursor(&tenant, begun.body["baton"].clone(), json!([step(ENDLESS)]))
        .await;
    // The only thread is free again, and so is the turn to write: nothing was read meanwhile.
    harness.sql(&tenant, "insert into t values (2)").await;
    assert_eq!(harness.sql(&tenant, "select x from t").await, [[json!("2")]]);
    let mut body = response.into_body();
    let baton = baton_of(&next(&mut body).await.unwrap());
    let error = loop {
        if let Err(error) = body.frame().await.unwrap() {
            break error;
        }
    };
    assert!(error.to_string().contains("did not read"), "{error}");
    let answer = harness.pipeline(&tenant, baton, json!([execute("select 1")])).await;
    assert_eq!(answer.body["type"], "https://tenantry.dev/problems/spent-baton");
}

#[tokio::test]
async fn the_baton_of_the_first_line_waits_for_the_end_of_the_batch() {
    let harness = Harness::new();
    let tenant = roomy(1);
    let rows = "with recursive c(x) as (select 1 union all select x + 1 from c limit 20000) \
                select x, printf('%.*c', 500, 'x') from c";
    let response = harness
        .cursor(
            &tenant,
            Value::Null,
            json!([step(rows), step("create temp table mine (x)")]),
        )
        .await;
    let mut body = response.into_body();
    let baton = baton_of(&next(&mut body).await.unwrap());
    let mut early = Box::pin(harness.pipeline(&tenant, baton.clone(), json!([execute("select count(*) from mine")])));
    assert!(futures_util::poll!(&mut early).is_pending());
    while next(&mut body).await.is_some() {}
    assert_eq!(early.await.rows(0), [[json!("0")]]);
    let answer = harness.pipeline(&tenant, baton, json!([execute("select 1")])).await;
    assert_eq!(answer.body["type"], "https://tenantry.dev/problems/spent-baton");
}

#[tokio::test]
async fn a_baton_that_is_used_while_nobody_reads_is_refused_in_the_end() {
    let hrana = HranaConfig {
        answer_stall: Duration::from_millis(200),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|_| {}, &hrana);
    let tenant = roomy(1);
    let response = harness
        .cursor(&tenant, Value::Null, json!([step("begin"), step(ENDLESS)]))
        .await;
    let mut body = response.into_body();
    let baton = baton_of(&next(&mut body).await.unwrap());
    let answer = harness.pipeline(&tenant, baton, json!([execute("select 1")])).await;
    let kind = answer.body["type"].as_str().unwrap();
    // Which of the two gives up first is a matter of microseconds.
    assert!(
        kind.ends_with("/stream-busy") || kind.ends_with("/spent-baton"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn the_limit_of_the_result_holds_for_all_that_a_cursor_sends() {
    let harness = Harness::new();
    let mut tenant = roomy(1);
    tenant.quota.result_bytes = 200_000;
    let response = harness
        .cursor(&tenant, Value::Null, json!([step(ENDLESS), step("select 'small'")]))
        .await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!((190_000..=201_000).contains(&body.len()), "{}", body.len());
    let lines = lines(&body);
    let errors: Vec<_> = lines.iter().filter(|line| line["type"] == "step_error").collect();
    assert_eq!(errors[0]["error"]["code"], "RESPONSE_TOO_LARGE");
    assert_eq!(errors[0]["step"], 0);
}

#[tokio::test]
async fn steps_that_fail_at_length_are_sent_and_bounded_as_rows_are() {
    let harness = Harness::new();
    let mut tenant = roomy(1);
    let failing = step(&format!("select * from {}", "n".repeat(50_000)));
    let response = harness
        .cursor(&tenant, Value::Null, json!(vec![failing.clone(); 20]))
        .await;
    assert_eq!(response.body().size_hint().exact(), None, "they are not collected");
    let whole = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(lines(&whole).len(), 21);
    tenant.quota.result_bytes = 200_000;
    let response = harness.cursor(&tenant, Value::Null, json!(vec![failing; 9])).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!((150_000..=202_000).contains(&body.len()), "{}", body.len());
    let lines = lines(&body);
    assert_eq!(lines[1]["error"]["code"], "SQLITE_ERROR");
    assert_eq!(lines[9]["error"]["code"], "RESPONSE_TOO_LARGE");
}

#[tokio::test]
async fn a_full_database_decides_the_status_of_a_cursor_that_has_sent_nothing() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.database_bytes = 1 << 20;
    let steps = json!([
        step("create table t (x)"),
        step("insert into t values (zeroblob(4000000))"),
        step("select 'after'"),
    ]);
    let response = harness.cursor(&tenant, Value::Null, steps).await;
    assert_eq!(response.status(), 507);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["entries"][2]["type"], "step_begin");
    assert_eq!(problem["entries"][3]["error"]["code"], "SQLITE_FULL", "{problem}");
    assert!(
        problem["baton"].is_null(),
        "the stream that the request began has ended"
    );
    assert_eq!(harness.service.open_streams(), 0);
}
