//! Writes of one tenant that come at the same time share a transaction. Nobody may be able to tell.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Harness, Tenant, execute, tenant};

/// Long enough for any answer that waits for nobody.
const SOON: Duration = Duration::from_secs(30);

const COUNTS: &str = "select changes(), total_changes(), last_insert_rowid()";

/// All at once, each on a stream of its own.
async fn at_once(harness: &Harness, tenant: &Tenant, statements: &[String]) -> Vec<Answer> {
    let requests = statements.iter().map(|sql| harness.try_sql(tenant, sql));
    futures_util::future::join_all(requests).await
}

#[tokio::test]
async fn writes_that_come_at_once_are_answered_each_for_itself() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 60_000;
    harness
        .sql(&tenant, "create table t (id integer primary key, x unique)")
        .await;
    // Every fourth violates a constraint.
    let statements: Vec<String> = (1..=100)
        .map(|id| match id % 4 {
            0 => "insert into t (x) values ('taken'), (null), ('taken')".to_owned(),
            _ => format!("insert into t values ({}, 'x{id}') returning id", 10 * id),
        })
        .collect();
    let answers = at_once(&harness, &tenant, &statements).await;
    for (id, answer) in (1..).zip(&answers) {
        if id % 4 == 0 {
            assert!(answer.error(0).0.starts_with("SQLITE_CONSTRAINT"), "{}", answer.body);
        } else {
            assert_eq!(answer.rows(0), [[json!((10 * id).to_string())]], "{}", answer.body);
            let result = &answer.body["results"][0]["response"]["result"];
            assert_eq!(result["last_insert_rowid"], (10 * id).to_string());
            assert_eq!(result["affected_row_count"], 1);
        }
        assert_eq!(
            answer.body["results"][1]["response"]["type"], "close",
            "{}",
            answer.body
        );
    }
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("75")]]);
}

#[tokio::test]
async fn a_statement_that_rolls_everything_back_rolls_back_nobody_elses() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 60_000;
    harness.sql(&tenant, "create table t (x)").await;
    let trigger = "create trigger angry before insert on t when new.x < 0 begin select raise(rollback, 'no'); end";
    harness.sql(&tenant, trigger).await;
    let statements: Vec<String> = (0..60)
        .map(|number| format!("insert into t values ({})", if number % 10 == 9 { -1 } else { number }))
        .collect();
    let answers = at_once(&harness, &tenant, &statements).await;
    let failed = answers
        .iter()
        .filter(|answer| answer.body["results"][0]["type"] == "error")
        .count();
    assert_eq!(failed, 6);
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("54")]]);
}

#[tokio::test]
async fn the_storage_quota_refuses_those_that_do_not_fit_and_no_others() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 60_000;
    tenant.quota.database_bytes = 1 << 20;
    harness.sql(&tenant, "create table t (x)").await;
    let statements = vec!["insert into t values (randomblob(30000))".to_owned(); 60];
    let answers = at_once(&harness, &tenant, &statements).await;
    let stored = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 || answer.status == 507)
    );
    assert!((20..40).contains(&stored), "{stored}");
    let rows = harness.sql(&tenant, "select count(*) from t").await;
    assert_eq!(
        rows,
        [[json!(stored.to_string())]],
        "what was acknowledged is there, and nothing else"
    );
}

#[tokio::test]
async fn a_write_that_comes_after_a_read_waits_for_those_before_it_and_for_nobody_else() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 600_000;
    harness.sql(&tenant, "create table t (x)").await;
    let begun = harness
        .pipeline(&tenant, Value::Null, json!([execute("begin immediate")]))
        .await;
    let before = harness.databases.figures(tenant.uid).unwrap().statements;
    let requests = json!([execute("select 1"), execute("insert into t values (1)"), {"type": "close"}]);
    let mut waiting = Box::pin(harness.pipeline(&tenant, Value::Null, requests));
    while harness.databases.figures(tenant.uid).unwrap().statements == before {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    let closing = json!([execute("commit"), {"type": "close"}]);
    harness.pipeline(&tenant, begun.body["baton"].clone(), closing).await;
    // A tenth of the time for which it may wait for its turn.
    let answer = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    assert_eq!(answer.body["results"][1]["type"], "ok", "{}", answer.body);
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("1")]]);
}

#[tokio::test]
async fn pipelines_of_several_writes_and_reads_see_their_own_order() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 60_000;
    harness.sql(&tenant, "create table t (owner, x)").await;
    let pipelines = (0..30).map(|owner| {
        let own = format!("select group_concat(x) from (select x from t where owner = {owner} order by x)");
        let insert = |x| execute(&format!("insert into t values ({owner}, {x})"));
        let requests = json!([
            insert(1),
            execute(&own),
            insert(2),
            insert(3),
            execute(&own),
            execute(&format!("delete from t where owner = {owner} and x = 1")),
            {"type": "get_autocommit"},
            execute(&own),
            {"type": "close"}
        ]);
        let (harness, tenant) = (&harness, &tenant);
        async move { harness.pipeline(tenant, Value::Null, requests).await }
    });
    for answer in futures_util::future::join_all(pipelines).await {
        assert_eq!(answer.rows(1), [[json!("1")]], "{}", answer.body);
        assert_eq!(answer.rows(4), [[json!("1,2,3")]], "{}", answer.body);
        assert_eq!(answer.body["results"][6]["response"]["is_autocommit"], true);
        assert_eq!(answer.rows(7), [[json!("2,3")]], "{}", answer.body);
    }
}

#[tokio::test]
async fn what_only_reads_does_not_wait_for_an_open_transaction() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 600_000;
    harness.sql(&tenant, "create table t (x)").await;
    let writing = json!([execute("begin immediate"), execute("insert into t values (1)")]);
    let writing = harness.pipeline(&tenant, Value::Null, writing).await;
    assert_eq!(writing.body["results"][1]["type"], "ok", "{}", writing.body);
    for sql in [
        "select count(*) from t",
        "with c as (select count(*) from t) select * from c",
        "with replace (a) as (select replace('a', 'b', 'c')) select 'insert', a as \"delete\" from replace",
        "with recursive c (x) as (select 1 union all select x + 1 from c limit 3), d as (select 1) values (1)",
        "values (1)",
        "explain insert into t values (1)",
        "explain query plan with c as (select 1) delete from t",
        "pragma user_version",
        "pragma table_info(t)",
    ] {
        let answer = tokio::time::timeout(SOON, harness.try_sql(&tenant, sql)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{sql} waits for the writer"));
        assert_eq!(answer.body["results"][0]["type"], "ok", "{sql}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_long_query_does_not_keep_others_from_writing() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 600_000;
    harness.sql(&tenant, "create table t (x)").await;
    let endless = "with recursive c (x) as (select 1 union all select x + 1 from c) select count(*) from c";
    let writing = tokio::time::timeout(SOON, harness.try_sql(&tenant, "insert into t values (1)"));
    tokio::select! {
        biased;
        answer = harness.try_sql(&tenant, endless) => panic!("it has an end: {}", answer.body),
        answer = writing => {
            let answer = answer.expect("a write waits for a query");
            assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn each_stream_is_told_of_its_own_changes_now_and_in_its_next_request() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.query_time_ms = 60_000;
    harness
        .sql(&tenant, "create table t (id integer primary key, owner, x)")
        .await;
    let streams = (1..=20).map(|owner| {
        let values = vec![format!("({owner}, 0)"); owner].join(", ");
        let first = json!([
            execute(&format!("insert into t (owner, x) values {values} returning id")),
            execute(COUNTS),
            execute(&format!("update t set x = 1 where owner = {owner}")),
            execute(COUNTS),
        ]);
        let second = json!([
            execute(COUNTS),
            execute(&format!("delete from t where owner = {owner} and x = 2")),
            execute(COUNTS),
        ]);
        let (harness, tenant) = (&harness, &tenant);
        async move {
            let first = harness.pipeline(tenant, Value::Null, first).await;
            let second = harness.pipeline(tenant, first.body["baton"].clone(), second).await;
            (owner, first, second)
        }
    });
    for (owner, first, second) in futures_util::future::join_all(streams).await {
        let inserted = first.rows(0);
        let rowid = inserted.last().unwrap()[0].as_str().unwrap();
        let counts = |changes: usize, total: usize| [[changes.to_string(), total.to_string(), rowid.to_owned()]];
        assert_eq!(first.rows(1), counts(owner, owner));
        assert_eq!(first.rows(3), counts(owner, 2 * owner));
        assert_eq!(second.rows(0), counts(owner, 2 * owner));
        assert_eq!(second.rows(2), counts(0, 2 * owner));
    }
}

#[tokio::test]
async fn a_new_stream_has_changed_nothing_yet() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    harness.sql(&tenant, "insert into t values (1), (2)").await;
    assert_eq!(harness.sql(&tenant, COUNTS).await, [["0", "0", "0"]]);
}
