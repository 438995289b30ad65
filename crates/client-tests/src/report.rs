//! What became of a client's checks.

use std::collections::BTreeMap;

/// Check by check: well, or why not.
#[derive(Debug, Default)]
pub struct Report(BTreeMap<String, Result<(), String>>);

impl Report {
    /// Reads the lines `ok NAME` and `failed NAME: why` of a client; others are its own.
    #[must_use]
    pub fn read(output: &str) -> Self {
        let mut report = Self::default();
        for line in output.lines() {
            if let Some(name) = line.strip_prefix("ok ") {
                report.note(name, Ok(()));
            } else if let Some((name, why)) = line.strip_prefix("failed ").and_then(|rest| rest.split_once(": ")) {
                report.note(name, Err(why.to_owned()));
            }
        }
        report
    }

    /// Adds a check. One that failed stays failed.
    pub fn note(&mut self, name: &str, outcome: Result<(), String>) {
        let kept = self.0.entry(name.trim().to_owned()).or_insert(Ok(()));
        if kept.is_ok() {
            *kept = outcome;
        }
    }

    /// # Panics
    /// When one of `expected` failed or did not run, or a check ran that is not expected.
    pub fn assert_all_ok(&self, expected: &[&str]) {
        let missing = expected.iter().filter(|name| !self.0.contains_key(**name));
        let mut wrong: Vec<String> = missing.map(|name| format!("{name}: it did not run")).collect();
        for (name, outcome) in &self.0 {
            match outcome {
                Err(why) => wrong.push(format!("{name}: {why}")),
                Ok(()) if !expected.contains(&name.as_str()) => wrong.push(format!("{name}: nobody expects it")),
                Ok(()) => {}
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {} checks are not well:\n{}",
            wrong.len(),
            expected.len(),
            wrong.join("\n")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_report_with_each_expected_check_well_passes() {
        let cases = [
            ("ok a\nok b\n2 of 2 checks are well\n", None),
            ("ok a\n", Some("b: it did not run")),
            ("ok a\nfailed b: it: broke\n", Some("b: it: broke")),
            ("failed b: first\nok b\nok a\n", Some("b: first")),
            ("ok a\nok b\nok c\n", Some("c: nobody expects it")),
            ("", Some("a: it did not run")),
        ];
        for (output, wrong) in cases {
            let outcome = std::panic::catch_unwind(|| Report::read(output).assert_all_ok(&["a", "b"]));
            let words = outcome.err().and_then(|panic| panic.downcast_ref::<String>().cloned());
            match wrong {
                None => assert_eq!(words, None, "{output}"),
                Some(wrong) => assert!(words.is_some_and(|words| words.contains(wrong)), "{output}"),
            }
        }
    }
}
