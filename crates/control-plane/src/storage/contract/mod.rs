//! What every log store must do, asked of each: act, close, reopen, ask again.

mod model;

use bytes::Bytes;
use proptest::prelude::*;
use tenantry_types::MemberId;

use super::*;
use model::{run_against_model, steps};

fn identity(member: u64) -> Identity {
    Identity {
        member: MemberId::new(member).unwrap(),
        fingerprint: 0xfeed,
    }
}

fn entry(index: u64, term: u64, size: usize) -> LogEntry {
    LogEntry {
        position: LogPosition { index, term },
        kind: EntryKind::Command,
        context: Bytes::from(index.to_be_bytes().to_vec()),
        data: Bytes::from(vec![u8::try_from(term % 251).unwrap(); size]),
    }
}

fn entries(indexes: impl IntoIterator<Item = u64>, term: u64) -> AppendBatch {
    AppendBatch {
        entries: indexes.into_iter().map(|index| entry(index, term, 40)).collect(),
        ..AppendBatch::default()
    }
}

fn at(index: u64, term: u64) -> LogPosition {
    LogPosition { index, term }
}

fn reopened(store: &mut impl LogStore) -> LoadedLog {
    let before = store.load().unwrap();
    store.reopen().unwrap();
    let after = store.load().unwrap();
    assert_eq!(before, after, "reopening changed what the store holds");
    after
}

fn positions(log: &LoadedLog) -> Vec<(u64, u64)> {
    log.entries
        .iter()
        .map(|entry| (entry.position.index, entry.position.term))
        .collect()
}

fn an_empty_store_answers_an_empty_log(store: &mut impl LogStore) {
    assert_eq!(reopened(store), LoadedLog::default());
}

fn a_batch_is_kept_whole(store: &mut impl LogStore) {
    let hard_state = HardState {
        term: 3,
        vote: 2,
        commit: 1,
    };
    let members = MembersAt {
        index: 1,
        members: Members {
            voters: [MemberId::new(2).unwrap()].into(),
            ..Members::default()
        },
    };
    let batch = AppendBatch {
        hard_state: Some(hard_state),
        members: Some(members.clone()),
        ..entries(1..=5, 3)
    };
    store.append(&batch).unwrap();
    let log = reopened(store);
    assert_eq!(log.entries, batch.entries);
    assert_eq!((log.hard_state, log.members), (hard_state, members));
}

fn a_conflicting_suffix_replaces_the_stale_tail(store: &mut impl LogStore) {
    store.append(&entries(1..=4, 1)).unwrap();
    store.append(&entries(5..=8, 1)).unwrap();
    store.append(&entries(3..=5, 2)).unwrap();
    assert_eq!(positions(&reopened(store)), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]);
}

fn holes_and_rewritten_history_are_refused(store: &mut impl LogStore) {
    store.append(&entries(1..=9, 1)).unwrap();
    assert!(matches!(
        store.append(&entries([11], 1)),
        Err(StoreError::Hole { given: 11, last: 9 })
    ));
    assert!(matches!(
        store.append(&entries([10, 12], 1)),
        Err(StoreError::Hole { .. })
    ));
    store.compact(at(6, 1), at(4, 1), HardState::default()).unwrap();
    assert!(matches!(
        store.append(&entries([4], 2)),
        Err(StoreError::Compacted { given: 4, compacted: 4 })
    ));
    assert!(matches!(
        store.compact(at(6, 1), at(7, 1), HardState::default()),
        Err(StoreError::BeyondSnapshot { .. })
    ));
    assert_eq!(positions(&reopened(store)), [(5, 1), (6, 1), (7, 1), (8, 1), (9, 1)]);
}

fn compaction_cuts_inside_a_record(store: &mut impl LogStore) {
    store.append(&entries(1..=9, 1)).unwrap();
    let hard_state = HardState {
        commit: 6,
        ..HardState::default()
    };
    store.compact(at(7, 1), at(5, 1), hard_state).unwrap();
    let log = reopened(store);
    assert_eq!(
        (log.snapshot, log.compacted, log.hard_state),
        (at(7, 1), at(5, 1), hard_state)
    );
    assert_eq!(positions(&log), [(6, 1), (7, 1), (8, 1), (9, 1)]);
    store.append(&entries(7..=7, 2)).unwrap();
    assert_eq!(positions(&reopened(store)), [(6, 1), (7, 2)]);
}

fn an_installed_snapshot_replaces_the_log(store: &mut impl LogStore) {
    store.append(&entries(1..=9, 1)).unwrap();
    let members = MembersAt {
        index: 100,
        members: Members::default(),
    };
    let hard_state = HardState {
        term: 4,
        vote: 0,
        commit: 100,
    };
    store.install_snapshot(at(100, 4), &members, hard_state).unwrap();
    let log = reopened(store);
    assert_eq!(
        log,
        LoadedLog {
            hard_state,
            members,
            snapshot: at(100, 4),
            compacted: at(100, 4),
            entries: vec![]
        }
    );
    store.append(&entries(101..=102, 4)).unwrap();
    assert_eq!(positions(&reopened(store)), [(101, 4), (102, 4)]);
}

fn large_entries_are_kept(store: &mut impl LogStore) {
    let batch = AppendBatch {
        entries: vec![
            entry(1, 1, 10),
            entry(2, 1, 700_000),
            entry(3, 1, 90_000),
            entry(4, 1, 0),
        ],
        ..AppendBatch::default()
    };
    store.append(&batch).unwrap();
    assert_eq!(reopened(store).entries, batch.entries);
    store.append(&entries([2], 2)).unwrap();
    assert_eq!(positions(&reopened(store)), [(1, 1), (2, 2)]);
}

fn refused_batches_leave_no_trace(store: &mut impl LogStore) {
    let hard_state = HardState {
        term: 1,
        vote: 1,
        commit: 4,
    };
    let batch = AppendBatch {
        hard_state: Some(hard_state),
        ..entries(1..=9, 1)
    };
    store.append(&batch).unwrap();
    store.compact(at(4, 1), at(2, 1), hard_state).unwrap();
    let before = store.load().unwrap();
    let newer = HardState {
        term: 9,
        vote: 9,
        commit: 9,
    };
    for indexes in [
        vec![1],
        vec![2, 3],
        vec![4],
        vec![11],
        vec![10, 12],
        vec![5, 5],
        vec![0],
    ] {
        let batch = AppendBatch {
            hard_state: Some(newer),
            ..entries(indexes.clone(), 2)
        };
        let error = store.append(&batch).unwrap_err();
        assert!(!error.is_transient(), "{indexes:?}: {error}");
    }
    assert_eq!(store.load().unwrap(), before);
    assert_eq!(reopened(store), before);
}

/// A log was cut back at a conflict, and entries that were committed went with it.
fn committed_entries_are_not_rewritten(store: &mut impl LogStore) {
    let batch = AppendBatch {
        hard_state: Some(HardState {
            term: 1,
            vote: 0,
            commit: 3,
        }),
        ..entries(1..=5, 1)
    };
    store.append(&batch).unwrap();
    assert!(matches!(
        store.append(&entries([3], 2)),
        Err(StoreError::Committed { given: 3, commit: 3 })
    ));
    store.append(&entries([4], 2)).unwrap();
    assert_eq!(positions(&reopened(store)), [(1, 1), (2, 1), (3, 1), (4, 2)]);
}

/// After a restart the hard state named a commit beyond the log's end, and the Raft library panicked.
fn commit_is_kept_within_the_log(store: &mut impl LogStore) {
    let ahead = HardState {
        term: 2,
        vote: 1,
        commit: 99,
    };
    let batch = AppendBatch {
        hard_state: Some(ahead),
        ..entries(1..=4, 2)
    };
    store.append(&batch).unwrap();
    assert_eq!(reopened(store).hard_state, HardState { commit: 4, ..ahead });
    store.compact(at(4, 2), at(3, 2), ahead).unwrap();
    assert_eq!(reopened(store).hard_state, HardState { commit: 4, ..ahead });
}

/// The truncation of a write-ahead log was off by one, and each restart lost the last entry.
fn the_last_entry_is_there_after_every_restart(store: &mut impl LogStore) {
    for index in 1..=12 {
        store.append(&entries([index], index / 5 + 1)).unwrap();
        assert_eq!(reopened(store).last(), at(index, index / 5 + 1));
    }
    store.append(&entries([12], 9)).unwrap();
    assert_eq!(reopened(store).last(), at(12, 9));
    store.append(&entries([5], 10)).unwrap();
    assert_eq!(reopened(store).last(), at(5, 10));
}

/// A snapshot carried the term of another entry, and the log built on it was refused by the others.
fn a_snapshot_of_another_term_is_refused(store: &mut impl LogStore) {
    store.append(&entries(1..=3, 1)).unwrap();
    store.append(&entries(4..=6, 2)).unwrap();
    for (snapshot, through) in [(at(5, 1), at(2, 1)), (at(5, 2), at(2, 2)), (at(5, 2), at(4, 1))] {
        let error = store.compact(snapshot, through, HardState::default()).unwrap_err();
        assert!(matches!(error, StoreError::WrongTerm { .. }), "{error}");
    }
    store.compact(at(5, 2), at(4, 2), HardState::default()).unwrap();
    assert_eq!(positions(&reopened(store)), [(5, 2), (6, 2)]);
}

/// A compaction of a log that had nothing to compact counted down from zero.
fn compacting_nothing_changes_nothing_but_the_marker(store: &mut impl LogStore) {
    store.compact(at(0, 0), at(0, 0), HardState::default()).unwrap();
    store.append(&entries(1..=3, 1)).unwrap();
    store.compact(at(2, 1), at(0, 0), HardState::default()).unwrap();
    let log = reopened(store);
    assert_eq!((log.snapshot, log.compacted), (at(2, 1), at(0, 0)));
    assert_eq!(positions(&log), [(1, 1), (2, 1), (3, 1)]);
    store.compact(at(3, 1), at(3, 1), HardState::default()).unwrap();
    store.compact(at(3, 1), at(1, 1), HardState::default()).unwrap();
    let log = reopened(store);
    assert_eq!((log.last(), log.compacted, log.entries.len()), (at(3, 1), at(3, 1), 0));
}

/// Entries from before an installed snapshot came back with the next restart. And a second snapshot arrived right after
/// the first.
fn nothing_older_survives_an_installed_snapshot(store: &mut impl LogStore) {
    let large = AppendBatch {
        entries: vec![entry(1, 1, 300_000), entry(2, 1, 10), entry(3, 1, 200_000)],
        ..AppendBatch::default()
    };
    store.append(&large).unwrap();
    for index in [2, 50, 51] {
        let members = MembersAt {
            index,
            ..MembersAt::default()
        };
        store
            .install_snapshot(at(index, 3), &members, HardState::default())
            .unwrap();
        let log = reopened(store);
        assert_eq!(
            (log.entries, log.compacted, log.members),
            (vec![], at(index, 3), members)
        );
        assert!(matches!(
            store.append(&entries([index], 4)),
            Err(StoreError::Compacted { .. })
        ));
    }
    store.append(&entries([52], 4)).unwrap();
    assert_eq!(positions(&reopened(store)), [(52, 4)]);
}

macro_rules! contract {
    ($store:ident, $open:expr; $($claim:ident),* $(,)?) => {
        mod $store {
            use super::*;
            $(#[test]
            fn $claim() {
                let (_disk, mut store) = $open;
                super::$claim(&mut store);
            })*

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(24))]
                #[test]
                fn any_sequence_of_truncations_equals_a_plain_vector(steps in steps()) {
                    let (_disk, mut store) = $open;
                    run_against_model(&mut store, &steps);
                }
            }
        }
    };
}

macro_rules! contract_of_both {
    ($($claim:ident),* $(,)?) => {
        contract!(sled_store, {
            let folder = tempfile::tempdir().unwrap();
            let store = SledLogStore::open(folder.path(), identity(1)).unwrap();
            (folder, store)
        }; $($claim),*);
        contract!(memory_store, {
            let disk = MemoryDisk::default();
            (disk.clone(), MemoryLogStore::open(disk, identity(1)).unwrap())
        }; $($claim),*);
    };
}

contract_of_both!(
    an_empty_store_answers_an_empty_log,
    a_batch_is_kept_whole,
    a_conflicting_suffix_replaces_the_stale_tail,
    holes_and_rewritten_history_are_refused,
    compaction_cuts_inside_a_record,
    an_installed_snapshot_replaces_the_log,
    large_entries_are_kept,
    refused_batches_leave_no_trace,
    committed_entries_are_not_rewritten,
    commit_is_kept_within_the_log,
    the_last_entry_is_there_after_every_restart,
    a_snapshot_of_another_term_is_refused,
    compacting_nothing_changes_nothing_but_the_marker,
    nothing_older_survives_an_installed_snapshot,
);

#[test]
fn another_members_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(SledLogStore::open(folder.path(), identity(1)).unwrap());
    assert!(matches!(
        SledLogStore::open(folder.path(), identity(2)),
        Err(StoreError::Foreign(_))
    ));
    let disk = MemoryDisk::default();
    MemoryLogStore::open(disk.clone(), identity(1)).unwrap();
    assert!(matches!(
        MemoryLogStore::open(disk, identity(2)),
        Err(StoreError::Foreign(_))
    ));
}

#[test]
fn a_log_that_should_be_there_and_is_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    assert!(matches!(
        SledLogStore::open_existing(&gone, identity(1)),
        Err(StoreError::Foreign(_))
    ));
    assert!(!gone.exists());
}
