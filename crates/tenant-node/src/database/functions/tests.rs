//! These functions beside SQLite's own: equal values, types and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::limits::Limit;
use rusqlite::types::Value;

use super::*;

fn plain() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 2_000).unwrap();
    connection
}

fn ours() -> Connection {
    let connection = plain();
    let never: ShouldStop = Arc::new(|| false);
    install(&connection, &never).unwrap();
    connection
}

/// The value and its type, or the error's code and words.
fn outcome(connection: &Connection, sql: &str, values: &[Value]) -> Result<(Value, String), (i32, String)> {
    let names: Vec<&str> = ["CAST(?1 AS TEXT)", "CAST(?2 AS TEXT)", "CAST(?3 AS TEXT)"].to_vec();
    // A text that is not UTF-8 cannot be an argument: it comes as a blob in a marked pair.
    let mut sql = sql.to_owned();
    let mut bound = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let place = format!("?{}", index + 1);
        if !sql.contains(&place) {
            continue;
        }
        match value {
            Value::Blob(bytes) if bytes.first() == Some(&AS_TEXT) => {
                sql = sql.replace(&place, names[index]);
                bound.push(Value::Blob(bytes[1..].to_vec()));
            }
            other => bound.push(other.clone()),
        }
    }
    connection
        .query_row(
            &format!("select v, typeof(v) from (select {sql} as v)"),
            rusqlite::params_from_iter(bound),
            |row| {
                let value = match row.get_ref(0)? {
                    rusqlite::types::ValueRef::Text(text) => Value::Blob(text.to_vec()),
                    other => Value::try_from(other).unwrap(),
                };
                Ok((value, row.get(1)?))
            },
        )
        .map_err(|error| match error {
            rusqlite::Error::SqliteFailure(code, words) => (code.extended_code, words.unwrap_or_default()),
            other => panic!("{sql}: {other}"),
        })
}

/// Marks a blob whose rest is to be a text.
const AS_TEXT: u8 = 0xf5;

fn as_text(bytes: &[u8]) -> Value {
    Value::Blob([&[AS_TEXT], bytes].concat())
}

/// Few different bytes, so that they are found in each other, among them parts of characters.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => Just(b'a'),
        3 => Just(b'b'),
        2 => Just(b'0'),
        2 => Just(0x80_u8),
        1 => Just(0xbf_u8),
        2 => Just(0xc3_u8),
        1 => Just(0xe2_u8),
        1 => Just(0xff_u8),
        1 => Just(0_u8),
        1 => any::<u8>(),
    ];
    let piece = prop_oneof![
        8 => byte.prop_map(|byte| vec![byte]),
        1 => Just("é".as_bytes().to_vec()),
        1 => Just("€".as_bytes().to_vec()),
        1 => Just("😀".as_bytes().to_vec()),
        1 => Just(b"12.5".to_vec()),
        1 => Just(vec![0xc3, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]),
    ];
    proptest::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

fn value(most: usize) -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<i64>().prop_map(Value::Integer),
        1 => (-20_i64..2_000).prop_map(Value::Integer),
        1 => any::<f64>().prop_map(Value::Real),
        1 => (-1e3..1e3_f64).prop_map(|number| Value::Real((number * 8.0).round() / 8.0)),
        8 => bytes(most).prop_map(|bytes| as_text(&bytes)),
        3 => "[a-c0-9é€]{0,12}".prop_map(Value::Text),
        3 => bytes(most).prop_filter("no mark", |bytes| bytes.first() != Some(&AS_TEXT)).prop_map(Value::Blob),
    ]
}

fn compare(sqls: &[&str], values: &[Value]) -> Result<(), TestCaseError> {
    thread_local! {
        static PAIR: (Connection, Connection) = (plain(), ours());
    }
    PAIR.with(|(plain, ours)| {
        for sql in sqls {
            prop_assert_eq!(
                outcome(ours, sql, values),
                outcome(plain, sql, values),
                "{} {:?}",
                sql,
                values
            );
        }
        Ok(())
    })
}

const OF_TWO: &[&str] = &[
    "instr(?1, ?2)",
    "trim(?1, ?2)",
    "ltrim(?1, ?2)",
    "rtrim(?1, ?2)",
    "unhex(?1, ?2)",
    "trim(?1)",
    "unhex(?1)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn functions_of_two_equal_those_of_sqlite(x in value(40), y in value(8)) {
        compare(OF_TWO, &[x, y])?;
    }

    #[test]
    fn replace_equals_that_of_sqlite(x in value(60), y in value(3), z in value(60)) {
        compare(&["replace(?1, ?2, ?3)"], &[x, y, z])?;
    }

    #[test]
    fn what_is_in_the_other_is_found(x in bytes(30), from in 0_usize..40, length in 0_usize..12, z in value(12)) {
        let from = from.min(x.len());
        let y = &x[from..x.len().min(from + length)];
        for (x, y) in [(as_text(&x), as_text(y)), (as_text(&x), Value::Text(String::from_utf8_lossy(y).into_owned()))] {
            compare(OF_TWO, &[x.clone(), y.clone()])?;
            compare(&["replace(?1, ?2, ?3)"], &[x, y, z.clone()])?;
        }
    }

    #[test]
    fn digits_with_something_between_equal_those_of_sqlite(x in "([0-9a-fA-F]{2}|[0-9a-f é€:]){0,20}", y in "[ :é€x]{0,4}") {
        compare(&["unhex(?1, ?2)"], &[Value::Text(x), Value::Text(y)])?;
    }
}

#[test]
fn lengths_around_the_limit_equal_those_of_sqlite() {
    for length in 1_990..=2_000 {
        let text = || Value::Text("a".repeat(length));
        for (old, new) in [
            ("a", "aa"),
            ("a", ""),
            ("a", "b"),
            ("x", "yy"),
            ("", "y"),
            ("aa", "bbb"),
        ] {
            let values = [text(), Value::Text(old.to_owned()), Value::Text(new.to_owned())];
            compare(&["replace(?1, ?2, ?3)"], &values).unwrap();
        }
    }
    for count in 160..=170 {
        let set = Value::Text("é".repeat(count));
        compare(OF_TWO, &[Value::Text("éaé".to_owned()), set]).unwrap();
    }
}

#[test]
fn all_of_them_stop_inside_of_one_call() {
    let looks = Arc::new(AtomicUsize::new(0));
    let stops = Arc::new(AtomicBool::new(false));
    let should_stop: ShouldStop = {
        let (looks, stops) = (Arc::clone(&looks), Arc::clone(&stops));
        Arc::new(move || {
            looks.fetch_add(1, Relaxed);
            stops.load(Relaxed)
        })
    };
    let connection = Connection::open_in_memory().unwrap();
    install(&connection, &should_stop).unwrap();
    let zeros = "hex(zeroblob(1000000))";
    for sql in [
        format!("instr({zeros}, hex(zeroblob(50000)) || 'x')"),
        format!("replace({zeros}, '0', '12')"),
        format!("trim({zeros}, '0')"),
        format!("ltrim({zeros}, '0€')"),
        format!("rtrim({zeros}, cast(x'c3808080808080808080' as text) || '0')"),
        format!("unhex({zeros} || ' ', ' ')"),
        format!("unhex(' ', {zeros})"),
    ] {
        let mut statement = connection.prepare(&format!("select length({sql})")).unwrap();
        looks.store(0, Relaxed);
        stops.store(false, Relaxed);
        statement.query_row([], |_| Ok(())).unwrap();
        assert!(looks.load(Relaxed) >= 10, "{sql}: {looks:?}");
        looks.store(0, Relaxed);
        stops.store(true, Relaxed);
        let error = statement.query_row([], |_| Ok(())).unwrap_err();
        assert_eq!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::OperationInterrupted),
            "{sql}"
        );
        assert_eq!(looks.load(Relaxed), 1, "{sql}");
    }
}

#[test]
fn schemas_may_use_them_as_those_of_sqlite() {
    let connection = ours();
    connection
        .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .unwrap();
    connection
        .execute_batch(
            "create table t (a check (instr(a, 'x') = 0), b as (replace(a, 'a', 'b')), c as (trim(a, 'ab')) stored);
             create index i on t (instr(a, 'b'));
             create index j on t (b);
             create index k on t (a) where unhex(a, ' ') is not null;
             create view v as select ltrim(a, 'a'), rtrim(a, 'b') from t;
             create trigger g after insert on t begin update t set a = replace(a, 'q', 'r') where rowid = new.rowid; end;
             insert into t values ('aqb'), ('ab');",
        )
        .unwrap();
    let row = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(row("select group_concat(b || c, ' ' order by a) from t"), "bb brbr");
    assert_eq!(row("select a from t where instr(a, 'b') = 2"), "ab");
    assert!(row("select group_concat(detail) from (select 'x' as detail from v)").contains('x'));
    assert_eq!(row("pragma integrity_check"), "ok");
    assert!(connection.execute_batch("insert into t values ('x')").is_err());
}
