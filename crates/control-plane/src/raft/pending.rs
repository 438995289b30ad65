//! Callers who wait: for their proposal to be applied, for a read index and for its index to be applied.
//!
//! Plain bookkeeping, generic over what a waiter is; it never decides an outcome by itself.

use std::collections::BTreeMap;

use crate::mutants::{Mutant, mutated};

/// Reads on their way. All that arrive while one question is under way share the next.
#[derive(Debug)]
pub struct PendingReads<W> {
    next_sequence: u64,
    queued: Vec<W>,
    asked: Option<Asked<W>>,
    /// By the index that must be applied first.
    answered: BTreeMap<u64, Vec<W>>,
}

#[derive(Debug)]
struct Asked<W> {
    /// The question was first asked under this number; any answer from it on will do.
    first_sequence: u64,
    asked_at_tick: u64,
    waiters: Vec<W>,
}

impl<W> Default for PendingReads<W> {
    fn default() -> Self {
        Self {
            next_sequence: 1,
            queued: Vec::new(),
            asked: None,
            answered: BTreeMap::new(),
        }
    }
}

impl<W> PendingReads<W> {
    /// Adds a reader.
    pub fn push(&mut self, waiter: W) {
        self.queued.push(waiter);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued.len()
            + self.asked.as_ref().map_or(0, |asked| asked.waiters.len())
            + self.answered.values().map(Vec::len).sum::<usize>()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a question that is to be asked now: a new one, or one that got no answer for `patience` ticks,
    /// since Raft drops them silently.
    pub fn next_question(&mut self, tick: u64, patience: u64) -> Option<u64> {
        match &mut self.asked {
            Some(asked) if tick.saturating_sub(asked.asked_at_tick) < patience => return None,
            Some(_) if mutated(Mutant::ReadNotAskedAgain) => return None,
            Some(asked) => asked.asked_at_tick = tick,
            None if self.queued.is_empty() => return None,
            None => {
                self.asked = Some(Asked {
                    first_sequence: self.next_sequence,
                    asked_at_tick: tick,
                    waiters: std::mem::take(&mut self.queued),
                });
            }
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Some(sequence)
    }

    /// Has the question under way asked again at once, because its answer may have been lost.
    pub fn ask_again(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.asked_at_tick = 0;
        }
    }

    /// Question `sequence` was answered by `index`.
    pub fn answer(&mut self, sequence: u64, index: u64) {
        if let Some(asked) = self.asked.take_if(|asked| sequence >= asked.first_sequence) {
            self.answered.entry(index).or_default().extend(asked.waiters);
        }
    }

    /// Those who may read now that `applied` is applied.
    pub fn take_ready(&mut self, applied: u64) -> Vec<W> {
        if mutated(Mutant::WaiterForgotten) {
            return self.answered.remove(&applied).unwrap_or_default();
        }
        let ahead = if mutated(Mutant::ReadBeforeApplied) { 1_000 } else { 1 };
        let later = self.answered.split_off(&applied.saturating_add(ahead));
        std::mem::replace(&mut self.answered, later)
            .into_values()
            .flatten()
            .collect()
    }

    /// Forgets those who no longer wait.
    pub fn retain(&mut self, mut waits: impl FnMut(&W) -> bool) {
        self.queued.retain(&mut waits);
        if let Some(asked) = &mut self.asked {
            asked.waiters.retain(&mut waits);
        }
        self.asked.take_if(|asked| asked.waiters.is_empty());
        self.answered.retain(|_, waiters| {
            waiters.retain(&mut waits);
            !waiters.is_empty()
        });
    }

    /// Everyone, to be turned away.
    pub fn take_all(&mut self) -> Vec<W> {
        let mut all = std::mem::take(&mut self.queued);
        all.extend(self.asked.take().into_iter().flat_map(|asked| asked.waiters));
        all.extend(std::mem::take(&mut self.answered).into_values().flatten());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_arrive_meanwhile_share_the_next_question() {
        let mut reads = PendingReads::default();
        assert_eq!(reads.next_question(1, 5), None);
        reads.push('a');
        assert_eq!(reads.next_question(1, 5), Some(1));
        reads.push('b');
        reads.push('c');
        assert_eq!(reads.next_question(2, 5), None);
        reads.answer(1, 10);
        assert_eq!(reads.take_ready(9), []);
        assert_eq!(reads.take_ready(10), ['a']);
        assert_eq!(reads.next_question(2, 5), Some(2));
        reads.answer(2, 10);
        assert_eq!(reads.take_ready(10), ['b', 'c']);
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn a_dropped_question_is_asked_again_and_either_answer_will_do() {
        let mut reads = PendingReads::default();
        reads.push('a');
        assert_eq!(reads.next_question(10, 5), Some(1));
        assert_eq!(reads.next_question(14, 5), None);
        assert_eq!(reads.next_question(15, 5), Some(2));
        reads.answer(1, 3);
        assert_eq!(reads.take_ready(3), ['a']);
        reads.push('b');
        assert_eq!(reads.next_question(16, 5), Some(3));
        // The late answer to the earlier question knows nothing of writes since.
        reads.answer(2, 3);
        assert_eq!(reads.take_ready(9), []);
        reads.answer(3, 9);
        assert_eq!(reads.take_ready(9), ['b']);
    }

    #[test]
    fn a_question_nobody_waits_for_is_forgotten() {
        let mut reads = PendingReads::default();
        reads.push('a');
        reads.next_question(1, 5);
        reads.push('b');
        reads.retain(|waiter| *waiter == 'b');
        assert_eq!(reads.next_question(2, 5), Some(2));
        assert_eq!(reads.take_all(), ['b']);
    }
}
