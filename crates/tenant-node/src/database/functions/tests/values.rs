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
