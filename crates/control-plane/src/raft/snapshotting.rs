//! When the next snapshot is due, and what the log may forget after it.

use super::applier::ApplyJob;
use super::error::ReplicaError;
use super::log_writer::WriteStep;
use super::output::Output;
use super::replica::Replica;
use crate::mutants::{Mutant, mutated};
use crate::storage::{LogPosition, SnapshotError, SnapshotHeader};

/// Ticks to wait after a snapshot could not be written.
const RETRY_TICKS: u64 = 200;

/// A replica's knowledge of its snapshots.
#[derive(Debug, Default)]
pub(super) struct Snapshotting {
    ticks: u64,
    running: bool,
    requested: bool,
    not_before: u64,
    applied_bytes: u64,
}

impl Snapshotting {
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
    }

    pub(super) fn count(&mut self, command_bytes: usize) {
        let bytes = u64::try_from(command_bytes).unwrap_or(u64::MAX);
        self.applied_bytes = self.applied_bytes.saturating_add(bytes);
    }

    /// The log begins anew at a snapshot from elsewhere.
    pub(super) fn installed(&mut self) {
        self.applied_bytes = 0;
    }

    /// Nothing will come of the one that is being written.
    pub(super) fn discard(&mut self) {
        self.running = false;
    }
}

impl Replica {
    /// Asks for a snapshot as soon as there is something new to snapshot. The newest one will do if there is not.
    pub fn request_snapshot(&mut self) {
        self.snapshotting.requested = true;
        self.snapshotting.not_before = 0;
    }

    pub(super) fn start_due_snapshot(&mut self, out: &mut dyn FnMut(Output)) {
        let view = self.node.store();
        let wanted = view.take_wanted();
        let state = &mut self.snapshotting;
        state.requested |= wanted;
        let since = self.handed_over.saturating_sub(view.snapshot_position().index);
        let due = state.requested
            || since >= self.config.snapshot_every
            || state.applied_bytes >= self.config.snapshot_every_bytes;
        // Replayed entries may precede the newest members: a snapshot must not claim members of its future.
        if since == 0 || self.handed_over < view.members().index {
            state.requested &= since != 0;
            return;
        }
        if !due || state.running || state.ticks < state.not_before || self.installing.is_some() {
            return;
        }
        let Some(mut position) = view.position(self.handed_over) else {
            return;
        };
        if mutated(Mutant::SnapshotTermWrong) {
            position.term = self.node.raft.term;
        }
        state.running = true;
        state.requested = false;
        state.applied_bytes = 0;
        let header = SnapshotHeader {
            position,
            members: view.members().clone(),
            fingerprint: self.config.fingerprint,
        };
        out(Output::Apply(ApplyJob::Cut {
            header: Box::new(header),
        }));
    }

    /// Moves the marker to a written snapshot and lets the log forget what lies far enough behind it. A snapshot that
    /// could not be written is tried again later.
    ///
    /// # Errors
    /// When the log does not hold what it should.
    pub fn snapshot_written(
        &mut self,
        outcome: Result<SnapshotHeader, SnapshotError>,
        out: &mut dyn FnMut(Output),
    ) -> Result<(), ReplicaError> {
        self.snapshotting.running = false;
        let header = match outcome {
            Ok(header) => header,
            Err(error) => {
                if mutated(Mutant::UnwrittenSnapshotIsFatal) {
                    return Err(ReplicaError::Raft(error.to_string()));
                }
                self.snapshotting.not_before = self.snapshotting.ticks + RETRY_TICKS;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no snapshot written, will try again"
                );
                return Ok(());
            }
        };
        if header.position <= self.snapshot() || self.installing.is_some() {
            return Ok(());
        }
        let through = self.forgettable(header.position)?;
        let view = self.node.mut_store();
        view.compact(header.position, header.members.members, through);
        let hard_state = view.hard_state();
        let step = WriteStep::Compact {
            snapshot: header.position,
            through,
            hard_state,
        };
        self.write(None, step, Vec::new(), out);
        Ok(())
    }

    /// While the disk is failed, a snapshot's result cannot be used; the next one covers it.
    pub fn discard_snapshot(&mut self) {
        self.snapshotting.discard();
    }

    /// The last entry that nobody needs any more: not a lagging follower, not one that is being sent a snapshot, and
    /// not ourselves, should the newest snapshot turn out unreadable and the one before it be used.
    fn forgettable(&self, snapshot: LogPosition) -> Result<LogPosition, ReplicaError> {
        let view = self.node.store();
        if mutated(Mutant::CompactsBeyondSnapshot) {
            return view
                .position(view.last())
                .ok_or_else(|| ReplicaError::Raft("the log is empty".to_owned()));
        }
        let through = snapshot
            .index
            .saturating_sub(self.config.log_keep)
            .min(view.snapshot_position().index)
            .min(self.in_flight.values().copied().min().unwrap_or(u64::MAX))
            .max(view.first().saturating_sub(1));
        view.position(through)
            .ok_or_else(|| ReplicaError::Raft(format!("the log does not hold entry {through}")))
    }
}
