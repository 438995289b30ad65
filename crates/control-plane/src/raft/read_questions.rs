//! Which questions for a read index were taken in before, so that none is taken in twice.
//!
//! raft-rs takes an answer to a question as an answer to all that were asked before it. A question that arrives again
//! joins the end of that queue, and answers to its first arrival, still under way, would release questions in front of
//! it that nobody has confirmed: a deposed leader would serve stale reads.

use std::collections::BTreeMap;

use super::output::ReadId;

/// The questions of one term.
#[derive(Debug, Default)]
pub(super) struct ReadQuestions {
    term: u64,
    /// By who asked, and in which of its lives: the newest question. There is one life a restart, and few restarts a term.
    newest: BTreeMap<(u64, u64), u64>,
}

impl ReadQuestions {
    /// Whether `question` of `member` is newer than all that it asked before in `term`. An older one that was overtaken
    /// counts as asked: its member asks again.
    pub(super) fn is_new(&mut self, term: u64, member: u64, question: ReadId) -> bool {
        if term != self.term {
            self.term = term;
            self.newest.clear();
        }
        let newest = self.newest.entry((member, question.origin)).or_default();
        let is_new = question.sequence > *newest;
        *newest = question.sequence.max(*newest);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_new_once_a_term() {
        let mut questions = ReadQuestions::default();
        let question = |origin, sequence| ReadId { origin, sequence };
        assert!(questions.is_new(2, 1, question(7, 1)));
        assert!(questions.is_new(2, 1, question(7, 3)));
        assert!(!questions.is_new(2, 1, question(7, 3)));
        assert!(!questions.is_new(2, 1, question(7, 2)));
        assert!(questions.is_new(2, 2, question(7, 1)));
        assert!(questions.is_new(2, 1, question(8, 1)));
        assert!(!questions.is_new(2, 1, question(7, 3)));
        assert!(questions.is_new(3, 1, question(7, 3)));
    }
}
