//! The older HTTP API, which libSQL's first clients speak.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Harness, Tenant, rows, tenant};

async fn post(harness: &Harness, tenant: &Tenant, path: &str, body: Value) -> Answer {
    harness.send(tenant, Method::POST, path, body.to_string()).await
}

#[tokio::test]
async fn one_statement_is_answered_with_its_result_or_its_error() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let execute = |stmt: Value| post(&harness, &tenant, "/v1/execute", json!({"stmt": stmt}));
    let created = execute(json!({"sql": "create table t (id integer primary key, word text unique)"})).await;
    assert_eq!(created.status, 200, "{}", created.body);
    let inserted =
        execute(json!({"sql": "insert into t (word) values (?)", "args": [{"type": "text", "value": "a"}]})).await;
    let result = &inserted.body["result"];
    assert_eq!(
        (&result["affected_row_count"], &result["last_insert_rowid"]),
        (&json!(1), &json!("1"))
    );
    let read = execute(json!({"sql": "select id, word from t", "want_rows": true})).await;
    assert_eq!(rows(&read.body["result"]), [[json!("1"), json!("a")]]);
    let failed = execute(json!({"sql": "insert into t (word) values ('a')"})).await;
    assert_eq!(failed.status, 400);
    assert_eq!(failed.headers["content-type"], "application/json");
    assert_eq!(failed.body["code"], "SQLITE_CONSTRAINT_UNIQUE");
    assert!(
        failed.body["message"].as_str().unwrap().contains("t.word"),
        "{}",
        failed.body
    );
    let malformed = post(&harness, &tenant, "/v1/execute", json!({"stmt": {"sql": 1}})).await;
    assert_eq!(
        (malformed.status.as_u16(), &malformed.body["field"]),
        (400, &json!("stmt.sql"))
    );
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn a_batch_is_one_session_and_leaves_nothing_open() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let steps = json!([
        {"stmt": {"sql": "begin immediate"}},
        {"stmt": {"sql": "insert into t values (1)"}, "condition": {"type": "ok", "step": 0}},
        {"stmt": {"sql": "insert into missing values (1)"}},
        {"stmt": {"sql": "select count(*) from t"}, "condition": null},
    ]);
    let answer = post(&harness, &tenant, "/v1/batch", json!({"batch": {"steps": steps}})).await;
    let result = &answer.body["result"];
    assert_eq!(rows(&result["step_results"][3]), [[json!("1")]]);
    assert_eq!(result["step_errors"][2]["code"], "SQLITE_ERROR", "{}", answer.body);
    assert_eq!(
        harness.sql(&tenant, "select count(*) from t").await,
        [[json!("0")]],
        "rolled back"
    );
    harness.sql(&tenant, "insert into t values (2)").await;
}

#[tokio::test]
async fn a_full_database_is_told_in_a_form_that_old_clients_read() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.database_bytes = 1 << 20;
    harness.sql(&tenant, "create table t (x)").await;
    let body = json!({"stmt": {"sql": "insert into t values (zeroblob(4000000))"}});
    let answer = post(&harness, &tenant, "/v1/execute", body).await;
    assert_eq!(answer.status, 507);
    assert_eq!(answer.body["code"], "STORAGE_QUOTA_EXCEEDED");
    assert!(answer.body["message"].is_string());
}
