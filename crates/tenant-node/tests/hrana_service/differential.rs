//! Random scripts give the rows of plain SQLite, of one client and of several that write at once.

use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use crate::harness::{Harness, Tenant, execute, tenant};

/// Here and in the statements, `#` stands for the number of the client whose tables they are.
const SCHEMA: [&str; 4] = [
    "create table t# (id integer primary key, a, b)",
    "create table u# (a primary key) without rowid",
    "create table log# (changes)",
    "create trigger updated# after update on t# begin insert into log# values (changes()); \
     update u# set a = a where a = new.a; insert into log# values (changes()); end",
];

/// So many write to one tenant at once.
const CLIENTS: usize = 6;

fn on_rows() -> impl Strategy<Value = String> {
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
    let fixed = |sql: &str| Just(sql.to_owned());
    prop_oneof![
        4 => (literal(), literal()).prop_map(|(a, b)| format!("insert into t# (a, b) values ({a}, {b}) returning id, a")),
        1 => literal().prop_map(|a| format!("insert or ignore into u# values ({a})")),
        1 => literal().prop_map(|a| format!("insert into u# select a from t# where a is not null union all values ({a})")),
        2 => literal().prop_map(|a| format!("update t# set b = {a} where id % 3 = 0")),
        1 => literal().prop_map(|a| format!("delete from t# where a > {a}")),
        1 => fixed("with c as (select id from t# where id % 2) update t# set a = b where id in (select id from c)"),
        1 => fixed("insert into log# values (changes()), (total_changes()), (last_insert_rowid())"),
        2 => fixed("select changes(), total_changes(), last_insert_rowid()"),
        1 => fixed("select * from log# order by rowid"),
        2 => fixed("select *, typeof(a), quote(b) from t# order by id"),
        1 => fixed("select count(*), sum(length(a)), max(b) from t# group by typeof(a) order by 1, 2"),
        1 => literal().prop_map(|a| format!("insert into missing values ({a})")),
    ]
}

fn alone() -> impl Strategy<Value = String> {
    prop_oneof![
        18 => on_rows(),
        1 => Just("begin".to_owned()),
        1 => Just("commit".to_owned()),
        1 => Just("rollback".to_owned()),
        1 => Just("savepoint s".to_owned()),
        1 => Just("release s".to_owned()),
    ]
}

/// A transaction that begins by reading can meet another client's write, which it would not alone.
fn among_others() -> impl Strategy<Value = String> {
    prop_oneof![
        18 => on_rows(),
        1 => Just("begin immediate".to_owned()),
        2 => Just("commit".to_owned()),
        1 => Just("rollback".to_owned()),
    ]
}

fn script_of(client: usize, statements: &[String]) -> Vec<String> {
    let statements = statements.iter().map(String::as_str);
    let numbered = |sql: &str| sql.replace('#', &client.to_string());
    SCHEMA.into_iter().chain(statements).map(numbered).collect()
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

/// The results are those of plain SQLite.
fn compare(script: &[String], results: &[Value]) -> Result<(), TestCaseError> {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    for (sql, result) in script.iter().zip(results) {
        match plain(&connection, sql) {
            Some(rows) => prop_assert_eq!(
                &result["response"]["result"]["rows"],
                &json!(rows),
                "{} {}",
                sql,
                result
            ),
            None => prop_assert_eq!(&result["type"], "error", "{}", sql),
        }
    }
    prop_assert_eq!(script.len(), results.len());
    Ok(())
}

/// Runs a script on one stream, so many statements to a request. All results.
async fn run(harness: &Harness, tenant: &Tenant, script: &[String], together: usize) -> Vec<Value> {
    let (mut baton, mut results) = (Value::Null, Vec::new());
    for statements in script.chunks(together) {
        let requests: Vec<Value> = statements.iter().map(|sql| execute(sql)).collect();
        let mut answer = harness.pipeline(tenant, baton, json!(requests)).await;
        baton = answer.body["baton"].take();
        results.extend(answer.body["results"].as_array().unwrap().iter().cloned());
    }
    results
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_script_gives_the_rows_of_plain_sqlite(statements in vec(alone(), 1..40), together in 1_usize..50) {
        let script = script_of(0, &statements);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let results = runtime.block_on(async { run(&Harness::new(), &tenant(1), &script, together).await });
        compare(&script, &results)?;
    }

    #[test]
    fn scripts_of_clients_that_write_at_once_give_each_the_rows_of_plain_sqlite(
        statements in vec(vec(among_others(), 10..30), CLIENTS)
    ) {
        let mut tenant = tenant(1);
        tenant.quota.query_time_ms = 60_000;
        let mut scripts: Vec<_> = (0..).zip(&statements).map(|(client, statements)| script_of(client, statements)).collect();
        for script in &mut scripts {
            // An open transaction is in the way of all others.
            script.push("rollback".to_owned());
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let results = runtime.block_on(async {
            let harness = Harness::new();
            let running = (1..).zip(&scripts).map(|(together, script)| run(&harness, &tenant, script, together));
            futures_util::future::join_all(running).await
        });
        for (script, results) in scripts.iter().zip(&results) {
            compare(script, results)?;
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
