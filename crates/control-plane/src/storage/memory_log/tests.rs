//! What the simulated disk does to a log, and what a log must make of it.

use bytes::Bytes;
use proptest::prelude::*;
use tenantry_types::MemberId;

use super::*;
use crate::storage::{EntryKind, LogEntry};

fn identity() -> Identity {
    Identity {
        member: MemberId::new(1).unwrap(),
        fingerprint: 0xfeed,
    }
}

fn entries(first: u64, count: u64, term: u64) -> AppendBatch {
    let entry = |index| LogEntry {
        position: LogPosition { index, term },
        kind: EntryKind::Command,
        context: Bytes::new(),
        data: Bytes::from(vec![7; 30]),
    };
    AppendBatch {
        entries: (first..first + count).map(entry).collect(),
        hard_state: Some(HardState {
            term,
            vote: 1,
            commit: first - 1,
        }),
        members: first.is_multiple_of(3).then(|| MembersAt {
            index: first,
            ..MembersAt::default()
        }),
    }
}

fn store_of(disk: &MemoryDisk, last: u64) -> MemoryLogStore {
    let mut store = MemoryLogStore::open(disk.clone(), identity()).unwrap();
    for index in 1..=last {
        store.append(&entries(index, 1, 1)).unwrap();
    }
    store
}

fn last(store: &mut MemoryLogStore) -> u64 {
    store.load().unwrap().last().index
}

#[test]
fn a_full_disk_refuses_until_it_is_freed_and_the_store_reopened() {
    let disk = MemoryDisk::default();
    let mut store = store_of(&disk, 2);
    disk.set_fault(DiskFault::Full);
    assert!(store.append(&entries(3, 1, 1)).unwrap_err().is_transient());
    assert!(store.reopen().is_err());
    disk.set_fault(DiskFault::None);
    assert!(matches!(store.append(&entries(3, 1, 1)), Err(StoreError::NeedsReopen)));
    store.reopen().unwrap();
    store.append(&entries(3, 1, 1)).unwrap();
    disk.crash();
    assert_eq!(last(&mut store), 3);
}

#[test]
fn a_disk_fills_up_and_keeps_a_reserve() {
    let disk = MemoryDisk::default();
    let mut store = store_of(&disk, 1);
    disk.set_free_bytes(Some(disk::RESERVE_BYTES + 2_000));
    let refused_at = (2..100)
        .find(|index| store.append(&entries(*index, 1, 1)).is_err())
        .unwrap();
    assert!((4..30).contains(&refused_at), "{refused_at}");
    disk.set_free_bytes(None);
    store.reopen().unwrap();
    assert_eq!(last(&mut store), refused_at - 1);
}

#[test]
fn what_was_not_synced_is_lost_in_a_crash() {
    let disk = MemoryDisk::default();
    let mut store = store_of(&disk, 2);
    disk.set_fault(DiskFault::SyncFails);
    assert!(store.append(&entries(3, 1, 1)).is_err());
    disk.crash();
    disk.set_fault(DiskFault::None);
    store.reopen().unwrap();
    assert_eq!(last(&mut store), 2);
}

/// A write whose sync failed was read back from the page cache, taken for durable and acknowledged; the next sync said
/// nothing of it, and the power cut took it.
#[test]
fn what_a_failed_sync_left_behind_is_durable_once_it_was_read_again() {
    for restarted in [false, true] {
        let disk = MemoryDisk::default();
        let mut store = store_of(&disk, 2);
        disk.set_fault(DiskFault::SyncFails);
        assert!(store.append(&entries(3, 1, 1)).is_err());
        assert_eq!(disk.unsynced_writes(), 1);
        assert!(store.reopen().is_err(), "nothing is readable while no sync succeeds");
        assert_eq!(disk.unsynced_writes(), 1);
        disk.set_fault(DiskFault::None);
        if restarted {
            store = MemoryLogStore::open(disk.clone(), identity()).unwrap();
        } else {
            store.reopen().unwrap();
        }
        assert_eq!(last(&mut store), 3);
        disk.crash();
        store.reopen().unwrap();
        assert_eq!(last(&mut store), 3);
    }
}

/// Shows that the disk is as unkind as a real one: a later sync does not cover a write whose own sync failed.
#[test]
fn a_later_sync_does_not_cover_a_write_whose_sync_failed() {
    let disk = MemoryDisk::default();
    let mut layout = store_of(&disk, 2).layout.unwrap();
    for (fault, index) in [(DiskFault::SyncFails, 3), (DiskFault::None, 4)] {
        disk.set_fault(fault);
        let plan = layout.append(&*disk.platters(), &entries(index, 1, 1)).unwrap();
        let written = disk.write("test", plan.changes.clone(), plan.sequence());
        assert_eq!(written.is_ok(), fault == DiskFault::None);
        layout.settle(&plan);
    }
    assert_eq!(layout.load(&*disk.platters()).unwrap().last().index, 4);
    disk.crash();
    let error = MemoryLogStore::open(disk, identity()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_slow_disk_is_asked_before_each_operation() {
    let disk = MemoryDisk::default();
    let (sender, asked) = std::sync::mpsc::channel();
    disk.set_decider(move |operation| {
        sender.send(operation).unwrap();
        DiskFault::None
    });
    store_of(&disk, 1).reopen().unwrap();
    let asked: Vec<DiskOperation> = asked.try_iter().collect();
    assert!(
        matches!(
            asked[..],
            [
                DiskOperation::Read,
                DiskOperation::Write { .. },
                DiskOperation::Write { bytes: 1.. },
                DiskOperation::Read,
                DiskOperation::Rewrite { bytes: 1.. }
            ]
        ),
        "{asked:?}"
    );
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Append {
        back: u64,
        count: u64,
    },
    Compact {
        back: u64,
    },
    Install {
        ahead: u64,
    },
    /// The process ends and starts again; the page cache stays.
    Kill,
    /// The bits say which unsynced writes survive.
    PowerCut {
        survive: u32,
    },
}

fn fault() -> impl Strategy<Value = DiskFault> {
    prop_oneof![
        8 => Just(DiskFault::None),
        1 => Just(DiskFault::Full),
        1 => Just(DiskFault::WriteFails),
        3 => Just(DiskFault::SyncFails),
        1 => Just(DiskFault::AnswerLost),
        1 => Just(DiskFault::ReadFails),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Step, DiskFault)>> {
    let step = prop_oneof![
        6 => (0..4_u64, 1..4_u64).prop_map(|(back, count)| Step::Append { back, count }),
        1 => (0..6_u64).prop_map(|back| Step::Compact { back }),
        1 => (1..5_u64).prop_map(|ahead| Step::Install { ahead }),
        1 => Just(Step::Kill),
        2 => any::<u32>().prop_map(|survive| Step::PowerCut { survive }),
    ];
    proptest::collection::vec((step, fault()), 1..40)
}

fn act(store: &mut MemoryLogStore, held: &LoadedLog, step: Step, term: u64) -> Result<(), StoreError> {
    let hard_state = HardState {
        term,
        ..held.hard_state
    };
    match step {
        Step::Append { back, count } => {
            let floor = held.hard_state.commit.max(held.compacted.index);
            let first = held.last().index.saturating_sub(back).max(floor) + 1;
            let mut batch = entries(first, count, term);
            // Committed one by one, and never all.
            batch.hard_state = batch.hard_state.map(|state| HardState {
                commit: held.hard_state.commit.max(first.saturating_sub(3)),
                ..state
            });
            store.append(&batch)
        }
        Step::Compact { back } => {
            let through = held.last().index.saturating_sub(back);
            match held.entries.iter().find(|entry| entry.position.index == through) {
                Some(entry) => store.compact(entry.position, entry.position, hard_state),
                None => Ok(()),
            }
        }
        Step::Install { ahead } => {
            let index = held.last().index + ahead;
            let commit = index;
            let members = MembersAt {
                index,
                ..MembersAt::default()
            };
            store.install_snapshot(
                LogPosition { index, term },
                &members,
                HardState { commit, ..hard_state },
            )
        }
        Step::Kill | Step::PowerCut { .. } => Ok(()),
    }
}

/// What a healthy store holds after the same step.
fn expected(held: &LoadedLog, step: Step, term: u64) -> LoadedLog {
    let mut after = held.clone();
    match step {
        Step::Append { back, count } => {
            let floor = held.hard_state.commit.max(held.compacted.index);
            let first = held.last().index.saturating_sub(back).max(floor) + 1;
            let batch = entries(first, count, term);
            after.entries.retain(|entry| entry.position.index < first);
            after.entries.extend(batch.entries);
            after.hard_state = HardState {
                term,
                vote: 1,
                commit: held.hard_state.commit.max(first.saturating_sub(3)),
            };
            after.members = batch.members.unwrap_or(after.members);
        }
        Step::Compact { back } => {
            let through = held.last().index.saturating_sub(back);
            if let Some(entry) = held.entries.iter().find(|entry| entry.position.index == through) {
                (after.snapshot, after.compacted) = (entry.position, entry.position);
                after.entries.retain(|entry| entry.position.index > through);
                after.hard_state.term = term;
            }
        }
        Step::Install { ahead } => {
            let index = held.last().index + ahead;
            let at = LogPosition { index, term };
            after = LoadedLog {
                hard_state: HardState {
                    term,
                    commit: index,
                    ..held.hard_state
                },
                members: MembersAt {
                    index,
                    ..MembersAt::default()
                },
                snapshot: at,
                compacted: at,
                entries: vec![],
            };
        }
        Step::Kill | Step::PowerCut { .. } => {}
    }
    after
}

/// Reopens until the disk lets it, with the faults that it is in the mood for first.
fn come_back(disk: &MemoryDisk, fault: DiskFault) -> (MemoryLogStore, LoadedLog) {
    disk.set_fault(fault);
    if let Ok(mut store) = MemoryLogStore::open(disk.clone(), identity()) {
        disk.set_fault(DiskFault::None);
        let log = store.load().unwrap();
        return (store, log);
    }
    disk.set_fault(DiskFault::None);
    let mut store = MemoryLogStore::open(disk.clone(), identity()).unwrap();
    let log = store.load().unwrap();
    (store, log)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// After every failure, kill and power cut, a log is what was last acknowledged or read, or that with the one step
    /// whose outcome was unknown. Nothing else, and never less.
    #[test]
    fn no_fault_takes_back_what_was_acknowledged_or_read(steps in steps()) {
        let disk = MemoryDisk::default();
        let mut store = MemoryLogStore::open(disk.clone(), identity()).unwrap();
        let mut held = LoadedLog::default();
        for ((step, fault), term) in steps.into_iter().zip(1..) {
            let possible = expected(&held, step, term);
            disk.set_fault(fault);
            let outcome = act(&mut store, &held, step, term);
            disk.set_fault(DiskFault::None);
            let found = match (outcome, step) {
                (Ok(()), Step::Kill) => {
                    let (again, found) = come_back(&disk, fault);
                    store = again;
                    prop_assert_eq!(&found, &possible);
                    found
                }
                (Ok(()), Step::PowerCut { survive }) => {
                    let mut survive = survive;
                    disk.crash_keeping(|_| { survive = survive.rotate_right(1); survive & 1 == 1 });
                    let (again, found) = come_back(&disk, fault);
                    store = again;
                    prop_assert_eq!(&found, &possible);
                    found
                }
                (Ok(()), _) => {
                    let found = store.load().unwrap();
                    prop_assert_eq!(&found, &possible);
                    found
                }
                (Err(error), _) => {
                    prop_assert!(error.is_transient(), "{}", error);
                    if term % 2 == 0 {
                        disk.crash_keeping(|_| term % 4 == 0);
                    }
                    let (again, found) = come_back(&disk, fault);
                    store = again;
                    prop_assert!(found == held || found == possible, "{:?} is neither {:?} nor {:?}", found, held, possible);
                    found
                }
            };
            held = found;
        }
    }

    /// A bit, a tail, a page or a whole record that went bad, or landed elsewhere, is noticed. Wrong data is never
    /// answered.
    #[test]
    fn any_damage_to_any_record_is_refused(kind in 0..5_usize, record: usize, detail: usize, installed: bool) {
        let disk = MemoryDisk::default();
        let mut store = store_of(&disk, 7);
        if installed {
            let members = MembersAt { index: 9, ..MembersAt::default() };
            store.install_snapshot(LogPosition { index: 9, term: 1 }, &members, HardState::default()).unwrap();
        }
        let damage = match kind {
            0 => Damage::FlipBit { record, bit: detail },
            1 => Damage::Truncate { record, bytes: detail },
            2 => Damage::Zero { record },
            3 => Damage::Lose { record },
            _ => Damage::Misdirect { from: detail, to: record },
        };
        let before = store.load().unwrap();
        if disk.damage(damage) {
            let error = store.reopen().unwrap_err();
            prop_assert!(matches!(error, StoreError::Damaged { .. }), "{}", error);
            prop_assert!(MemoryLogStore::open(disk, identity()).is_err());
        } else {
            prop_assert_eq!(store.load().unwrap(), before);
        }
    }
}
