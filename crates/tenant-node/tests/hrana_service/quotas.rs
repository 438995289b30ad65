use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::layers::Access;

use crate::harness::{Answer, Harness, Tenant, execute, tenant};

const MIB: u64 = 1 << 20;

fn limited() -> Tenant {
    let mut tenant = tenant(1);
    tenant.quota.database_bytes = MIB;
    tenant
}

/// Inserts until the quota refuses. The refusal.
async fn fill(harness: &Harness, tenant: &Tenant) -> Answer {
    for _ in 0..1_000 {
        let answer = harness
            .try_sql(tenant, "insert into t (body) values (randomblob(20000))")
            .await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("the quota never refused")
}

#[tokio::test]
async fn a_full_database_refuses_growth_with_507_and_lets_everything_else_pass() {
    let harness = Harness::new();
    let tenant = limited();
    harness
        .sql(&tenant, "create table t (id integer primary key, body blob)")
        .await;
    let refusal = fill(&harness, &tenant).await;
    assert_eq!(refusal.status, 507);
    assert_eq!(refusal.headers["content-type"], "application/problem+json");
    assert_eq!(
        refusal.body["type"],
        "https://tenantry.dev/problems/storage-quota-exceeded"
    );
    assert_eq!(refusal.body["limit_bytes"], MIB);
    let used = refusal.body["used_bytes"].as_u64().unwrap();
    assert!((MIB - 40_000..=MIB).contains(&used), "{used}");
    assert_eq!(refusal.error(0).0, "SQLITE_FULL");
    assert_eq!(refusal.body["results"][1]["response"]["type"], "close");
    assert_eq!(refusal.body["baton"], Value::Null);
    assert!(refusal.body["allowed"].as_array().unwrap().contains(&json!("DELETE")));

    let rows = harness
        .sql(
            &tenant,
            "select count(*), (select page_count from pragma_page_count) from t",
        )
        .await;
    assert!(rows[0][1].as_str().unwrap().parse::<u64>().unwrap() * 4096 <= MIB);
    harness.sql(&tenant, "delete from t where id % 2 = 0").await;
    harness.sql(&tenant, "vacuum").await;
    let shrunk = harness.databases.figures(tenant.uid).unwrap().database_bytes;
    assert!(shrunk < used * 2 / 3, "{shrunk} of {used}");
    harness
        .sql(&tenant, "insert into t (body) values (randomblob(20000))")
        .await;
    assert_eq!(fill(&harness, &tenant).await.status, 507);
    harness.sql(&tenant, "drop table t").await;
    harness.sql(&tenant, "pragma incremental_vacuum").await;
    let emptied = harness.databases.figures(tenant.uid).unwrap();
    assert!(emptied.database_bytes + emptied.free_bytes <= MIB, "{emptied:?}");
}

#[tokio::test]
async fn a_changed_limit_counts_at_once_and_a_lowered_one_stops_growth_only() {
    let harness = Harness::new();
    let mut tenant = limited();
    harness
        .sql(&tenant, "create table t (id integer primary key, body blob)")
        .await;
    fill(&harness, &tenant).await;
    tenant.quota.database_bytes = 2 * MIB;
    assert_eq!(fill(&harness, &tenant).await.body["limit_bytes"], 2 * MIB);
    tenant.quota.database_bytes = MIB;
    assert_eq!(fill(&harness, &tenant).await.status, 507);
    harness
        .sql(&tenant, "update t set body = zeroblob(20000) where id = 1")
        .await;
    harness.sql(&tenant, "delete from t where id > 5").await;
    harness.sql(&tenant, "vacuum").await;
    let refusal = fill(&harness, &tenant).await;
    let used = refusal.body["used_bytes"].as_u64().unwrap();
    assert!(
        (MIB - 40_000..=MIB).contains(&used),
        "after shrinking, the lower limit counts: {used}"
    );
}

#[tokio::test]
async fn a_transaction_at_the_limit_goes_on_with_the_baton_that_its_client_has() {
    let harness = Harness::new();
    let tenant = limited();
    harness
        .sql(&tenant, "create table t (id integer primary key, body blob)")
        .await;
    let begun = harness.pipeline(&tenant, Value::Null, json!([execute("begin")])).await;
    let baton = begun.body["baton"].clone();
    // SQLite undoes this statement alone. One that it has prepared no such thing for takes the transaction with it.
    let too_large = "insert into t (id, body) select 77, zeroblob(2000000)";
    let requests = json!([
        execute("insert into t (body) values (zeroblob(100000))"),
        execute(too_large),
        execute("select count(*) from t")
    ]);
    for rows in ["1", "2"] {
        let answer = harness.pipeline(&tenant, baton.clone(), requests.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.error(1).0), (507, "SQLITE_FULL"));
        assert_eq!(answer.rows(2), [[json!(rows)]]);
        assert_eq!(answer.body["baton"], baton);
    }
    let steps = json!([{"stmt": {"sql": too_large}}]);
    assert_eq!(harness.cursor(&tenant, baton.clone(), steps).await.status(), 507);
    let answer = harness.pipeline(&tenant, baton, json!([execute("rollback")])).await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("0")]]);
}

#[tokio::test]
async fn a_transaction_that_sqlite_ends_because_the_database_is_full_can_be_rolled_back_all_the_same() {
    let harness = Harness::new();
    let tenant = limited();
    harness
        .sql(&tenant, "create table t (id integer primary key, body blob)")
        .await;
    for (rollback, outcome) in [("rollback", "ok"), ("ROLLBACK; -- all", "ok"), ("commit", "error")] {
        let begun = harness
            .pipeline(
                &tenant,
                Value::Null,
                json!([
                    execute("begin"),
                    execute("insert into t (body) values (zeroblob(100000))")
                ]),
            )
            .await;
        let baton = begun.body["baton"].clone();
        let requests = json!([execute("insert into t (body) values (zeroblob(2000000))")]);
        let refused = harness.pipeline(&tenant, baton.clone(), requests).await;
        assert_eq!((refused.status.as_u16(), &refused.body["baton"]), (507, &baton));
        let steps = json!([{"stmt": {"sql": rollback}}, {"stmt": {"sql": "select count(*) from t"}}]);
        let requests = json!([{"type": "batch", "batch": {"steps": steps}}, {"type": "get_autocommit"}]);
        let answer = harness.pipeline(&tenant, baton, requests).await;
        let result = &answer.body["results"][0]["response"]["result"];
        assert_eq!(result["step_errors"][0].is_null(), outcome == "ok", "{}", answer.body);
        assert_eq!(result["step_results"][1]["rows"][0][0]["value"], "0", "{}", answer.body);
        assert_eq!(answer.body["results"][1]["response"]["is_autocommit"], true);
    }
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn a_transaction_that_sqlite_ends_can_be_rolled_back_by_a_cursor_too() {
    let harness = Harness::new();
    let tenant = limited();
    harness
        .sql(&tenant, "create table t (id integer primary key, body blob)")
        .await;
    let too_large = "insert into t (body) values (zeroblob(2000000))";
    let begun = harness.pipeline(&tenant, Value::Null, json!([execute("begin")])).await;
    let baton = begun.body["baton"].clone();
    let refused = harness
        .pipeline(&tenant, baton.clone(), json!([execute(too_large)]))
        .await;
    assert_eq!(refused.status, 507);
    // A cursor that is refused, too, tells its client as little.
    let steps = json!([{"stmt": {"sql": too_large}}]);
    assert_eq!(harness.cursor(&tenant, baton.clone(), steps).await.status(), 507);
    let steps = json!([{"stmt": {"sql": "rollback"}}, {"stmt": {"sql": "select count(*) from t"}}]);
    let response = harness.cursor(&tenant, baton, steps).await;
    assert_eq!(response.status(), 200);
    let entries = response.into_body().collect().await.unwrap().to_bytes();
    let entries = String::from_utf8(entries.to_vec()).unwrap();
    assert!(!entries.contains("step_error"), "{entries}");
}

#[tokio::test]
async fn what_a_refused_request_has_begun_by_itself_is_rolled_back() {
    let harness = Harness::new();
    let tenant = limited();
    harness
        .sql(&tenant, "create table t (id integer primary key, body blob)")
        .await;
    let requests = json!([
        execute("begin"),
        execute("insert into t (body) values (zeroblob(100000))"),
        execute("insert into t (body) values (zeroblob(2000000))")
    ]);
    let idle = harness
        .pipeline(&tenant, Value::Null, json!([execute("select 1")]))
        .await;
    for (baton, next) in [
        (Value::Null, Value::Null),
        (idle.body["baton"].clone(), idle.body["baton"].clone()),
    ] {
        let answer = harness.pipeline(&tenant, baton, requests.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.error(2).0), (507, "SQLITE_FULL"));
        assert_eq!(answer.body["results"].as_array().unwrap().len(), 3);
        assert_eq!(answer.body["baton"], next);
        let answer = harness
            .pipeline(
                &tenant,
                next,
                json!([{"type": "get_autocommit"}, execute("select count(*) from t")]),
            )
            .await;
        assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], true);
        assert_eq!(answer.rows(1), [[json!("0")]]);
    }
    // Nobody holds the turn to write.
    harness.sql(&tenant, "insert into t (id) values (1)").await;
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn a_long_statement_is_stopped_and_the_limit_is_named() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 50;
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";
    let answer = harness.try_sql(&tenant, endless).await;
    let (code, message) = answer.error(0);
    assert_eq!(code, "SQLITE_INTERRUPT");
    assert!(
        message.contains("50 ms") && message.contains("query_time_ms"),
        "{message}"
    );
    assert_eq!(harness.sql(&tenant, "select 1").await, [[json!("1")]]);
}

#[tokio::test]
async fn a_large_result_is_refused_while_it_is_read_and_its_writes_are_undone() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    tenant.quota.result_bytes = 10_000;
    let many = "with recursive c(x) as (select 1 union all select x + 1 from c limit 1000)";
    let requests = json!([
        execute(&format!("{many} select x, 'some text' from c")),
        execute(&format!("insert into t {many} select x from c returning x, 'some text'")),
        execute("select count(*) from t"),
        execute("select zeroblob(20000)"),
        {"type": "close"}
    ]);
    let answer = harness.pipeline(&tenant, Value::Null, requests).await;
    for index in [0, 1, 3] {
        let (code, message) = answer.error(index);
        assert_eq!(code, "RESPONSE_TOO_LARGE", "{}", answer.body);
        assert!(message.contains("10000 bytes"), "{message}");
    }
    assert_eq!(answer.rows(2), [[json!("0")]]);
}

#[tokio::test]
async fn read_only_access_reads_and_nothing_else() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    harness.sql(&tenant, "create index i on t (x)").await;
    harness.sql(&tenant, "insert into t values (1)").await;
    tenant.access = Access::ReadOnly;
    for sql in [
        "select x from t",
        "begin",
        "with a as (select 1) select * from a",
        "explain delete from t",
        "pragma user_version",
    ] {
        harness.sql(&tenant, sql).await;
    }
    for sql in [
        "insert into t values (2)",
        "delete from t",
        "drop table t",
        "create table u (x)",
        "create temp table u (x)",
        "begin immediate",
        "vacuum",
        "reindex",
        "analyze",
        "pragma user_version = 5",
        "pragma incremental_vacuum",
        "pragma optimize",
        "/* x */ pragma main.optimize(0x10002)",
        "with a as (select 1) insert into t select * from a",
    ] {
        let answer = harness.try_sql(&tenant, sql).await;
        assert_eq!(answer.error(0).0, "SQLITE_READONLY", "{sql}: {}", answer.body);
    }
    // The table-valued form, if SQLite has it, is refused while it runs.
    let answer = harness.try_sql(&tenant, "select * from pragma_optimize").await;
    assert_eq!(answer.body["results"][0]["type"], "error", "{}", answer.body);
    tenant.access = Access::Full;
    assert_eq!(
        harness
            .sql(&tenant, "select count(*), (select count(*) from sqlite_schema) from t")
            .await,
        [[json!("1"), json!("2")]]
    );
}

#[tokio::test]
async fn idle_databases_close_and_their_figures_stay() {
    let harness = Harness::new();
    let tenant = limited();
    harness.sql(&tenant, "create table t (x)").await;
    let before = harness.databases.figures(tenant.uid).unwrap();
    assert_eq!(harness.databases.open_tenants(), [tenant.uid]);
    harness.advance(Duration::from_secs(299));
    assert_eq!(harness.databases.open_tenants().len(), 1);
    harness.advance(Duration::from_secs(1));
    assert!(harness.databases.open_tenants().is_empty());
    let after = harness.databases.figures(tenant.uid).unwrap();
    assert_eq!(
        (after.database_bytes, after.rows_written),
        (before.database_bytes, before.rows_written)
    );
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("0")]]);
}
