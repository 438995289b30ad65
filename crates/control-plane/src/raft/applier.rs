//! Feeds committed commands to the state machine: its only owner once a member runs.
//!
//! It never waits for the log and never sends; what it is given is committed and on this member's disk. Restoring a
//! large snapshot takes long, which is why it has a thread of its own.

use bytes::Bytes;
use tenantry_types::Revision;

use super::StateMachine;
use super::codec::ProposalId;
use super::error::ReplicaError;
use crate::storage::{LogPosition, SnapshotError, SnapshotFolder, SnapshotHeader};

/// Something for the state machine.
#[derive(Debug)]
pub enum ApplyJob {
    /// Committed entries, without a gap.
    Entries(Vec<CommittedEntry>),
    /// Replaces the state by a snapshot that is in place.
    Restore {
        /// Which.
        position: LogPosition,
    },
    /// Takes a cut of the state as it is then, for a snapshot.
    Cut {
        /// What the snapshot will say of itself.
        header: Box<SnapshotHeader>,
    },
}

/// A committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its index.
    pub revision: Revision,
    /// Who proposed it.
    pub proposal: Option<ProposalId>,
    /// The command; `None` for an entry that is raft's own business.
    pub command: Option<Bytes>,
}

/// A command was applied.
#[derive(Debug)]
pub struct Applied<A> {
    /// At which revision.
    pub revision: Revision,
    /// Whose it was.
    pub proposal: Option<ProposalId>,
    /// What the state machine said.
    pub answer: A,
}

/// How far the state has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last revision applied.
    pub applied: Revision,
    /// Hash of the state at that revision.
    pub digest: u64,
}

/// A consistent copy of the state, to be written by whoever has the time.
pub struct SnapshotJob<M: StateMachine> {
    cut: M::Cut,
    header: SnapshotHeader,
    folder: SnapshotFolder,
}

impl<M: StateMachine> SnapshotJob<M> {
    /// Writes the file durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn run(self) -> Result<SnapshotHeader, SnapshotError> {
        self.folder
            .write(&self.header, |out| M::write_snapshot(&self.cut, out))?;
        Ok(self.header)
    }
}

/// Owns a state machine and brings it up to what is committed.
#[derive(Debug)]
pub struct Applier<M> {
    machine: M,
    snapshots: SnapshotFolder,
    progress: Progress,
}

impl<M: StateMachine> Applier<M> {
    /// `machine` holds the state at `applied`.
    pub(super) fn new(machine: M, snapshots: SnapshotFolder, applied: Revision) -> Self {
        let progress = Progress {
            applied,
            digest: machine.digest(),
        };
        Self {
            machine,
            snapshots,
            progress,
        }
    }

    /// Does one job. Answers are given after the new state is published: whoever is answered must find what it was told.
    ///
    /// # Errors
    /// For a command that this version does not know, and for a snapshot that cannot be taken over. The applier must
    /// not be used afterwards.
    pub fn run(
        &mut self,
        job: ApplyJob,
        answer: &mut dyn FnMut(Applied<M::Answer>),
    ) -> Result<Option<SnapshotJob<M>>, ReplicaError> {
        match job {
            ApplyJob::Entries(entries) => self.apply(entries, answer)?,
            ApplyJob::Restore { position } => self.restore(position)?,
            ApplyJob::Cut { header } => {
                return Ok(Some(SnapshotJob {
                    cut: self.machine.cut(),
                    header: *header,
                    folder: self.snapshots.clone(),
                }));
            }
        }
        Ok(None)
    }

    fn apply(
        &mut self,
        entries: Vec<CommittedEntry>,
        answer: &mut dyn FnMut(Applied<M::Answer>),
    ) -> Result<(), ReplicaError> {
        let Some(last) = entries.last().map(|entry| entry.revision) else {
            return Ok(());
        };
        let mut answers = Vec::with_capacity(entries.len());
        for CommittedEntry {
            revision,
            proposal,
            command,
        } in entries
        {
            let Some(command) = command else { continue };
            let outcome = self
                .machine
                .apply(revision, &command)
                .map_err(|source| ReplicaError::Apply { revision, source })?;
            answers.push(Applied {
                revision,
                proposal,
                answer: outcome,
            });
        }
        self.publish(last);
        answers.into_iter().for_each(answer);
        Ok(())
    }

    fn restore(&mut self, position: LogPosition) -> Result<(), ReplicaError> {
        let (_, mut reader) = self.snapshots.read(position)?;
        self.machine
            .restore(&mut reader)
            .map_err(|source| ReplicaError::Restore { position, source })?;
        self.publish(Revision(position.index));
        Ok(())
    }

    fn publish(&mut self, applied: Revision) {
        self.machine.applied(applied);
        self.progress = Progress {
            applied,
            digest: self.machine.digest(),
        };
    }

    /// How far the state has got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The state machine, to look at.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }
}
