//! A log store that is compared with a plain copy of all that was written to it: what it acknowledged must be there when
//! it is read again, whatever happened in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::control_plane::storage::{
    AppendBatch, HardState, LoadedLog, LogPosition, LogStore, MembersAt, MemoryLogStore, StoreError,
};

/// What the disk must hold. Outlives the store, as the disk does.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    acknowledged: LoadedLog,
    /// After a write that failed: what the disk may hold instead.
    attempted: Option<LoadedLog>,
    difference: Option<String>,
}

impl Expected {
    /// The first difference that was found.
    pub(super) fn take_difference(&self) -> Option<String> {
        self.lock().difference.take()
    }

    /// Whether the disk certainly holds this command at this index, or what came of it.
    pub(super) fn holds(&self, index: u64, command: &[u8]) -> bool {
        let contents = self.lock();
        let log = &contents.acknowledged;
        log.snapshot.index >= index
            || log
                .entries
                .iter()
                .any(|entry| entry.position.index == index && entry.data == command)
    }

    fn compare(&self, found: &LoadedLog) {
        let mut contents = self.lock();
        let right = *found == contents.acknowledged || contents.attempted.as_ref() == Some(found);
        if !right && contents.difference.is_none() {
            let (found, written) = (describe(found), describe(&contents.acknowledged));
            contents.difference = Some(format!("gives back {found}, but acknowledged {written}"));
        }
        contents.acknowledged = found.clone();
        contents.attempted = None;
    }

    /// Notes the outcome of a write that turns the log into what `change` makes of it.
    fn written<T>(&self, outcome: &Result<T, StoreError>, change: impl FnOnce(&mut LoadedLog)) {
        let mut contents = self.lock();
        let mut changed = contents.acknowledged.clone();
        match outcome {
            Ok(_) => {
                change(&mut changed);
                clamp(&mut changed);
                contents.acknowledged = changed;
            }
            Err(StoreError::Io { .. }) => {
                change(&mut changed);
                clamp(&mut changed);
                contents.attempted = Some(changed);
            }
            Err(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No store keeps a commit beyond its log.
fn clamp(log: &mut LoadedLog) {
    log.hard_state.commit = log.hard_state.commit.min(log.last().index);
}

fn describe(log: &LoadedLog) -> String {
    let runs = log
        .entries
        .chunk_by(|a, b| a.position.index + 1 == b.position.index && a.position.term == b.position.term);
    let runs: Vec<String> = runs
        .filter_map(|run| {
            let (first, last) = (run.first()?.position, run.last()?.position);
            Some(format!("{} to {} of term {}", first.index, last.index, first.term))
        })
        .collect();
    let HardState { term, vote, commit } = log.hard_state;
    format!(
        "term {term}, vote {vote}, commit {commit}, members of {}, snapshot of {}, compacted to {}, entries [{}]",
        log.members.index,
        log.snapshot.index,
        log.compacted.index,
        runs.join(", ")
    )
}

/// A store and what it must hold.
#[derive(Debug)]
pub(super) struct CheckedLog {
    store: MemoryLogStore,
    expected: Expected,
}

impl CheckedLog {
    pub(super) fn new(store: MemoryLogStore, expected: Expected) -> Self {
        Self { store, expected }
    }
}

impl LogStore for CheckedLog {
    fn load(&mut self) -> Result<LoadedLog, StoreError> {
        let found = self.store.load()?;
        self.expected.compare(&found);
        Ok(found)
    }

    fn append(&mut self, batch: &AppendBatch) -> Result<(), StoreError> {
        let outcome = self.store.append(batch);
        self.expected.written(&outcome, |log| {
            if let Some(first) = batch.entries.first() {
                log.entries.retain(|entry| entry.position.index < first.position.index);
            }
            log.entries.extend_from_slice(&batch.entries);
            log.hard_state = batch.hard_state.unwrap_or(log.hard_state);
            log.members = batch.members.clone().unwrap_or_else(|| log.members.clone());
        });
        outcome
    }

    fn compact(
        &mut self,
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        let outcome = self.store.compact(snapshot, through, hard_state);
        self.expected.written(&outcome, |log| {
            (log.snapshot, log.hard_state) = (snapshot, hard_state);
            if through.index > log.compacted.index {
                log.compacted = through;
                log.entries.retain(|entry| entry.position.index > through.index);
            }
        });
        outcome
    }

    fn install_snapshot(
        &mut self,
        snapshot: LogPosition,
        members: &MembersAt,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        let outcome = self.store.install_snapshot(snapshot, members, hard_state);
        self.expected.written(&outcome, |log| {
            *log = LoadedLog {
                hard_state,
                members: members.clone(),
                snapshot,
                compacted: snapshot,
                entries: Vec::new(),
            };
        });
        outcome
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()
    }

    fn size_on_disk_bytes(&self) -> u64 {
        self.store.size_on_disk_bytes()
    }
}

#[cfg(test)]
mod tests {
    use ::control_plane::storage::{DiskFault, Identity, MemoryDisk};
    use tenantry_types::MemberId;

    use super::*;

    fn vote(term: u64) -> AppendBatch {
        AppendBatch {
            hard_state: Some(HardState {
                term,
                vote: 1,
                commit: 0,
            }),
            ..AppendBatch::default()
        }
    }

    fn opened() -> (MemoryDisk, Expected, CheckedLog) {
        let identity = Identity {
            member: MemberId::new(1).unwrap(),
            fingerprint: 1,
        };
        let (disk, expected) = (MemoryDisk::default(), Expected::default());
        let store = MemoryLogStore::open(disk.clone(), identity).unwrap();
        (disk, expected.clone(), CheckedLog::new(store, expected))
    }

    #[test]
    fn a_disk_that_acknowledges_and_forgets_is_found() {
        let (disk, expected, mut log) = opened();
        log.append(&vote(1)).unwrap();
        disk.crash();
        log.reopen().unwrap();
        log.load().unwrap();
        assert_eq!(expected.take_difference(), None);
        disk.set_fault(DiskFault::SyncLies);
        log.append(&vote(2)).unwrap();
        disk.set_fault(DiskFault::None);
        disk.crash();
        log.reopen().unwrap();
        log.load().unwrap();
        let difference = expected.take_difference().unwrap();
        assert!(difference.contains("term 1"), "{difference}");
    }

    #[test]
    fn a_write_that_failed_may_be_there_or_not() {
        for survives in [true, false] {
            let (disk, expected, mut log) = opened();
            log.append(&vote(1)).unwrap();
            disk.set_fault(DiskFault::SyncFails);
            log.append(&vote(2)).unwrap_err();
            disk.set_fault(DiskFault::None);
            if !survives {
                disk.crash();
            }
            log.reopen().unwrap();
            let term = log.load().unwrap().hard_state.term;
            assert_eq!(term, if survives { 2 } else { 1 });
            assert_eq!(expected.take_difference(), None);
        }
    }
}
