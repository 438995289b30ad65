use std::time::Duration;

use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;

use crate::harness::{Harness, Tenant, execute, tenant};

async fn begun(harness: &Harness, tenant: &Tenant, insert: i64) -> Value {
    let requests = json!([execute("begin"), execute(&format!("insert into t values ({insert})"))]);
    let answer = harness.pipeline(tenant, Value::Null, requests).await;
    assert_eq!(answer.body["results"][1]["type"], "ok", "{}", answer.body);
    answer.body["baton"].clone()
}

async fn count(harness: &Harness, tenant: &Tenant) -> String {
    harness.sql(tenant, "select count(*) from t").await[0][0]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_transaction_goes_on_from_baton_to_baton_and_is_isolated() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let baton = begun(&harness, &tenant, 1).await;
    assert_eq!(count(&harness, &tenant).await, "0");
    let answer = harness
        .pipeline(
            &tenant,
            baton.clone(),
            json!([{"type": "get_autocommit"}, execute("select count(*) from t")]),
        )
        .await;
    assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], false);
    assert_eq!(answer.rows(1), [[json!("1")]]);
    assert_ne!(answer.body["baton"], baton);
    let answer = harness
        .pipeline(
            &tenant,
            answer.body["baton"].clone(),
            json!([execute("commit"), {"type": "close"}, execute("select 1")]),
        )
        .await;
    assert_eq!(answer.body["baton"], Value::Null);
    assert_eq!(answer.error(2).0, "STREAM_CLOSED");
    assert_eq!(count(&harness, &tenant).await, "1");
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn an_idle_transaction_expires_and_is_rolled_back() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let baton = begun(&harness, &tenant, 1).await;
    harness.advance(Duration::from_millis(9_999));
    assert_eq!(harness.service.open_streams(), 1);
    harness.advance(Duration::from_millis(1));
    assert_eq!(harness.service.open_streams(), 0);
    let answer = harness.pipeline(&tenant, baton, json!([execute("commit")])).await;
    assert_eq!((answer.status.as_u16(), &answer.body["field"]), (400, &json!("baton")));
    // The write lock is free again: this waits for the rollback and no longer.
    harness.sql(&tenant, "insert into t values (2)").await;
    assert_eq!(count(&harness, &tenant).await, "1");
}

#[tokio::test]
async fn old_foreign_and_garbled_batons_are_refused_and_harm_nobody() {
    let harness = Harness::new();
    let owner = tenant(1);
    harness.sql(&owner, "create table t (x)").await;
    let old = begun(&harness, &owner, 1).await;
    let answer = harness
        .pipeline(&owner, old.clone(), json!([execute("select 1")]))
        .await;
    let current = answer.body["baton"].clone();
    let cases = [
        (&owner, old),
        (&tenant(2), current.clone()),
        (&owner, json!("garbled")),
        (&owner, json!("")),
        (&owner, json!(format!("{}A", current.as_str().unwrap()))),
    ];
    for (tenant, baton) in cases {
        let answer = harness
            .pipeline(tenant, baton.clone(), json!([execute("commit")]))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["field"]),
            (400, &json!("baton")),
            "{baton}"
        );
    }
    let answer = harness.pipeline(&owner, current, json!([execute("commit")])).await;
    assert_eq!(answer.body["results"][0]["type"], "ok");
    assert_eq!(count(&harness, &owner).await, "1");
}

#[tokio::test]
async fn a_second_writer_waits_for_its_turn_and_readers_do_not() {
    let harness = Harness::with(|config| config.running_jobs = 2, &HranaConfig::default());
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 60_000;
    harness.sql(&tenant, "create table t (x)").await;
    let baton = begun(&harness, &tenant, 1).await;
    // More waiting writers than threads: the others must still be served.
    let mut writers: Vec<_> = (0..8)
        .map(|_| Box::pin(harness.try_sql(&tenant, "insert into t values (2)")))
        .collect();
    for _ in 0..3 {
        for writer in &mut writers {
            assert!(futures_util::poll!(writer).is_pending());
        }
        assert_eq!(count(&harness, &tenant).await, "0");
    }
    harness
        .pipeline(&tenant, baton, json!([execute("commit"), {"type": "close"}]))
        .await;
    for answer in futures_util::future::join_all(writers).await {
        assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
    }
    assert_eq!(count(&harness, &tenant).await, "9");
}

#[tokio::test]
async fn a_writer_that_waits_too_long_is_told_so_and_the_transaction_lives() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let baton = begun(&harness, &tenant, 1).await;
    tenant.quota.query_time_ms = 20;
    let answer = harness.try_sql(&tenant, "insert into t values (2)").await;
    assert_eq!(answer.error(0).0, "SQLITE_BUSY");
    tenant.quota.query_time_ms = 10_000;
    let answer = harness.pipeline(&tenant, baton, json!([execute("commit")])).await;
    assert_eq!(answer.body["results"][0]["type"], "ok");
    assert_eq!(count(&harness, &tenant).await, "1");
}

#[tokio::test]
async fn nothing_of_a_stream_leaks_to_the_next() {
    let harness = Harness::with(|config| config.jobs_per_tenant = 1, &HranaConfig::default());
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let requests = json!([
        execute("create temp table secret (x)"),
        execute("pragma foreign_keys = off"),
        execute("pragma recursive_triggers = on"),
        execute("insert into t (rowid) values (77)"),
        execute("begin"),
        execute("insert into t values (1)"),
        {"type": "close"}
    ]);
    harness.pipeline(&tenant, Value::Null, requests).await;
    assert_eq!(count(&harness, &tenant).await, "1");
    let cases = [
        ("select count(*) from sqlite_temp_schema", "0"),
        ("pragma foreign_keys", "1"),
        ("pragma recursive_triggers", "0"),
        ("select last_insert_rowid()", "0"),
    ];
    for (sql, expected) in cases {
        assert_eq!(harness.sql(&tenant, sql).await, [[json!(expected)]], "{sql}");
    }
}

#[tokio::test]
async fn a_stream_keeps_its_own_state_between_requests() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let requests =
        json!([execute("insert into t (rowid) values (77)"), {"type": "store_sql", "sql_id": 1, "sql": "select 5"}]);
    let first = harness.pipeline(&tenant, Value::Null, requests).await;
    harness.sql(&tenant, "insert into t (rowid) values (99)").await;
    let requests = json!([
        execute("select last_insert_rowid()"), {"type": "execute", "stmt": {"sql_id": 1}}, execute("create temp table mine (x)")
    ]);
    let second = harness.pipeline(&tenant, first.body["baton"].clone(), requests).await;
    assert_eq!(
        (second.rows(0), second.rows(1)),
        (vec![vec![json!("77")]], vec![vec![json!("5")]])
    );
    let third = harness
        .pipeline(
            &tenant,
            second.body["baton"].clone(),
            json!([execute("select count(*) from mine")]),
        )
        .await;
    assert_eq!(third.rows(0), [[json!("0")]]);
}

/// A tenant that has as many streams with state as it may: two.
async fn at_the_limit_of_streams() -> (Harness, Tenant) {
    let hrana = HranaConfig {
        streams_per_tenant: 2,
        ..HranaConfig::default()
    };
    let harness = Harness::with(|_| {}, &hrana);
    let tenant = tenant(1);
    for _ in 0..2 {
        harness.pipeline(&tenant, Value::Null, json!([execute("begin")])).await;
    }
    (harness, tenant)
}

#[tokio::test]
async fn streams_with_state_are_bounded_and_those_without_are_not() {
    let (harness, tenant) = at_the_limit_of_streams().await;
    assert_eq!(harness.service.open_streams(), 2);
    for more in ["begin", "create temp table mine (x)"] {
        let answer = harness.pipeline(&tenant, Value::Null, json!([execute(more)])).await;
        assert_eq!(answer.status, 429, "{more}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    for sql in ["select 1", "with a as (select 1) select * from a", "values (1)"] {
        let answer = harness.pipeline(&tenant, Value::Null, json!([execute(sql)])).await;
        assert_eq!(answer.rows(0), [[json!("1")]], "{sql}");
    }
    assert_eq!(harness.sql(&tenant, "pragma user_version").await, [[json!("0")]]);
    assert_eq!(harness.service.open_streams(), 2);
}

#[tokio::test]
async fn what_is_only_looked_at_counts_by_what_compiling_it_leaves() {
    let (harness, tenant) = at_the_limit_of_streams().await;
    let describe = |sql: &str| json!({"type": "describe", "sql": sql});
    for leaving in [
        describe("create temp table mine (x)"),
        describe("pragma foreign_keys = off"),
        describe("explain create temp table mine (x)"),
        execute("explain create temp table mine (x)"),
        execute("explain query plan create temp view mine as select 1"),
        execute("explain pragma foreign_keys = off"),
    ] {
        let answer = harness.pipeline(&tenant, Value::Null, json!([leaving])).await;
        assert_eq!(answer.status, 429, "{leaving}: {}", answer.body);
    }
    for passing in [
        describe("select 1"),
        describe("insert into t values (1)"),
        describe("explain select 1"),
        execute("explain query plan select 1"),
        execute("explain with a as (select 1) select * from a"),
        execute("explain insert into t values (1)"),
    ] {
        let answer = harness.pipeline(&tenant, Value::Null, json!([passing])).await;
        assert_eq!(answer.status, 200, "{passing}: {}", answer.body);
    }
    assert_eq!(harness.service.open_streams(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_statement_and_its_transaction() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 600_000;
    harness.sql(&tenant, "create table t (x)").await;
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";
    let requests = json!([
        execute("begin immediate"),
        execute("insert into t values (1)"),
        execute(endless)
    ]);
    let mut leaving = Box::pin(harness.pipeline(&tenant, Value::Null, requests));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    // The lease and the stream exist now or soon; wait until the statement runs.
    while harness
        .databases
        .figures(tenant.uid)
        .is_none_or(|figures| figures.statements < 3)
    {
        assert!(futures_util::poll!(&mut leaving).is_pending());
        tokio::task::yield_now().await;
    }
    drop(leaving);
    harness.sql(&tenant, "insert into t values (2)").await;
    assert_eq!(harness.sql(&tenant, "select x from t").await, [[json!("2")]]);
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn deferred_foreign_keys_do_not_outlive_their_transaction_in_compiled_statements() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table p (id integer primary key)").await;
    harness
        .sql(&tenant, "create table c (p integer references p (id))")
        .await;
    let insert = execute("insert into c (p) values (-1)");
    let answer = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([
                execute("begin"),
                execute("pragma defer_foreign_keys = on"),
                insert,
                execute("rollback"),
                execute("begin"),
                insert,
                execute("select count(*) from c"),
                execute("commit"),
                execute("select count(*) from c")
            ]),
        )
        .await;
    assert_eq!(answer.body["results"][2]["type"], "ok", "{}", answer.body);
    assert!(answer.error(5).0.starts_with("SQLITE_CONSTRAINT"), "{}", answer.body);
    assert_eq!(answer.rows(6), [[json!("0")]]);
    assert_eq!(answer.rows(8), [[json!("0")]]);
}
