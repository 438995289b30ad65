//! What every log store must do, asked of each: act, close, reopen, ask again.

use bytes::Bytes;
use proptest::prelude::*;
use tenantry_types::MemberId;

use super::*;

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

#[derive(Debug, Clone)]
enum Step {
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
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12_u64, 1..9_u64, prop_oneof![9 => 0..200_usize, 1 => 90_000..200_000_usize])
            .prop_map(|(back, count, size)| Step::Append { back, count, size }),
        1 => (0..20_u64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

/// Runs the steps against the store and against a plain vector.
fn run_against_model(store: &mut impl LogStore, steps: &[Step]) {
    let mut model: Vec<LogEntry> = Vec::new();
    let mut compacted = LogPosition::default();
    for (step, term) in steps.iter().zip(1..) {
        let last = model.last().map_or(compacted, |entry| entry.position);
        match *step {
            Step::Append { back, count, size } => {
                let first = last.index.saturating_sub(back).max(compacted.index) + 1;
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
                    store.compact(last, compacted, HardState::default()).unwrap();
                    model.retain(|entry| entry.position.index > through);
                }
            }
            Step::Reopen => store.reopen().unwrap(),
        }
        let log = store.load().unwrap();
        assert_eq!((&log.entries, log.compacted), (&model, compacted));
    }
    assert_eq!(reopened(store).entries, model);
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

#[test]
fn a_full_disk_refuses_until_it_is_freed_and_the_store_reopened() {
    let disk = MemoryDisk::default();
    let mut store = MemoryLogStore::open(disk.clone(), identity(1)).unwrap();
    store.append(&entries(1..=2, 1)).unwrap();
    disk.set_fault(DiskFault::Full);
    assert!(store.append(&entries([3], 1)).unwrap_err().is_transient());
    assert!(store.reopen().is_err());
    disk.set_fault(DiskFault::None);
    assert!(matches!(store.append(&entries([3], 1)), Err(StoreError::NeedsReopen)));
    store.reopen().unwrap();
    store.append(&entries([3], 1)).unwrap();
    disk.crash();
    assert_eq!(store.load().unwrap().last(), at(3, 1));
}

#[test]
fn what_was_not_synced_is_lost_in_a_crash() {
    let disk = MemoryDisk::default();
    let mut store = MemoryLogStore::open(disk.clone(), identity(1)).unwrap();
    store.append(&entries(1..=2, 1)).unwrap();
    disk.set_fault(DiskFault::SyncFails);
    assert!(store.append(&entries([3], 1)).is_err());
    disk.crash();
    disk.set_fault(DiskFault::None);
    store.reopen().unwrap();
    assert_eq!(store.load().unwrap().last(), at(2, 1));
}
