//! Values of all types and lengths.

use super::*;

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
fn what_lies_across_a_pause_is_found_as_by_sqlite() {
    let plain = Connection::open_in_memory().unwrap();
    let ours = Connection::open_in_memory().unwrap();
    install(&ours, &(Arc::new(|| false) as ShouldStop)).unwrap();
    let sqls = [
        "instr(?1, ?2)",
        "replace(?1, ?2, 'new')",
        "?1 like '%' || substr(?2, 1, 90) || '%'",
    ];
    for needle in ["x".to_owned(), "x€y".to_owned(), "xy".repeat(35_000)] {
        for stretch in [1 << 16, 70_000, 1 << 17] {
            for before in [
                stretch - needle.len() % 9 - 1,
                stretch - 2,
                stretch - 1,
                stretch,
                stretch + 1,
            ] {
                for after in [0, 1, 70_000] {
                    let text = format!("{}{needle}{}", "a".repeat(before), "xa".repeat(after));
                    let values = [Value::Text(text), Value::Text(needle.clone())];
                    for sql in sqls {
                        assert!(
                            outcome(&ours, sql, &values) == outcome(&plain, sql, &values),
                            "{sql} {} {before} {after}",
                            needle.len()
                        );
                    }
                }
            }
        }
    }
}
