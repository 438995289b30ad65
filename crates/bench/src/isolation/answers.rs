//! What a hostile tenant was answered, summed up. Pure.

use std::collections::BTreeMap;

use crate::data_plane::answer::find;

/// Kinds that a summary shows.
const SHOWN: usize = 4;

/// How often each kind of answer came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answers(BTreeMap<String, u64>);

impl Answers {
    pub(super) fn count(&mut self, kind: String) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// The most frequent kinds first.
    pub(super) fn summary(&self) -> String {
        let mut kinds: Vec<(&String, &u64)> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut shown: Vec<String> = kinds
            .iter()
            .take(SHOWN)
            .map(|(kind, count)| format!("{count} × {kind}"))
            .collect();
        if kinds.len() > SHOWN {
            shown.push(format!("{} other kinds", kinds.len() - SHOWN));
        }
        match shown.is_empty() {
            true => "nothing".to_owned(),
            false => shown.join(", "),
        }
    }
}

/// The status, and the first code that stands in the body: of a problem, or of a statement's error.
pub(super) fn kind(status: u16, body: &[u8]) -> String {
    const CODE: &[u8] = b"\"code\":\"";
    let code = find(body, CODE).and_then(|at| {
        let rest = body.get(at + CODE.len()..)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(rest.get(..end)?).ok()
    });
    match code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_status_and_its_first_code() {
        for (body, expected) in [
            ("{\"results\":[]}", "200"),
            (
                "{\"error\":{\"message\":\"x\",\"code\":\"SQLITE_AUTH\"}}",
                "200 SQLITE_AUTH",
            ),
            ("\"code\":\"cut", "200"),
        ] {
            assert_eq!(kind(200, body.as_bytes()), expected);
        }
    }

    #[test]
    fn a_summary_begins_with_the_most_frequent() {
        let mut answers = Answers::default();
        assert_eq!(answers.summary(), "nothing");
        for (kind, count) in [("a", 1), ("b", 3), ("c", 2), ("d", 4), ("e", 5)] {
            (0..count).for_each(|_| answers.count(kind.to_owned()));
        }
        assert_eq!(answers.summary(), "5 × e, 4 × d, 3 × b, 2 × c, 1 other kinds");
    }
}
