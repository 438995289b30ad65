//! Counts tests from the summary lines of `cargo nextest` and `cargo test`.

use std::fmt;

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Counts {
    /// Adds what `line` counts, if it is a summary of either runner.
    pub(super) fn read_line(&mut self, line: &str) {
        // Not indented: nextest repeats a failed test's output, with a summary of its own, indented.
        if line.starts_with("test result: ") {
            // `test result: ok. 3 passed; 0 failed; 1 ignored; …; finished in 0.02s`
            line.trim_end()
                .split_once(". ")
                .into_iter()
                .flat_map(|(_, rest)| rest.split(';'))
                .for_each(|part| self.add(part));
        } else if let Some((_, rest)) = line
            .trim()
            .strip_prefix("Summary ")
            .and_then(|rest| rest.split_once(" run: "))
        {
            // `Summary [ 0.1s] 3 tests run: 2 passed (1 slow, 1 flaky), 1 failed, 1 skipped`
            without_parentheses(rest).split(',').for_each(|part| self.add(part));
        }
    }

    /// `count` tests that the runner saw pass had skipped themselves.
    pub(super) fn move_to_skipped(&mut self, count: usize) {
        let moved = count.min(self.passed);
        self.passed -= moved;
        self.skipped += moved;
    }

    fn add(&mut self, part: &str) {
        let Some((number, what)) = part.trim().split_once(' ') else {
            return;
        };
        let Ok(number) = number.parse::<usize>() else { return };
        match what {
            "passed" => self.passed += number,
            "failed" | "timed out" | "exec failed" => self.failed += number,
            "skipped" | "ignored" => self.skipped += number,
            _ => {}
        }
    }
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_usize;
    let outside = |c: &char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    };
    let kept: String = text.chars().filter(outside).collect();
    // `2 passed (1 slow), 1 failed` leaves `2 passed , 1 failed`.
    kept.replace(" ,", ",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_counted() {
        for (lines, expected) in [
            ("     Summary [   0.004s] 3 tests run: 3 passed, 0 skipped", (3, 0, 0)),
            (
                "     Summary [   9s] 5 tests run: 2 passed (1 slow, 1 flaky), 1 failed, 1 timed out, 1 exec failed, 4 skipped",
                (2, 3, 4),
            ),
            (
                "     Summary [   9s] 1 test run: 1 passed (1 slow), 0 skipped",
                (1, 0, 0),
            ),
            (
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s",
                (3, 0, 1),
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                (4, 2, 0),
            ),
            (
                "        FAIL [   9s] (1/2) a\n    test result: FAILED. 0 passed; 1 failed; 0 ignored\n     Summary [   9s] 2 tests run: 1 passed, 1 failed, 0 skipped",
                (1, 1, 0),
            ),
            ("running 3 tests\ntest a ... ok\n12 passed the exam", (0, 0, 0)),
        ] {
            let mut counts = Counts::default();
            lines.lines().for_each(|line| counts.read_line(line));
            let (passed, failed, skipped) = expected;
            assert_eq!(
                counts,
                Counts {
                    passed,
                    failed,
                    skipped
                },
                "{lines}"
            );
        }
    }

    #[test]
    fn a_test_that_skipped_itself_did_not_pass() {
        let mut counts = Counts {
            passed: 3,
            failed: 0,
            skipped: 1,
        };
        counts.move_to_skipped(2);
        assert_eq!(counts.to_string(), "1 passed, 0 failed, 3 skipped");
    }
}
