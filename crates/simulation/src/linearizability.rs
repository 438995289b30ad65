//! Decides whether what clients were told could have happened one operation at a time, each at some moment between its
//! call and its answer. Pure; knows operations only through a [`Model`].
//!
//! Wing and Gong's search with Lowe's pruning: configurations (what has happened, and the state after it) that led
//! nowhere are remembered. Histories are checked key by key, which keeps them short.

use std::collections::HashSet;
use std::hash::Hash;

/// What a correct object does, one operation at a time.
pub trait Model {
    /// What the object holds.
    type State: Clone + Eq + Hash;
    /// What a client asks for.
    type Operation;
    /// What a client is told.
    type Answer;

    /// Before the first operation.
    fn initial() -> Self::State;

    /// The state after `operation` if it can be answered by `answer` in `state`; `None` if it cannot. Without an answer
    /// the client was told nothing, so that any outcome will do.
    fn step(state: &Self::State, operation: &Self::Operation, answer: Option<&Self::Answer>) -> Option<Self::State>;

    /// Whether an operation with this answer leaves every state as it is in which the answer is right: a read, a refusal.
    fn changes_nothing(operation: &Self::Operation, answer: &Self::Answer) -> bool;
}

/// One operation as its client saw it. Times are positions in one order over all clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<O, A> {
    /// What was asked.
    pub operation: O,
    /// When.
    pub called: u64,
    /// When the answer came, and what it was; `None` when the outcome is unknown: the operation may happen at any time
    /// after its call, or never.
    pub answered: Option<(u64, A)>,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violated {
        /// The longest order found that is right as far as it goes, as positions in the history.
        longest: Vec<usize>,
    },
    /// Too many orders to try them all.
    Undecided,
}

/// Looks for an order, trying at most `limit` configurations.
#[must_use]
pub fn check<M: Model>(history: &[Call<M::Operation, M::Answer>], limit: usize) -> Verdict {
    Search::<M> {
        history,
        seen: HashSet::new(),
        longest: Vec::new(),
    }
    .run(limit)
}

/// Which operations have happened, a bit for each.
type Happened = Vec<u64>;

struct Search<'a, M: Model> {
    history: &'a [Call<M::Operation, M::Answer>],
    seen: HashSet<(Happened, M::State)>,
    longest: Vec<usize>,
}

impl<M: Model> Search<'_, M> {
    fn run(mut self, limit: usize) -> Verdict {
        let mut happened: Happened = vec![0; self.history.len().div_ceil(64)];
        let mut order: Vec<usize> = Vec::new();
        let initial = M::initial();
        let Some(untried) = self.next(&happened, &initial) else {
            return Verdict::Linearizable;
        };
        // What can come next at each point of the search, and has not been tried.
        let mut branches = vec![untried];
        while let Some(untried) = branches.last_mut() {
            let Some((index, state)) = untried.pop() else {
                branches.pop();
                if let Some(undone) = order.pop() {
                    flip(&mut happened, undone);
                }
                continue;
            };
            flip(&mut happened, index);
            if !self.seen.insert((happened.clone(), state.clone())) {
                flip(&mut happened, index);
                continue;
            }
            if self.seen.len() > limit {
                return Verdict::Undecided;
            }
            order.push(index);
            if order.len() > self.longest.len() {
                self.longest.clone_from(&order);
            }
            match self.next(&happened, &state) {
                None => return Verdict::Linearizable,
                Some(untried) => branches.push(untried),
            }
        }
        Verdict::Violated { longest: self.longest }
    }

    /// What can happen next, the likeliest last; `None` once every operation that was answered has happened.
    fn next(&self, happened: &Happened, state: &M::State) -> Option<Vec<(usize, M::State)>> {
        let open = || {
            let open = self.history.iter().enumerate();
            open.filter(|(index, _)| !has(happened, *index))
        };
        // Nothing can happen that was called after something else was answered that has not happened yet.
        let first_answer = open().filter_map(|(_, call)| Some(call.answered.as_ref()?.0)).min()?;
        let mut possible = Vec::new();
        for (index, call) in open().filter(|(_, call)| call.called < first_answer) {
            let answer = call.answered.as_ref().map(|(_, answer)| answer);
            let Some(after) = M::step(state, &call.operation, answer) else {
                continue;
            };
            match answer {
                // To let it happen now spoils nothing that comes later.
                Some(answer) if M::changes_nothing(&call.operation, answer) => return Some(vec![(index, after)]),
                // Of no use here; perhaps later.
                None if after == *state => {}
                _ => possible.push((index, after)),
            }
        }
        // By time of answer: what was answered early most likely happened early. Unknown outcomes are tried last.
        possible.sort_by_key(|(index, _)| {
            let call = self.history.get(*index);
            let answered = call.and_then(|call| call.answered.as_ref()).map(|(at, _)| *at);
            std::cmp::Reverse(answered.unwrap_or(u64::MAX))
        });
        Some(possible)
    }
}

fn has(happened: &Happened, index: usize) -> bool {
    happened
        .get(index / 64)
        .is_some_and(|word| word & (1 << (index % 64)) != 0)
}

fn flip(happened: &mut Happened, index: usize) {
    if let Some(word) = happened.get_mut(index / 64) {
        *word ^= 1 << (index % 64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A register that can be written, read, and written under a condition.
    struct Register;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Operation {
        Write(u8),
        Read,
        Swap { from: u8, to: u8 },
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Answer {
        Done,
        Value(u8),
        Refused,
    }

    impl Model for Register {
        type State = u8;
        type Operation = Operation;
        type Answer = Answer;

        fn initial() -> u8 {
            0
        }

        fn step(state: &u8, operation: &Operation, answer: Option<&Answer>) -> Option<u8> {
            let (after, right) = match *operation {
                Operation::Write(value) => (value, Answer::Done),
                Operation::Read => (*state, Answer::Value(*state)),
                Operation::Swap { from, to } if from == *state => (to, Answer::Done),
                Operation::Swap { .. } => (*state, Answer::Refused),
            };
            answer.is_none_or(|answer| *answer == right).then_some(after)
        }

        fn changes_nothing(_: &Operation, answer: &Answer) -> bool {
            *answer != Answer::Done
        }
    }

    fn call(operation: Operation, called: u64, answered: u64, answer: Answer) -> Call<Operation, Answer> {
        Call {
            operation,
            called,
            answered: Some((answered, answer)),
        }
    }

    fn unknown(operation: Operation, called: u64) -> Call<Operation, Answer> {
        Call {
            operation,
            called,
            answered: None,
        }
    }

    fn is_linearizable(history: &[Call<Operation, Answer>]) -> bool {
        match check::<Register>(history, 100_000) {
            Verdict::Linearizable => true,
            Verdict::Violated { .. } => false,
            Verdict::Undecided => panic!("undecided: {history:?}"),
        }
    }

    #[test]
    fn histories_are_judged_as_a_person_would() {
        use Answer::{Done, Refused, Value};
        use Operation::{Read, Swap, Write};
        let cases = [
            ("nothing happened", vec![], true),
            (
                "a read sees the write before it",
                vec![call(Write(1), 1, 2, Done), call(Read, 3, 4, Value(1))],
                true,
            ),
            (
                "a read misses the write before it",
                vec![call(Write(1), 1, 2, Done), call(Read, 3, 4, Value(0))],
                false,
            ),
            (
                "a read during a write sees either",
                vec![
                    call(Write(1), 1, 6, Done),
                    call(Read, 2, 3, Value(0)),
                    call(Read, 4, 5, Value(1)),
                ],
                true,
            ),
            (
                "what was seen once is not unseen",
                vec![
                    call(Write(1), 1, 6, Done),
                    call(Read, 2, 3, Value(1)),
                    call(Read, 4, 5, Value(0)),
                ],
                false,
            ),
            (
                "a write of unknown outcome may have happened",
                vec![unknown(Write(1), 1), call(Read, 2, 3, Value(1))],
                true,
            ),
            (
                "a write of unknown outcome may never happen",
                vec![unknown(Write(1), 1), call(Read, 2, 3, Value(0))],
                true,
            ),
            (
                "a write of unknown outcome may happen late",
                vec![
                    unknown(Write(1), 1),
                    call(Read, 2, 3, Value(0)),
                    call(Write(2), 4, 5, Done),
                    call(Read, 6, 7, Value(1)),
                ],
                true,
            ),
            (
                "a write of unknown outcome happens once at most",
                vec![
                    unknown(Write(1), 1),
                    call(Read, 2, 3, Value(1)),
                    call(Write(2), 4, 5, Done),
                    call(Read, 6, 7, Value(1)),
                ],
                false,
            ),
            (
                "a write does not happen before it is asked for",
                vec![call(Read, 1, 2, Value(1)), unknown(Write(1), 3)],
                false,
            ),
            (
                "two of two swaps from one value cannot both succeed",
                vec![
                    call(Swap { from: 0, to: 1 }, 1, 4, Done),
                    call(Swap { from: 0, to: 2 }, 2, 3, Done),
                ],
                false,
            ),
            (
                "one of two swaps is refused",
                vec![
                    call(Swap { from: 0, to: 1 }, 1, 4, Refused),
                    call(Swap { from: 0, to: 2 }, 2, 3, Done),
                ],
                true,
            ),
            (
                "a swap is refused for no reason",
                vec![call(Swap { from: 0, to: 1 }, 1, 4, Refused)],
                false,
            ),
            (
                "a write of what is there already may be needed later",
                vec![
                    call(Write(0), 1, 9, Done),
                    call(Write(1), 1, 2, Done),
                    call(Read, 3, 4, Value(0)),
                ],
                true,
            ),
            (
                "a swap of unknown outcome is the reason",
                vec![
                    unknown(Swap { from: 0, to: 2 }, 0),
                    call(Swap { from: 0, to: 1 }, 1, 4, Refused),
                ],
                true,
            ),
        ];
        for (claim, history, expected) in cases {
            assert_eq!(is_linearizable(&history), expected, "{claim}");
        }
    }

    #[test]
    fn a_violation_names_what_still_fits() {
        let history = [
            call(Operation::Write(1), 1, 2, Answer::Done),
            call(Operation::Read, 3, 4, Answer::Value(1)),
            call(Operation::Read, 5, 6, Answer::Value(7)),
        ];
        let verdict = check::<Register>(&history, 1_000);
        assert_eq!(verdict, Verdict::Violated { longest: vec![0, 1] });
    }

    #[test]
    fn a_search_that_takes_too_long_says_so() {
        // Forty writes at once and a read that fits none of them.
        let mut history: Vec<_> = (0..40)
            .map(|value| call(Operation::Write(value), u64::from(value), 100, Answer::Done))
            .collect();
        history.push(call(Operation::Read, 101, 102, Answer::Value(99)));
        assert_eq!(check::<Register>(&history, 1_000), Verdict::Undecided);
    }

    /// Tries every order, without any pruning.
    fn by_brute_force(history: &[Call<Operation, Answer>], state: u8, happened: u32) -> bool {
        let open = |index: &usize| happened & (1 << index) == 0;
        let all: Vec<usize> = (0..history.len()).filter(open).collect();
        let answers = all
            .iter()
            .filter_map(|&index| Some(history[index].answered.as_ref()?.0));
        let Some(first_answer) = answers.min() else {
            return true;
        };
        all.into_iter().any(|index| {
            let call = &history[index];
            let answer = call.answered.as_ref().map(|(_, answer)| answer);
            call.called < first_answer
                && Register::step(&state, &call.operation, answer)
                    .is_some_and(|after| by_brute_force(history, after, happened | 1 << index))
        })
    }

    fn histories() -> impl Strategy<Value = Vec<Call<Operation, Answer>>> {
        let operation = prop_oneof![
            (0..3_u8).prop_map(Operation::Write),
            Just(Operation::Read),
            (0..3_u8, 0..3_u8).prop_map(|(from, to)| Operation::Swap { from, to }),
        ];
        let call =
            (operation, 0..20_u64, 1..10_u64, 0..3_u8, 0..5_u8).prop_map(|(operation, called, took, value, luck)| {
                let answer = match operation {
                    Operation::Write(_) => Answer::Done,
                    Operation::Read => Answer::Value(value),
                    Operation::Swap { .. } if value == 0 => Answer::Refused,
                    Operation::Swap { .. } => Answer::Done,
                };
                let answered = (luck > 0).then_some((2 * (called + took) + 1, answer));
                Call {
                    operation,
                    called: 2 * called,
                    answered,
                }
            });
        proptest::collection::vec(call, 0..7)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn pruning_never_changes_the_verdict(history in histories()) {
            prop_assert_eq!(is_linearizable(&history), by_brute_force(&history, 0, 0));
        }
    }
}
