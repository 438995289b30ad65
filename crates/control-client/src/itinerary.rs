//! Which member to try next. Pure: knows no clock and no socket.

use crate::Endpoint;

/// How many members that are not in the list a round may be sent to by hints, so that wrong hints cannot keep a call
/// hopping without a pause.
const UNLISTED_HOPS: usize = 2;

/// The order of attempts of one call. A round tries each member at most once.
#[derive(Debug)]
pub(crate) struct Itinerary<'a> {
    listed: &'a [Endpoint],
    current: Endpoint,
    tried: Vec<Endpoint>,
    failed_rounds: u32,
}

/// When to make the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another member of this round may do better.
    AtOnce,
    /// All were tried: wait first.
    AfterBackoff {
        /// Rounds that failed so far, this one included.
        failed_rounds: u32,
    },
}

impl<'a> Itinerary<'a> {
    pub(crate) fn new(listed: &'a [Endpoint], start: Endpoint) -> Self {
        Self {
            listed,
            current: start,
            tried: Vec::new(),
            failed_rounds: 0,
        }
    }

    /// The member to try now.
    pub(crate) const fn current(&self) -> &Endpoint {
        &self.current
    }

    /// The current member failed and perhaps named the leader.
    pub(crate) fn advance(&mut self, leader: Option<Endpoint>) -> Next {
        self.tried.push(self.current.clone());
        let hinted = leader.as_ref().filter(|leader| self.may_follow(leader)).cloned();
        if let Some(target) = hinted.or_else(|| self.next_untried()) {
            self.current = target;
            return Next::AtOnce;
        }
        self.tried.clear();
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        self.current = leader.unwrap_or_else(|| successor(self.listed, &self.current));
        Next::AfterBackoff {
            failed_rounds: self.failed_rounds,
        }
    }

    fn may_follow(&self, leader: &Endpoint) -> bool {
        let unlisted = self.tried.iter().filter(|tried| !self.listed.contains(tried)).count();
        !self.tried.contains(leader) && (self.listed.contains(leader) || unlisted < UNLISTED_HOPS)
    }

    fn next_untried(&self) -> Option<Endpoint> {
        let start = position(self.listed, &self.current).map_or(0, |at| at + 1);
        let (before, after) = self.listed.split_at(start);
        after
            .iter()
            .chain(before)
            .find(|endpoint| !self.tried.contains(endpoint))
            .cloned()
    }
}

/// The member after `current` in the list, around its end; the first one when `current` is not in it.
pub(crate) fn successor(listed: &[Endpoint], current: &Endpoint) -> Endpoint {
    let next = position(listed, current).map_or(0, |at| at + 1);
    listed.get(next).or_else(|| listed.first()).unwrap_or(current).clone()
}

fn position(listed: &[Endpoint], endpoint: &Endpoint) -> Option<usize> {
    listed.iter().position(|candidate| candidate == endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks from `start`; each step is a hint ("-" for none), the answer is `endpoint` or `wait endpoint`.
    fn walk(listed: &str, start: &str, hints: &[&str]) -> Vec<String> {
        let listed = Endpoint::parse_list(listed).unwrap();
        let mut itinerary = Itinerary::new(&listed, start.parse().unwrap());
        hints
            .iter()
            .map(|hint| match itinerary.advance(hint.parse().ok()) {
                Next::AtOnce => itinerary.current().to_string(),
                Next::AfterBackoff { .. } => format!("wait {}", itinerary.current()),
            })
            .collect()
    }

    #[test]
    fn each_member_is_tried_once_a_round_and_hints_go_first() {
        type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 6] = [
            (
                "a:1,b:1,c:1",
                "a:1",
                &["-", "-", "-", "-"],
                &["b:1", "c:1", "wait a:1", "b:1"],
            ),
            ("a:1,b:1,c:1", "b:1", &["-", "-", "-"], &["c:1", "a:1", "wait b:1"]),
            ("a:1,b:1,c:1", "a:1", &["c:1", "-", "-"], &["c:1", "b:1", "wait c:1"]),
            // Two members that name each other do not make the call spin.
            ("a:1,b:1", "a:1", &["b:1", "a:1", "b:1"], &["b:1", "wait a:1", "b:1"]),
            // A leader that is not in the list is followed, and left again when it fails.
            ("a:1,b:1", "a:1", &["x:1", "-", "-"], &["x:1", "b:1", "wait a:1"]),
            ("a:1", "a:1", &["-", "-"], &["wait a:1", "wait a:1"]),
        ];
        for (listed, start, hints, expected) in cases {
            assert_eq!(
                walk(listed, start, hints),
                expected,
                "{listed} from {start} with {hints:?}"
            );
        }
    }

    #[test]
    fn ever_new_hints_end_in_a_wait() {
        let path = walk("a:1,b:1", "a:1", &["x:1", "x:2", "x:3", "x:4"]);
        assert_eq!(path, ["x:1", "x:2", "b:1", "wait x:4"]);
    }
}
