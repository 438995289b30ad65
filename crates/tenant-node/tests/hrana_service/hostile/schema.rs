//! What is kept in the schema and runs when somebody else reads or writes: views, triggers, generated columns, indexes on expressions.

use serde_json::json;

use super::{assert_neighbour_is_served, assert_refused, hostile, script};
use crate::harness::Harness;

#[tokio::test]
async fn views_triggers_columns_and_indexes_cannot_call_what_a_statement_cannot() {
    let harness = Harness::new();
    let tenant = hostile();
    harness.sql(&tenant, "create table t (x)").await;
    for (make, use_it) in [
        ("create view v1 as select load_extension('x')", "select * from v1"),
        ("create view v2 as select readfile('/etc/passwd')", "select * from v2"),
        (
            "create view v3 as select fts3_tokenizer('simple', x'00')",
            "select * from v3",
        ),
        (
            "create view v4 as select * from pragma_database_list",
            "select * from v4",
        ),
        (
            "create view v5 as select * from pragma_journal_mode('off')",
            "select * from v5",
        ),
        (
            "create trigger g1 after insert on t begin select load_extension('x'); end",
            "insert into t values (1)",
        ),
        (
            "create trigger g2 before insert on t begin insert into sqlite_schema values (1, 2, 3, 4, 5); end",
            "insert into t values (1)",
        ),
        (
            "create table g3 (a, b as (load_extension(a)))",
            "insert into g3 values ('x')",
        ),
        (
            "create table g4 (a check (load_extension(a)))",
            "insert into g4 values ('x')",
        ),
        (
            "create table g5 (a default (load_extension('x')))",
            "insert into g5 default values",
        ),
        ("create index i1 on t (load_extension(x))", "insert into t values (2)"),
        (
            "create trigger g6 after insert on t begin attach 'x' as y; end",
            "select * from y.t",
        ),
        (
            "create trigger g7 after insert on t begin pragma journal_mode = off; end",
            "select * from y.t",
        ),
    ] {
        let answer = script(&harness, &tenant, &[make, use_it]).await;
        let refused = (0..2).any(|index| !answer.error(index).0.is_empty());
        assert!(refused, "{make}: {}", answer.body);
        assert!(!answer.body.to_string().contains("root:"), "{make}");
        for name in ["g1", "g2"] {
            harness.sql(&tenant, &format!("drop trigger if exists {name}")).await;
        }
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn triggers_that_call_each_other_without_end_are_stopped() {
    let harness = Harness::new();
    let tenant = hostile();
    let answer = script(
        &harness,
        &tenant,
        &[
            "pragma recursive_triggers = on",
            "create table a (x)",
            "create table b (x)",
            "create trigger ab after insert on a begin insert into b values (new.x); end",
            "create trigger ba after insert on b begin insert into a values (new.x); end",
            "insert into a values (1)",
            "select count(*) from a",
        ],
    )
    .await;
    assert!(answer.error(5).1.contains("nested too deep"), "{}", answer.body);
    assert_eq!(answer.rows(6), [[json!("0")]]);
    // Each insert makes two more: stopped by time before it is by depth.
    let doubling = script(
        &harness,
        &tenant,
        &[
            "pragma recursive_triggers = on",
            "create table d (x)",
            "create trigger dd after insert on d when new.x < 30 begin insert into d values (new.x + 1), (new.x + 1); end",
            "insert into d values (0)",
        ],
    )
    .await;
    let ended =
        doubling.status == 507 || ["SQLITE_INTERRUPT", "SQLITE_NOMEM", "SQLITE_FULL"].contains(&doubling.error(3).0);
    assert!(ended, "{}", doubling.body);
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn foreign_keys_that_cascade_through_all_rows_end_at_the_time_limit() {
    let harness = Harness::new();
    let tenant = hostile();
    let answer = script(
        &harness,
        &tenant,
        &[
            "create table p (id integer primary key, up references p (id) on delete cascade)",
            "with recursive c(x) as (select 1 union all select x + 1 from c limit 3000) insert into p select x, x - 1 from c where x > 1 \
             union all select 0, null",
            "delete from p where id = 0",
        ],
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn the_schema_table_and_shadow_tables_stay_out_of_reach() {
    let harness = Harness::new();
    let tenant = hostile();
    harness.sql(&tenant, "create table t (x)").await;
    harness
        .sql(&tenant, "create virtual table r using rtree(id, a, b)")
        .await;
    for (sql, expected) in [
        ("update sqlite_schema set sql = 'x'", "may not be modified"),
        ("update sqlite_master set rootpage = 1", "may not be modified"),
        ("delete from sqlite_temp_schema", "may not be modified"),
        ("drop table sqlite_schema", "may not be dropped"),
        ("alter table sqlite_schema rename to x", "may not be altered"),
        ("create table sqlite_x (y)", "reserved"),
        (
            "create trigger g after insert on sqlite_schema begin select 1; end",
            "system table",
        ),
        ("create index i on sqlite_schema (name)", "may not be indexed"),
        ("pragma writable_schema = reset", "SQLITE_AUTH"),
        ("pragma schema_version = 7", "SQLITE_AUTH"),
        ("pragma main.writable_schema(1)", "SQLITE_AUTH"),
        ("insert into r_node values (1, zeroblob(10))", "may not be modified"),
        ("select * from sqlite_dbpage", "no such table"),
        ("select * from bytecode('select 1')", "no such table"),
        ("select * from sqlite_stmt", "no such table"),
    ] {
        assert_refused(&harness.try_sql(&tenant, sql).await, expected, sql);
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn tables_without_rowid_and_generated_columns_are_ordinary_tables() {
    let harness = Harness::new();
    let tenant = hostile();
    for sql in [
        "create table w (a text primary key, b as (a || '!') stored, c as (length(a))) without rowid",
        "insert into w values ('x')",
        "create table s (a integer primary key, b text) strict",
        "create unique index u on w (b) where c > 0",
    ] {
        harness.sql(&tenant, sql).await;
    }
    assert_eq!(
        harness.sql(&tenant, "select * from w").await,
        [[json!("x"), json!("x!"), json!("1")]]
    );
}
