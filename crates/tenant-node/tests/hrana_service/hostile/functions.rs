//! Single calls of SQL functions that compare everything with everything.

use serde_json::{Value, json};

use super::{assert_neighbour_is_served, assert_refused, hostile, script};
use crate::harness::{Harness, Tenant, execute};

/// A pattern that fits almost, at each place of a text of zeros.
fn almost(star: char) -> String {
    format!("'{star}{}1'", "0".repeat(900))
}

/// One for whom time is no limit.
fn patient() -> Tenant {
    let mut tenant = hostile();
    tenant.quota.query_time_ms = 600_000;
    tenant.quota.memory_bytes = 128 << 20;
    tenant
}

#[tokio::test]
async fn texts_of_megabytes_are_searched_replaced_and_trimmed_where_each_place_almost_fits() {
    let harness = Harness::new();
    let zeros = "hex(zeroblob(4000000))";
    let needle = "hex(zeroblob(1000000)) || 'x'";
    let many = "replace(hex(zeroblob(300000)), '0', 'ab€')";
    for (call, expected) in [
        (format!("instr({zeros}, {needle})"), "0"),
        (format!("instr(cast({zeros} as blob), cast({needle} as blob))"), "0"),
        (format!("instr({zeros} || {needle}, {needle})"), "8000001"),
        (format!("length(replace({zeros}, {needle}, ''))"), "8000000"),
        (format!("length(replace({zeros} || {needle}, {needle}, ''))"), "8000000"),
        (format!("length(trim({zeros}, {many} || '0'))"), "0"),
        (format!("length(ltrim({zeros}, {many} || '0'))"), "0"),
        (format!("length(rtrim({zeros}, {many} || '0'))"), "0"),
        (
            format!("length(unhex(replace({zeros}, '00', '0a '), {many} || ' '))"),
            "4000000",
        ),
    ] {
        let rows = harness.sql(&patient(), &format!("select {call}")).await;
        assert_eq!(rows, [[json!(expected)]], "{call}");
    }
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn one_call_that_compares_for_long_ends_at_the_query_time_wherever_it_stands() {
    let harness = Harness::new();
    let tenant = hostile();
    let zeros = "hex(zeroblob(2000000))";
    // A character of ten bytes is no UTF-8: such sets are looked through for each character of the text.
    let set = "cast(x'c3808080808080808080' as text) || replace(hex(zeroblob(100000)), '0', 'ab') || '0'";
    let calls = [
        format!("{zeros} like {}", almost('%')),
        format!("{zeros} not like {} escape '!'", almost('%')),
        format!("{zeros} like '%_%{}", &almost('%')[2..]),
        format!("{zeros} glob {}", almost('*')),
        format!("{zeros} glob '*[{}]1'", "0".repeat(900)),
        format!("trim({zeros}, {set})"),
        format!("ltrim({zeros}, {set})"),
        format!("rtrim({zeros}, {set})"),
    ];
    for call in &calls {
        let answer = harness.try_sql(&tenant, &format!("select length({call})")).await;
        assert_refused(&answer, "SQLITE_INTERRUPT", call);
        assert_neighbour_is_served(&harness).await;
    }
    let call = &calls[0];
    let places = [
        ("create view v as select CALL as x", "select x from v"),
        ("create table c (a check (CALL or a))", "insert into c values (1)"),
        (
            "create table d (a, b as (a or CALL) stored)",
            "insert into d values (0)",
        ),
        (
            "create trigger g after insert on t begin select CALL; end",
            "insert into t values (1)",
        ),
        (
            "create index i on t (x) where x = 0 or CALL",
            "insert into t values (2)",
        ),
    ];
    harness.sql(&tenant, "create table t (x)").await;
    harness.sql(&tenant, "insert into t values (0)").await;
    for (make, use_it) in places {
        let answer = script(&harness, &tenant, &[&make.replace("CALL", call), use_it]).await;
        let ended = [0, 1]
            .into_iter()
            .any(|index| answer.error(index).0 == "SQLITE_INTERRUPT");
        assert!(ended, "{make}: {}", answer.body);
        harness.sql(&tenant, "drop trigger if exists g").await;
    }
    assert_eq!(harness.sql(&tenant, "select count(*) from t").await, [[json!("1")]]);
    assert_neighbour_is_served(&harness).await;
}

#[tokio::test]
async fn the_pragma_of_like_changes_what_fits_and_not_that_it_ends() {
    let harness = Harness::new();
    let tenant = hostile();
    let fits = "select 'a' like 'A', 'a' like 'A' escape '!', 'a' like 'a'";
    let long = format!("select hex(zeroblob(2000000)) like {}", almost('%'));
    let mut requests = vec![
        execute(fits),
        json!({"type": "describe", "sql": "pragma case_sensitive_like = on"}),
    ];
    for value in ["on", "off"] {
        requests.push(execute(&format!("pragma case_sensitive_like = {value}")));
        requests.extend([execute(fits), execute(&long)]);
    }
    let answer = harness.pipeline(&tenant, Value::Null, json!(requests)).await;
    let fitting = |index: usize| answer.rows(index)[0].clone();
    assert_eq!(fitting(0), [json!("1"), json!("1"), json!("1")]);
    assert_eq!(fitting(3), [json!("0"), json!("0"), json!("1")], "{}", answer.body);
    assert_eq!(answer.error(4).0, "SQLITE_INTERRUPT", "{}", answer.body);
    assert_eq!(fitting(6), [json!("1"), json!("1"), json!("1")]);
    assert_eq!(answer.error(7).0, "SQLITE_INTERRUPT", "{}", answer.body);
    assert_eq!(
        harness.sql(&tenant, "select 'a' like 'A'").await,
        [[json!("1")]],
        "the next stream's connection is like a new one"
    );
    assert_neighbour_is_served(&harness).await;
}
