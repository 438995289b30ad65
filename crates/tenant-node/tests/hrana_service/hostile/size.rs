//! Texts, arguments and results of a size that nobody needs.

use http::Method;
use serde_json::{Value, json};

use super::{assert_neighbour_is_served, assert_refused, hostile, script};
use crate::harness::{Answer, Harness, execute};

async fn with_arguments(harness: &Harness, sql: &str, count: usize) -> Answer {
    let arguments = vec![json!({"type": "integer", "value": "1"}); count];
    let request = json!({"type": "execute", "stmt": {"sql": sql, "args": arguments}});
    harness
        .pipeline(&hostile(), Value::Null, json!([request, {"type": "close"}]))
        .await
}

#[tokio::test]
async fn as_many_parameters_as_sqlite_takes_work_and_one_more_is_refused() {
    let harness = Harness::new();
    let sql = |count: usize| format!("select 2 in (?{})", ",?".repeat(count - 1));
    let most = with_arguments(&harness, &sql(32_766), 32_766).await;
    assert_eq!(most.rows(0), [[json!("0")]]);
    let more = with_arguments(&harness, &sql(32_767), 32_767).await;
    assert_refused(&more, "too many SQL variables", "32,767 parameters");
    assert_refused(
        &harness.try_sql(&hostile(), "select ?32767").await,
        "variable number must be between",
        "?32767",
    );
    let surplus = with_arguments(&harness, "select 1", 32_767).await;
    assert_refused(&surplus, "ARGS_INVALID", "arguments without parameters");
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn sql_texts_of_more_than_4_mib_are_refused() {
    let harness = Harness::new();
    let padded = |length: usize| {
        let sql = "select 1 -- ";
        format!("{sql}{}", "x".repeat(length - sql.len()))
    };
    let answer = harness.try_sql(&hostile(), &padded((4 << 20) - 1)).await;
    assert_eq!(answer.rows(0), [[json!("1")]]);
    for length in [(4 << 20) + 1, 15 << 20] {
        let answer = harness.try_sql(&hostile(), &padded(length)).await;
        assert_refused(&answer, "SQLITE_TOOBIG", "a long text");
    }
    // The limit is a statement's: a script may be longer, and blanks do not count.
    let insert = format!("select '{}';", "x".repeat(1 << 20));
    let script = json!({"requests": [{"type": "sequence", "sql": insert.repeat(6)}]}).to_string();
    let answer = harness.send(&hostile(), Method::POST, "/v3/pipeline", script).await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
    let blanks = " ".repeat(5 << 20);
    let answer = harness.try_sql(&hostile(), &format!("{blanks}select 1{blanks}")).await;
    assert_eq!(answer.rows(0), [[json!("1")]]);
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn expressions_and_subqueries_that_are_nested_without_end_are_refused() {
    let harness = Harness::new();
    let selects = |depth| format!("select {}1{}", "(select ".repeat(depth), ")".repeat(depth));
    let texts = [
        format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("select {}1", "- ".repeat(100_000)),
        format!("select {}1", "not ".repeat(100_000)),
        format!("select 1{}", " in (1)".repeat(100_000)),
        format!("select {}1{}", "abs(".repeat(10_000), ")".repeat(10_000)),
        format!(
            "select {}1{}",
            "case when 1 then ".repeat(10_000),
            " end".repeat(10_000)
        ),
        format!(
            "select * from {}(select 1){}",
            "(select * from ".repeat(10_000),
            ")".repeat(10_000)
        ),
        selects(10_000),
        format!("with {} select 1", vec!["a as (select 1)"; 10_000].join(", ")),
        format!("select '{}' -> '$'", "[".repeat(100_000)),
    ];
    for sql in texts {
        let answer = harness.try_sql(&hostile(), &sql).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.error(0).0.is_empty(), "{}: {}", &sql[..60], answer.body);
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn a_thousand_columns_work_and_one_more_is_refused() {
    let harness = Harness::new();
    let tenant = hostile();
    let names = |count: usize| {
        (0..count)
            .map(|number| format!("c{number}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    harness
        .sql(&tenant, &format!("create table wide ({})", names(1_000)))
        .await;
    harness
        .sql(&tenant, &format!("insert into wide values ({}1)", "1,".repeat(999)))
        .await;
    assert_eq!(harness.sql(&tenant, "select * from wide").await[0].len(), 1_000);
    for sql in [
        format!("create table wider ({})", names(1_001)),
        "select *, 1 from wide".to_owned(),
        "select * from wide a, wide b".to_owned(),
        "alter table wide add column more".to_owned(),
        format!("create index i on wide ({})", names(1_000) + ",c1"),
    ] {
        assert_refused(&harness.try_sql(&tenant, &sql).await, "too many", &sql);
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn ten_thousand_savepoints_are_undone_with_their_stream() {
    let harness = Harness::new();
    let tenant = hostile();
    harness.sql(&tenant, "create table t (x)").await;
    let mut requests = vec![execute("begin")];
    for number in 0..10_000 {
        requests.push(execute(&format!("savepoint s{}", number % 7)));
    }
    requests.push(execute("insert into t values (1)"));
    requests.push(json!({"type": "close"}));
    let answer = harness.pipeline(&tenant, Value::Null, json!(requests)).await;
    assert_eq!(answer.status, 200);
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 10_003);
    assert_eq!(results[10_002]["response"]["type"], "close");
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("0")]]);
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn names_with_quotes_nul_and_other_marks_are_names_and_nothing_else() {
    let harness = Harness::new();
    let tenant = hostile();
    for sql in [
        "create table \"a\"\"; drop table t; --\" (\"x]['\"\"\" text)",
        "create table '../../other/db.sqlite' (x)",
        "create table [\u{202e}\u{0}] (x)",
        "create table \"\" (x)",
    ] {
        let answer = script(&harness, &tenant, &[sql]).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.body);
    }
    // What follows a NUL is no part of the text.
    let after_nul = script(
        &harness,
        &tenant,
        &["select 1 \u{0} from missing; attach 'x' as y", "select * from y.t"],
    )
    .await;
    assert!(after_nul.error(1).1.contains("no such table"), "{}", after_nul.body);
    let tables = harness
        .sql(&tenant, "select name from sqlite_schema where type = 'table'")
        .await;
    assert!(tables.contains(&vec![json!("a\"; drop table t; --")]), "{tables:?}");
    assert_neighbour_is_served(&harness).await;
}
