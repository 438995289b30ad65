//! LIKE and GLOB, and how they are planned.

use super::*;
use crate::database::raw_sqlite::compared_build::knows_this_sqlite;

/// Patterns and texts of few characters, so that they often fit.
fn pattern() -> impl Strategy<Value = Value> {
    let piece = prop_oneof![
        6 => Just(b"%".to_vec()),
        6 => Just(b"*".to_vec()),
        3 => Just(b"_".to_vec()),
        3 => Just(b"?".to_vec()),
        6 => Just(b"a".to_vec()),
        3 => Just(b"B".to_vec()),
        2 => Just(b"\\".to_vec()),
        2 => Just("é".as_bytes().to_vec()),
        3 => "\\[\\^?\\]?[ab^é-]{0,4}\\]?".prop_map(String::into_bytes),
        1 => Just(vec![0x80]),
        1 => Just(vec![0xc3]),
        1 => Just(vec![0xff, 0x80]),
        1 => Just(vec![0]),
    ];
    proptest::collection::vec(piece, 0..10).prop_map(|pieces| as_text(&pieces.concat()))
}

const PATTERNS: &[&str] = &[
    "?1 like ?2",
    "?1 not like ?2",
    "like(?2, ?1)",
    "?1 glob ?2",
    "?1 like ?2 escape '\\'",
    "?1 like ?2 escape '%'",
    "?1 like ?2 escape '_'",
    "?1 like ?2 escape 'é'",
    "?1 like ?2 escape 'a'",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn patterns_fit_as_in_sqlite(text in prop_oneof![value(12), pattern()], pattern in prop_oneof![8 => pattern(), 1 => value(6)]) {
        compare(PATTERNS, &[text, pattern])?;
    }

    #[test]
    fn patterns_over_two_letters_fit_as_in_sqlite(text in "[abAé]{0,12}", pattern in "[ab%_*?é]{0,8}") {
        compare(PATTERNS, &[Value::Text(text), Value::Text(pattern)])?;
    }

    #[test]
    fn any_escape_means_what_it_means_in_sqlite(text in pattern(), pattern in pattern(), escape in prop_oneof![value(2), pattern()]) {
        compare(&["?1 like ?2 escape ?3"], &[text, pattern, escape])?;
    }
}

#[test]
fn too_long_patterns_are_refused_as_by_sqlite() {
    for length in [100, 101] {
        let values = [Value::Text("a".repeat(length)), Value::Text("a".repeat(length))];
        compare(PATTERNS, &values).unwrap();
    }
}

/// How SQLite would carry it out.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("explain query plan {sql}")).unwrap();
    let rows = statement.query_map([], |row| row.get(3)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn prefixes_are_looked_up_in_an_index_as_by_sqlite() {
    assert!(
        knows_this_sqlite(),
        "SQLite is another one: compare the structures that raw_sqlite/compared_build.rs names with it, then its source id"
    );
    let (plain, ours) = (plain(), ours());
    let never: ShouldStop = Arc::new(|| false);
    let schema = "create table t (a text collate nocase, b text); create index i on t (a); create index j on t (b);
                  insert into t values ('abc', 'abc'), ('ABD', 'ABD'), ('xbc', 'a*c')";
    let conditions = [
        "a like 'ab%'",
        "a like 'ab%' escape '!'",
        "a like 'ab!%%' escape '!'",
        "a not like 'ab%'",
        "a like '%b'",
        "b like 'ab%'",
        "b glob 'ab*'",
        "b glob 'a[b]*'",
        "a glob 'ab*'",
        "b like 'ab%' escape 'b'",
    ];
    let mut searches = 0;
    for pragma in [
        "",
        "pragma case_sensitive_like = on",
        "pragma case_sensitive_like = off",
    ] {
        for connection in [&plain, &ours] {
            connection.execute_batch("drop table if exists t").unwrap();
            connection.execute_batch(schema).unwrap();
            connection.execute_batch(pragma).unwrap();
        }
        reinstall_like(&ours, &never).unwrap();
        for condition in conditions {
            let sql = format!("select a from t where {condition}");
            assert_eq!(plan(&ours, &sql), plan(&plain, &sql), "{pragma} {condition}");
            searches += usize::from(plan(&ours, &sql)[0].starts_with("SEARCH"));
            let names = |connection: &Connection| -> Vec<String> {
                let mut statement = connection.prepare(&format!("{sql} order by 1")).unwrap();
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.collect::<Result<_, _>>().unwrap()
            };
            assert_eq!(names(&ours), names(&plain), "{pragma} {condition}");
        }
    }
    assert!(searches >= 12, "{searches}");
}
