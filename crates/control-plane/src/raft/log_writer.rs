//! Makes durable what a replica wants written: the only owner of the log store once a member runs.
//!
//! Jobs are written in the order in which they were given. All that queued while the last write ran go into the next:
//! that is the group commit. It blocks, so it has a thread of its own; it decides nothing.

use raft::eraftpb::Message;

use super::error::ReplicaError;
use crate::mutants::{Mutant, mutated};
use crate::storage::{
    AppendBatch, HardState, IncomingSnapshot, LoadedLog, LogPosition, LogStore, Members, MembersAt, SnapshotError,
    SnapshotFolder,
};

/// Something to be written, with the messages that may leave only when it is.
#[derive(Debug)]
pub struct WriteJob {
    /// Tells this life of the replica from those before a failure of the disk.
    pub(super) generation: u64,
    /// The number of raft-rs's `Ready` that is persisted by this.
    pub(super) ready: Option<u64>,
    pub(super) step: WriteStep,
    /// Votes and acknowledgements: they promise what is written here.
    pub(super) promises: Vec<Message>,
}

#[derive(Debug)]
pub(super) enum WriteStep {
    /// Nothing of its own; its promises wait for the jobs before it.
    Nothing,
    Append(AppendBatch),
    /// Replaces the log by a received snapshot.
    Install {
        file: Box<IncomingSnapshot>,
        position: LogPosition,
        members: MembersAt,
        hard_state: HardState,
    },
    /// Moves the marker to a written snapshot and forgets what lies far enough behind it.
    Compact {
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    },
}

impl WriteStep {
    /// Whether the log forgets something by it.
    pub(super) fn moves_the_log(&self) -> bool {
        matches!(self, Self::Install { .. } | Self::Compact { .. })
    }
}

/// What is durable now.
#[derive(Debug, Default)]
pub struct Written {
    pub(super) generation: u64,
    /// How many jobs this answers.
    pub(super) jobs: usize,
    pub(super) ready: Option<u64>,
    pub(super) hard_state: Option<HardState>,
    pub(super) installed: Option<LogPosition>,
    pub(super) promises: Vec<Message>,
}

/// What the disk holds.
#[derive(Debug)]
pub struct Reloaded {
    pub(super) log: LoadedLog,
    /// The members as of the snapshot that the log builds on.
    pub(super) snapshot_members: Members,
}

/// Writes what a replica asks for. After an error it refuses all work until [`reload`](Self::reload) succeeds.
#[derive(Debug)]
pub struct LogWriter<L> {
    store: L,
    snapshots: SnapshotFolder,
}

impl<L: LogStore> LogWriter<L> {
    pub(super) fn new(store: L, snapshots: SnapshotFolder) -> Self {
        Self { store, snapshots }
    }

    /// Writes jobs of one generation durably, in order, in as few steps as possible.
    ///
    /// # Errors
    /// When the disk refuses. What was written of the jobs is known only after [`reload`](Self::reload).
    pub fn write(&mut self, jobs: impl IntoIterator<Item = WriteJob>) -> Result<Written, ReplicaError> {
        let mut written = Written::default();
        let mut pending = AppendBatch::default();
        for job in jobs {
            written.generation = job.generation;
            written.jobs += 1;
            written.ready = job.ready.or(written.ready);
            written.promises.extend(job.promises);
            match job.step {
                WriteStep::Nothing => {}
                WriteStep::Append(batch) => merge(&mut pending, batch),
                WriteStep::Install {
                    file,
                    position,
                    members,
                    hard_state,
                } => {
                    self.append(&mut pending, &mut written)?;
                    // Name first, then marker and log in one step: whatever a crash hits, the disk holds either the
                    // old log with the old snapshot, or the new snapshot with an empty log.
                    if mutated(Mutant::InstallMarkerFirst) {
                        self.store.install_snapshot(position, &members, hard_state)?;
                        self.snapshots.adopt(*file, position)?;
                    } else {
                        self.snapshots.adopt(*file, position)?;
                        self.store.install_snapshot(position, &members, hard_state)?;
                    }
                    written.hard_state = Some(hard_state);
                    written.installed = Some(position);
                    self.forget_old_snapshots(position);
                }
                WriteStep::Compact {
                    snapshot,
                    through,
                    hard_state,
                } => {
                    self.append(&mut pending, &mut written)?;
                    self.store.compact(snapshot, through, hard_state)?;
                    written.hard_state = Some(hard_state);
                    self.forget_old_snapshots(snapshot);
                }
            }
        }
        self.append(&mut pending, &mut written)?;
        Ok(written)
    }

    fn append(&mut self, pending: &mut AppendBatch, written: &mut Written) -> Result<(), ReplicaError> {
        let batch = std::mem::take(pending);
        if batch != AppendBatch::default() {
            self.store.append(&batch)?;
            written.hard_state = batch.hard_state.or(written.hard_state);
        }
        Ok(())
    }

    /// Opens the store anew and reads everything back. Should the newest snapshot have become unreadable, an older one will
    /// do from which the log leads on, as at a start.
    ///
    /// # Errors
    /// When the disk still refuses, or what it holds does not check.
    pub fn reload(&mut self) -> Result<Reloaded, ReplicaError> {
        self.store.reopen()?;
        let mut log = self.store.load()?;
        if log.is_waiting() {
            return Ok(Reloaded {
                log,
                snapshot_members: Members::default(),
            });
        }
        let mut candidates = self.snapshots.list()?;
        candidates.retain(|position| log.leads_on_from(*position));
        for position in candidates {
            match self.snapshots.read(position) {
                Ok((header, _)) => {
                    log.snapshot = position;
                    return Ok(Reloaded {
                        log,
                        snapshot_members: header.members.members,
                    });
                }
                Err(error @ SnapshotError::Io { .. }) => return Err(error.into()),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    index = position.index,
                    "a snapshot cannot be used; trying an older one"
                ),
            }
        }
        Err(ReplicaError::NoSnapshot {
            from: log.compacted.index,
        })
    }

    /// Bytes that the log store occupies on disk.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.store.size_on_disk_bytes()
    }

    /// A snapshot too many on disk does no harm; the next one clears it away.
    fn forget_old_snapshots(&self, marker: LogPosition) {
        if let Err(error) = self.snapshots.retain(marker) {
            tracing::warn!(error = &error as &dyn std::error::Error, "old snapshots stay");
        }
    }
}

/// Adds a later batch, whose entries replace those from its first index on.
fn merge(earlier: &mut AppendBatch, later: AppendBatch) {
    if let Some(first) = later.entries.first() {
        let keeps = earlier
            .entries
            .partition_point(|entry| entry.position.index < first.position.index);
        earlier.entries.truncate(keeps);
        earlier.entries.extend(later.entries);
    }
    earlier.hard_state = later.hard_state.or(earlier.hard_state);
    earlier.members = later.members.or(earlier.members.take());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::storage::{EntryKind, Identity, LogEntry, MemoryDisk, MemoryLogStore};

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry {
            position: LogPosition { index, term },
            kind: EntryKind::Command,
            context: Bytes::new(),
            data: Bytes::from(format!("{index}-{term}")),
        }
    }

    fn store() -> (MemoryDisk, MemoryLogStore) {
        let disk = MemoryDisk::default();
        let member = tenantry_types::MemberId::new(1).unwrap();
        let identity = Identity { member, fingerprint: 7 };
        (disk.clone(), MemoryLogStore::open(disk, identity).unwrap())
    }

    /// Seed 1730 of the simulation: a bit turned over in the newest snapshot, then the disk was full for a while.
    #[test]
    fn a_reload_passes_over_a_snapshot_that_has_become_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = SnapshotFolder::open(folder.path(), 7).unwrap();
        let (_, store) = store();
        let mut writer = LogWriter::new(store, snapshots.clone());
        let at = |index| LogPosition { index, term: 1 };
        let hard_state = HardState {
            term: 1,
            vote: 1,
            commit: 6,
        };
        let append = AppendBatch {
            entries: (1..=6).map(|index| entry(index, 1)).collect(),
            hard_state: Some(hard_state),
            members: None,
        };
        let mut steps = vec![WriteStep::Append(append)];
        for index in [3, 5] {
            let header = crate::storage::SnapshotHeader {
                position: at(index),
                members: MembersAt::default(),
                fingerprint: 7,
            };
            snapshots.write(&header, |out| out.write_all(b"state")).unwrap();
            steps.push(WriteStep::Compact {
                snapshot: at(index),
                through: at(index.saturating_sub(2)),
                hard_state,
            });
        }
        for step in steps {
            let job = WriteJob {
                generation: 1,
                ready: None,
                step,
                promises: Vec::new(),
            };
            writer.write([job]).unwrap();
        }
        assert_eq!(writer.reload().unwrap().log.snapshot, at(5));
        let newest = folder.path().join(format!("{:020}-1.snap", 5));
        let mut bytes = std::fs::read(&newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&newest, bytes).unwrap();
        assert_eq!(writer.reload().unwrap().log.snapshot, at(3));
        std::fs::write(folder.path().join(format!("{:020}-1.snap", 3)), b"junk").unwrap();
        assert!(matches!(writer.reload(), Err(ReplicaError::NoSnapshot { from: 3 })));
    }

    proptest! {
        #[test]
        fn batches_in_one_write_or_in_many_leave_the_same_log(
            suffixes in proptest::collection::vec((0_u64..6, 1_usize..5), 1..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let snapshots = SnapshotFolder::open(folder.path(), 7).unwrap();
            let mut last = 0;
            let mut batches = Vec::new();
            for (term, (back, count)) in (1..).zip(&suffixes) {
                let first = last - back.min(&last) + 1;
                last = first + u64::try_from(*count).unwrap() - 1;
                batches.push(AppendBatch {
                    entries: (first..=last).map(|index| entry(index, term)).collect(),
                    hard_state: Some(HardState { term, vote: 1, commit: 0 }),
                    members: None,
                });
            }
            let job = |(ready, batch): (u64, &AppendBatch)| WriteJob {
                generation: 1,
                ready: Some(ready),
                step: WriteStep::Append(batch.clone()),
                promises: Vec::new(),
            };
            let (disk, one) = store();
            let mut one = LogWriter::new(one, snapshots.clone());
            let written = one.write((1..).zip(&batches).map(job)).unwrap();
            prop_assert_eq!((written.jobs, written.ready), (batches.len(), Some(batches.len() as u64)));
            prop_assert_eq!(disk.syncs(), 1);
            let (_, many) = store();
            let mut many = LogWriter::new(many, snapshots);
            for numbered in (1..).zip(&batches) {
                many.write([job(numbered)]).unwrap();
            }
            prop_assert_eq!(one.store.load().unwrap(), many.store.load().unwrap());
        }
    }
}
