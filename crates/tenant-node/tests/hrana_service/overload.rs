//! Requests that get no place to run: before they have begun, and in the middle.

use std::pin::Pin;
use std::time::Duration;

use futures_util::poll;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;

use crate::harness::{Answer, Harness, Tenant, execute, tenant};

const ENDLESS: &str = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";

/// A node that runs one job of a tenant at a moment, while one other waits.
fn narrow() -> Harness {
    let narrow = |config: &mut tenant_node::database::DatabasesConfig| {
        config.jobs_per_tenant = 1;
        config.queued_jobs = 4;
    };
    Harness::with(narrow, &HranaConfig::default())
}

fn statements(harness: &Harness, tenant: &Tenant) -> u64 {
    harness.databases.figures(tenant.uid).unwrap().statements
}

/// Polls until the tenant has run so many statements in all.
async fn run_until<F: Future>(running: &mut Pin<Box<F>>, harness: &Harness, tenant: &Tenant, count: u64) {
    while statements(harness, tenant) < count {
        assert!(poll!(&mut *running).is_pending());
        tokio::task::yield_now().await;
    }
}

/// Both places of the tenant, taken until this is dropped.
struct Full<'a> {
    _requests: [Pin<Box<dyn Future<Output = Answer> + 'a>>; 2],
}

impl<'a> Full<'a> {
    async fn of(harness: &'a Harness, tenant: &'a Tenant) -> Self {
        let before = statements(harness, tenant);
        let requests = json!([execute("select 1"), execute(ENDLESS)]);
        let mut running = Box::pin(harness.pipeline(tenant, Value::Null, requests));
        run_until(&mut running, harness, tenant, before + 1).await;
        let mut waiting = Box::pin(harness.try_sql(tenant, "select 2"));
        assert!(poll!(&mut waiting).is_pending());
        Self {
            _requests: [running, waiting],
        }
    }
}

/// A tenant whose statements may run for long.
fn patient() -> Tenant {
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 600_000;
    tenant
}

async fn begun(harness: &Harness, tenant: &Tenant, requests: Value) -> Value {
    let answer = harness.pipeline(tenant, Value::Null, requests).await;
    for result in answer.body["results"].as_array().unwrap() {
        assert_eq!(result["type"], "ok", "{}", answer.body);
    }
    answer.body["baton"].clone()
}

/// The baton of a transaction of the tenant's that has written a row.
async fn writing(harness: &Harness, tenant: &Tenant) -> Value {
    let requests = json!([execute("begin"), execute("insert into t values (1)")]);
    begun(harness, tenant, requests).await
}

/// The tenant, whose next request gives up waiting for its turn to write only to find that there is no place to go on.
fn hasty(tenant: &Tenant) -> Tenant {
    let mut hasty = tenant.clone();
    hasty.quota.query_time_ms = 20;
    hasty
}

/// What the requests are answered when there is a place again: as soon as the statement that had it has stopped.
async fn in_time(harness: &Harness, tenant: &Tenant, baton: &Value, requests: &Value) -> Answer {
    loop {
        let answer = harness.pipeline(tenant, baton.clone(), requests.clone()).await;
        if answer.status != 503 {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_that_gets_no_place_leaves_its_stream_as_it_was() {
    let harness = narrow();
    let tenant = patient();
    harness.sql(&tenant, "create table t (x)").await;
    let baton = writing(&harness, &tenant).await;
    let full = Full::of(&harness, &tenant).await;
    let asked = json!([execute("insert into t values (2)"), execute("commit")]);
    for _ in 0..2 {
        let answer = harness.pipeline(&tenant, baton.clone(), asked.clone()).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.body["type"], "https://tenantry.dev/problems/overloaded");
        let steps = json!([{"stmt": {"sql": "insert into t values (2)"}}]);
        assert_eq!(harness.cursor(&tenant, baton.clone(), steps).await.status(), 503);
    }
    drop(full);
    let answer = in_time(&harness, &tenant, &baton, &asked).await;
    assert_eq!(answer.body["results"][1]["type"], "ok", "{}", answer.body);
    assert_eq!(
        harness.sql(&tenant, "select group_concat(x) from t").await,
        [[json!("1,2")]]
    );
}

#[tokio::test]
async fn what_follows_a_committed_write_is_refused_in_its_own_result() {
    // One connection that every tenant is sure of, and a further one.
    let two_connections = |config: &mut tenant_node::database::DatabasesConfig| {
        config.max_open = 1;
        config.descriptors = 4;
    };
    let harness = Harness::with(two_connections, &HranaConfig::default());
    let tenant = patient();
    harness.sql(&tenant, "create table t (x)").await;
    begun(&harness, &tenant, json!([execute("begin immediate")])).await;
    harness.advance(Duration::from_secs(5));
    let reading = begun(&harness, &tenant, json!([execute("begin"), execute("select * from t")])).await;
    // The two commit together; then the first one keeps the only connection that is free.
    let keeping = json!([execute("insert into t values (1)"), execute("begin")]);
    let mut keeping = Box::pin(harness.pipeline(&tenant, Value::Null, keeping));
    let steps = json!([{"stmt": {"sql": "insert into t values (3)"}}, {"stmt": {"sql": "select 1"}, "condition": {"type": "ok", "step": 0}}]);
    let refused = json!([
        execute("insert into t values (2)"),
        {"type": "batch", "batch": {"steps": steps}},
        {"type": "store_sql", "sql_id": 1, "sql": "select 5"},
        execute("insert into t values (4)"),
        {"type": "sequence", "sql": "insert into t values (5)"},
        {"type": "describe", "sql": "select 1"},
        {"type": "get_autocommit"}
    ]);
    let mut refused = Box::pin(harness.pipeline(&tenant, Value::Null, refused));
    assert!(poll!(&mut keeping).is_pending() && poll!(&mut refused).is_pending());
    // The transaction that they wait for expires, and its connection is free before it is their turn.
    harness.advance(Duration::from_secs(5));
    let (keeping, refused) = futures_util::join!(keeping, refused);
    assert_eq!(keeping.status, 200, "{}", keeping.body);
    assert_eq!(refused.status, 200, "{}", refused.body);
    assert_eq!(
        refused.body["results"][0]["response"]["result"]["affected_row_count"],
        1
    );
    let batch = &refused.body["results"][1]["response"]["result"];
    assert_eq!(batch["step_errors"][0]["code"], "OVERLOADED", "{batch}");
    assert_eq!(
        (&batch["step_results"][1], &batch["step_errors"][1]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(refused.body["results"][2]["response"]["type"], "store_sql");
    for index in 3..6 {
        assert_eq!(refused.error(index).0, "OVERLOADED", "{}", refused.body);
    }
    assert_eq!(refused.body["results"][6]["response"]["is_autocommit"], true);

    for baton in [reading, keeping.body["baton"].clone()] {
        harness
            .pipeline(&tenant, baton, json!([execute("rollback"), {"type": "close"}]))
            .await;
    }
    let stored = json!([{"type": "execute", "stmt": {"sql_id": 1}}, execute("select group_concat(x) from t")]);
    let answer = harness.pipeline(&tenant, refused.body["baton"].clone(), stored).await;
    assert_eq!(
        (answer.rows(0), answer.rows(1)),
        (vec![vec![json!("5")]], vec![vec![json!("1,2")]])
    );
}

#[tokio::test]
async fn a_batch_that_is_refused_in_the_middle_is_rolled_back_by_its_own_rollback() {
    let harness = narrow();
    let tenant = patient();
    harness.sql(&tenant, "create table t (x)").await;
    let writing = writing(&harness, &tenant).await;
    let steps = json!([
        {"stmt": {"sql": "begin"}},
        {"stmt": {"sql": "select count(*) from t"}, "condition": {"type": "ok", "step": 0}},
        {"stmt": {"sql": "insert into t values (2)"}, "condition": {"type": "ok", "step": 1}},
        {"stmt": {"sql": "commit"}, "condition": {"type": "ok", "step": 2}},
        {"stmt": {"sql": "rollback"}, "condition": {"type": "not", "cond": {"type": "ok", "step": 3}}}
    ]);
    let hasty = hasty(&tenant);
    let requests = json!([{"type": "batch", "batch": {"steps": steps}}, {"type": "get_autocommit"}]);
    let before = statements(&harness, &tenant);
    let mut refused = Box::pin(harness.pipeline(&hasty, Value::Null, requests));
    run_until(&mut refused, &harness, &tenant, before + 2).await;
    let full = Full::of(&harness, &tenant).await;
    let answer = refused.await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let batch = &answer.body["results"][0]["response"]["result"];
    assert_eq!(batch["step_results"][1]["rows"][0][0]["value"], "0", "{batch}");
    assert_eq!(batch["step_errors"][2]["code"], "OVERLOADED", "{batch}");
    assert!(
        batch["step_results"][3].is_null() && batch["step_errors"][3].is_null(),
        "{batch}"
    );
    assert_eq!(batch["step_results"][4]["rows"], json!([]), "{batch}");
    assert_eq!(answer.body["results"][1]["response"]["is_autocommit"], true);
    drop(full);
    assert_eq!(
        harness.service.open_streams(),
        1,
        "of the batch's stream nothing is left"
    );
    in_time(&harness, &tenant, &writing, &json!([execute("commit")])).await;
    assert_eq!(
        harness.sql(&tenant, "select group_concat(x) from t").await,
        [[json!("1")]]
    );
}

#[tokio::test]
async fn a_cursor_and_a_transaction_that_are_refused_in_the_middle_go_on_with_their_baton() {
    let harness = narrow();
    let tenant = patient();
    harness.sql(&tenant, "create table t (x)").await;
    let writing = writing(&harness, &tenant).await;
    let mut steps = vec![
        json!({"stmt": {"sql": "begin"}}),
        json!({"stmt": {"sql": "select count(*) from t"}}),
    ];
    // More refusals than may wait for a client, who has not begun to read.
    steps.resize(3_000, json!({"stmt": {"sql": "insert into t values (2)"}}));
    let hasty = hasty(&tenant);
    let before = statements(&harness, &tenant);
    let mut refused = Box::pin(harness.cursor(&hasty, Value::Null, json!(steps)));
    run_until(&mut refused, &harness, &tenant, before + 2).await;
    let full = Full::of(&harness, &tenant).await;
    let response = refused.await;
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["type"], &last["step"]), (&json!("step_error"), &json!(2_999)));
    assert_eq!(last["error"]["code"], "OVERLOADED");
    drop(full);
    let going_on = json!([{"type": "get_autocommit"}, execute("commit")]);
    let answer = in_time(&harness, &tenant, &lines[0]["baton"], &going_on).await;
    assert_eq!(
        answer.body["results"][0]["response"]["is_autocommit"], false,
        "{}",
        answer.body
    );
    assert_eq!(answer.body["results"][1]["type"], "ok", "{}", answer.body);
    harness.pipeline(&tenant, writing, json!([execute("commit")])).await;
}

#[tokio::test]
async fn a_script_that_is_refused_in_the_middle_says_how_much_of_it_was_carried_out() {
    let harness = narrow();
    let tenant = patient();
    harness.sql(&tenant, "create table t (x)").await;
    let writing = writing(&harness, &tenant).await;
    let script = "select count(*) from t; insert into t values (2)";
    let hasty = hasty(&tenant);
    let before = statements(&harness, &tenant);
    let requests = json!([{"type": "sequence", "sql": script}]);
    let mut refused = Box::pin(harness.pipeline(&hasty, Value::Null, requests));
    run_until(&mut refused, &harness, &tenant, before + 1).await;
    let full = Full::of(&harness, &tenant).await;
    let answer = refused.await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let (code, message) = answer.error(0);
    assert_eq!(code, "SCRIPT_CUT_SHORT");
    assert!(message.contains("the first 23 bytes"), "{message}");
    drop((full, writing));
}
