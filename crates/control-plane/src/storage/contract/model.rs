//! Any sequence of steps, run against a store and against a plain vector.
//!
//! Logs that were cut back at a conflict lost their last entry, kept stale ones, or had holes: each of these differs
//! from the vector.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Appends this many entries, beginning this far back from the end, of this size.
    Append {
        back: u64,
        count: u64,
        size: usize,
    },
    /// Compacts this far back from the end.
    Compact {
        back: u64,
    },
    /// Installs a snapshot this far from the end, on either side.
    Install {
        ahead: u64,
    },
    /// Commits this far back from the end.
    Commit {
        back: u64,
    },
    Reopen,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u64, 1..9_u64, prop_oneof![9 => 0..200_usize, 1 => 90_000..200_000_usize])
            .prop_map(|(back, count, size)| Step::Append { back, count, size }),
        1 => (0..20_u64).prop_map(|back| Step::Compact { back }),
        1 => (0..9_u64).prop_map(|ahead| Step::Install { ahead }),
        1 => (0..9_u64).prop_map(|back| Step::Commit { back }),
        2 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

/// Runs the steps against the store and against a plain vector.
pub(super) fn run_against_model(store: &mut impl LogStore, steps: &[Step]) {
    let mut model: Vec<LogEntry> = Vec::new();
    let mut compacted = LogPosition::default();
    let mut hard_state = HardState::default();
    for (step, term) in steps.iter().zip(1..) {
        let last = model.last().map_or(compacted, |entry| entry.position);
        match *step {
            Step::Append { back, count, size } => {
                let floor = compacted.index.max(hard_state.commit);
                let first = last.index.saturating_sub(back).max(floor) + 1;
                let new: Vec<LogEntry> = (first..first + count).map(|index| entry(index, term, size)).collect();
                model.retain(|entry| entry.position.index < first);
                model.extend(new.iter().cloned());
                store
                    .append(&AppendBatch {
                        entries: new,
                        ..AppendBatch::default()
                    })
                    .unwrap();
            }
            Step::Compact { back } => {
                let through = last.index.saturating_sub(back);
                if let Some(entry) = model.iter().find(|entry| entry.position.index == through) {
                    compacted = entry.position;
                    store.compact(last, compacted, hard_state).unwrap();
                    model.retain(|entry| entry.position.index > through);
                }
            }
            Step::Install { ahead } => {
                let index = (last.index + ahead).saturating_sub(4).max(hard_state.commit + 1);
                compacted = at(index, term);
                hard_state.commit = index;
                model.clear();
                store
                    .install_snapshot(compacted, &MembersAt::default(), hard_state)
                    .unwrap();
            }
            Step::Commit { back } => {
                hard_state = HardState {
                    term,
                    vote: 1,
                    commit: last.index.saturating_sub(back).max(hard_state.commit),
                };
                let batch = AppendBatch {
                    hard_state: Some(hard_state),
                    ..AppendBatch::default()
                };
                store.append(&batch).unwrap();
            }
            Step::Reopen => store.reopen().unwrap(),
        }
        let log = store.load().unwrap();
        assert_eq!(
            (&log.entries, log.compacted, log.hard_state),
            (&model, compacted, hard_state)
        );
    }
    assert_eq!(reopened(store).entries, model);
}
