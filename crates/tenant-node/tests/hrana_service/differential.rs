use proptest::prelude::*;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use crate::harness::{Harness, execute, tenant};

fn statement() -> impl Strategy<Value = String> {
    let literal = || {
        prop_oneof![
            any::<i64>()
                .prop_filter("not writable as a literal", |number| *number != i64::MIN)
                .prop_map(|n| n.to_string()),
            (-1e6..1e6f64).prop_map(|number| format!("{number:?}")),
            "[a-z']{0,5}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
            "([0-9a-f]{2}){0,4}".prop_map(|hex| format!("x'{hex}'")),
            Just("null".to_owned()),
        ]
    };
    prop_oneof![
        4 => (literal(), literal()).prop_map(|(a, b)| format!("insert into t (a, b) values ({a}, {b}) returning id, a")),
        1 => literal().prop_map(|a| format!("insert or ignore into u values ({a})")),
        2 => literal().prop_map(|a| format!("update t set b = {a} where id % 3 = 0")),
        1 => literal().prop_map(|a| format!("delete from t where a > {a}")),
        2 => Just("select *, typeof(a), quote(b) from t order by id".to_owned()),
        1 => Just("select count(*), sum(length(a)), max(b) from t group by typeof(a) order by 1, 2".to_owned()),
        1 => Just("begin".to_owned()),
        1 => Just("commit".to_owned()),
        1 => Just("rollback".to_owned()),
        1 => Just("savepoint s".to_owned()),
        1 => Just("release s".to_owned()),
        1 => literal().prop_map(|a| format!("insert into missing values ({a})")),
    ]
}

fn plain(connection: &rusqlite::Connection, sql: &str) -> Option<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(sql).ok()?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next().ok()? {
        let cell = |index| match row.get_ref(index).unwrap() {
            ValueRef::Null => json!({"type": "null"}),
            ValueRef::Integer(number) => json!({"type": "integer", "value": number.to_string()}),
            ValueRef::Real(number) => json!({"type": "float", "value": number}),
            ValueRef::Text(text) => json!({"type": "text", "value": String::from_utf8_lossy(text)}),
            ValueRef::Blob(bytes) => {
                use base64::Engine as _;
                json!({"type": "blob", "base64": base64::engine::general_purpose::STANDARD.encode(bytes)})
            }
        };
        all.push((0..columns).map(cell).collect());
    }
    Some(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_script_gives_the_rows_of_plain_sqlite(script in proptest::collection::vec(statement(), 1..40)) {
        let schema = ["create table t (id integer primary key, a, b)", "create table u (a primary key) without rowid"];
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let script: Vec<&str> = schema.into_iter().chain(script.iter().map(String::as_str)).collect();
        let expected: Vec<_> = script.iter().map(|sql| plain(&connection, sql)).collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = runtime.block_on(async {
            let harness = Harness::new();
            let requests: Vec<Value> = script.iter().map(|sql| execute(sql)).collect();
            harness.pipeline(&tenant(1), Value::Null, json!(requests)).await
        });
        for (index, expected) in expected.iter().enumerate() {
            let result = &answer.body["results"][index];
            match expected {
                Some(rows) => prop_assert_eq!(&result["response"]["result"]["rows"], &json!(rows), "{} {}", script[index], result),
                None => prop_assert_eq!(&result["type"], "error", "{}", script[index]),
            }
        }
    }
}

#[tokio::test]
async fn the_chinook_dump_loads_as_one_sequence() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let Ok(dump) = std::fs::read_to_string(workspace.join("../shared/data/chinook.sql")) else {
        println!("skipped: chinook.sql is not here");
        return;
    };
    let harness = Harness::new();
    let tenant = tenant(1);
    let script = format!("begin; {}; commit", dump.trim_start_matches('\u{feff}'));
    let answer = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([{"type": "sequence", "sql": script}, {"type": "close"}]),
        )
        .await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body["results"][0]);
    assert_eq!(
        harness.sql(&tenant, "select count(*) from Track").await,
        [[json!("3503")]]
    );
    assert_eq!(harness.sql(&tenant, "pragma integrity_check").await, [[json!("ok")]]);
}
