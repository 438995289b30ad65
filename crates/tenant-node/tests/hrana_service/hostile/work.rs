//! Statements that want more memory or time than their tenant has.

use serde_json::json;

use super::{assert_neighbour_is_served, hostile, script};
use crate::harness::Harness;

const ROWS: &str = "with recursive c(x) as (select 1 union all select x + 1 from c limit 10000000)";

#[tokio::test]
async fn hogs_of_memory_and_time_end_at_their_tenants_limits() {
    let harness = Harness::new();
    let tenant = hostile();
    harness.sql(&tenant, "create virtual table f using fts5(body)").await;
    harness
        .sql(&tenant, "create virtual table r using rtree(id, a, b)")
        .await;
    let hogs = [
        format!("{ROWS} select x from c order by hex(randomblob(1000))"),
        format!("{ROWS} select group_concat(hex(zeroblob(1000))) from c"),
        format!("{ROWS} select json_group_array(zeroblob(0) || hex(zeroblob(1000))) from c"),
        format!("{ROWS} select json_group_object(x, hex(zeroblob(1000))) from c"),
        format!("{ROWS} select count(distinct hex(zeroblob(500)) || x) from c"),
        format!("{ROWS} select sum(x) over (order by x rows between unbounded preceding and unbounded following) from c"),
        format!("create temp table t as {ROWS} select hex(zeroblob(1000)) as y from c"),
        format!("{ROWS} insert into f select hex(randomblob(500)) from c"),
        format!("{ROWS} insert into r select x, x, x + 1 from c"),
        "select count(*) from json_each('[' || replace(hex(zeroblob(2000000)), '0', '1,') || '1]') a, json_each('[1,2,3,4,5]') b, \
         json_each('[1,2,3,4,5]') c"
            .to_owned(),
        "select count(*) from pragma_function_list a, pragma_function_list b, pragma_function_list c, pragma_function_list d".to_owned(),
        "select count(*) from sqlite_schema a, sqlite_schema b, pragma_table_info('f') c, pragma_function_list d, pragma_function_list e, \
         pragma_function_list g"
            .to_owned(),
        format!("{ROWS} select count(*) from c where x || hex(zeroblob(400)) like '%0%0%0%0%0%0%0%0%0%1'"),
        format!("{ROWS} select count(*) from c where x || hex(zeroblob(400)) glob '*0*0*0*0*0*0*0*0*1'"),
        format!("explain query plan {ROWS} select * from c a, c b, c d, c e, c f, c g, c h"),
    ];
    for sql in &hogs {
        let answer = harness.try_sql(&tenant, sql).await;
        let planned = sql.starts_with("explain");
        let decided =
            answer.status == 507 || ["SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_TOOBIG"].contains(&answer.error(0).0);
        assert!(decided || planned, "{sql}: {} {}", answer.status, answer.body);
        assert_neighbour_is_served(&harness).await;
    }
    assert_eq!(harness.sql(&tenant, "select 1").await, [[json!("1")]]);
}

#[tokio::test]
async fn searches_in_fts5_that_ask_for_everything_end() {
    let harness = Harness::new();
    let tenant = hostile();
    harness
        .sql(&tenant, "create virtual table f using fts5(body, prefix='1 2 3')")
        .await;
    harness
        .sql(
            &tenant,
            "with recursive c(x) as (select 1 union all select x + 1 from c limit 500) insert into f select 'a b c d ' || x from c",
        )
        .await;
    let long = vec!["a"; 5_000].join(" OR ");
    let deep = format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000));
    let near = format!("NEAR({}, 1000000)", vec!["a"; 1_000].join(" "));
    for query in [long.as_str(), &deep, &near, "a* b* c* d*", "\"", "body : - a"] {
        let sql = format!("select count(*) from f where f match '{query}'");
        let answer = harness.try_sql(&tenant, &sql).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    for sql in [
        "insert into f(f) values ('integrity-check')",
        "insert into f(f) values ('optimize')",
        "insert into f(f, rank) values ('merge', 1000000)",
        "insert into f(f, rank) values ('pgsz', 1)",
        "insert into f(f, rank) values ('usermerge', 1000000)",
        "insert into f_data values (1, zeroblob(1000))",
        "delete from f_config",
        "drop table f_data",
    ] {
        let answer = harness.try_sql(&tenant, sql).await;
        assert!([200, 500].contains(&answer.status.as_u16()), "{sql}: {}", answer.body);
        assert_neighbour_is_served(&harness).await;
    }
}

#[tokio::test]
async fn vacuum_of_a_database_beyond_the_memory_quota_is_refused_with_a_way_out() {
    let harness = Harness::new();
    let mut tenant = hostile();
    tenant.quota.query_time_ms = 10_000;
    harness.sql(&tenant, "create table t (x)").await;
    for _ in 0..12 {
        harness.sql(&tenant, "insert into t values (randomblob(1000000))").await;
    }
    tenant.quota.memory_bytes = 8 << 20;
    let answer = harness.try_sql(&tenant, "vacuum").await;
    let (code, message) = answer.error(0);
    assert_eq!(code, "SQLITE_AUTH", "{}", answer.body);
    assert!(message.contains("incremental_vacuum"), "{message}");
    for sql in [
        "analyze",
        "pragma optimize",
        "pragma integrity_check",
        "delete from t",
        "pragma incremental_vacuum",
    ] {
        harness.sql(&tenant, sql).await;
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn a_connection_that_ran_out_of_memory_leaves_nothing_to_the_next() {
    let harness = Harness::new();
    let tenant = hostile();
    let answer = script(
        &harness,
        &tenant,
        &[
            "create temp table secret as select 'mine' as x",
            &format!("create temp table t as {ROWS} select hex(zeroblob(1000)) as y from c"),
        ],
    )
    .await;
    assert!(
        ["SQLITE_NOMEM", "SQLITE_INTERRUPT"].contains(&answer.error(1).0),
        "{}",
        answer.body
    );
    let answer = harness.try_sql(&tenant, "select * from secret").await;
    assert!(answer.error(0).1.contains("no such table"), "{}", answer.body);
    assert_neighbour_is_served(&harness).await;
}
