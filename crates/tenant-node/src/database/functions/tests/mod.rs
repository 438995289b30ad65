//! These functions beside SQLite's own: equal values, types and errors.

mod conduct;
mod patterns;
mod values;

use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::limits::Limit;
use rusqlite::types::Value;

use super::*;

fn plain() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 2_000).unwrap();
    connection
        .set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100)
        .unwrap();
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
