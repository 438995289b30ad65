//! What a member does while its disk does not work: it takes no part, answers nobody, and tries again.

use std::collections::BTreeMap;
use std::time::Instant;

use super::change_queue::ChangeError;
use super::driver::{Driver, Peers, chain};
use super::error::ReplicaError;
use super::handle::{Control, ControlError, ProposeError, ReadError};
use super::log_writer::Reloaded;
use super::workers::WriteOrder;

/// Whether the disk works, and since when it has been silent.
#[derive(Debug)]
pub(super) struct StorageFailure {
    /// A write that takes longer, in ticks, is as bad as one that failed: nobody may wait for this member's disk for ever.
    stall_ticks: u64,
    last_progress: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Works,
    Failed { reason: String, next: Next },
}

#[derive(Debug, Clone, Copy)]
enum Next {
    ReloadAt(Instant),
    /// The writing thread has been asked.
    Reloading,
}

impl StorageFailure {
    pub(super) fn none(stall_ticks: u64) -> Self {
        Self {
            stall_ticks,
            last_progress: 0,
            state: State::Works,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Works)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Works => None,
            State::Failed { reason, .. } => Some(reason),
        }
    }

    pub(super) fn progress(&mut self, tick: u64) {
        self.last_progress = tick;
    }

    /// Whether a write has been under way for too long.
    pub(super) fn notice_stall(&mut self, writing: bool, tick: u64) -> bool {
        if !writing {
            self.last_progress = tick;
        }
        tick.saturating_sub(self.last_progress) > self.stall_ticks
    }
}

impl<A: Send + 'static, P: Peers> Driver<A, P> {
    pub(super) fn fail(&mut self, reason: String, now: Instant) {
        tracing::error!(
            reason,
            "the disk failed; this member takes no part until it works again"
        );
        self.outlet.proposals.forget_all();
        self.changes.give_up(&ChangeError::Unavailable);
        for reply in self.outlet.reads.take_all() {
            let reason = reason.clone();
            let _ = reply.send(Err(ReadError::Unavailable { reason }));
        }
        self.failure.state = State::Failed {
            reason,
            next: Next::ReloadAt(now + self.config.storage_retry),
        };
    }

    pub(super) fn reload_when_due(&mut self, now: Instant) {
        if let State::Failed { next, .. } = &mut self.failure.state
            && matches!(next, Next::ReloadAt(at) if now >= *at)
        {
            *next = Next::Reloading;
            // A thread that is gone has said why.
            let _ = self.outlet.workers.writes.send(WriteOrder::Reload);
        }
    }

    pub(super) fn resume(
        &mut self,
        reloaded: Result<Reloaded, ReplicaError>,
        now: Instant,
    ) -> Result<(), ReplicaError> {
        match reloaded {
            Ok(reloaded) => {
                let Self { replica, outlet, .. } = self;
                replica.rebuild(reloaded, &mut |output| outlet.carry_out(output))?;
                tracing::info!("the disk works again; rebuilt from it");
                self.failure.state = State::Works;
                self.failure.progress(self.ticks);
                Ok(())
            }
            Err(error) if error.is_transient() => {
                self.failure.state = State::Failed {
                    reason: chain(&error),
                    next: Next::ReloadAt(now + self.config.storage_retry),
                };
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Turns away whoever asks meanwhile.
    pub(super) fn turn_away(&self, round: super::driver::Round<A>) {
        let reason = || self.failure.reason().unwrap_or_default().to_owned();
        for (_, reply) in round.proposals {
            let _ = reply.send(Err(ProposeError::Unavailable { reason: reason() }));
        }
        for reply in round.reads {
            let _ = reply.send(Err(ReadError::Unavailable { reason: reason() }));
        }
    }

    /// An order that cannot be carried out meanwhile.
    pub(super) fn refuse(&mut self, control: Control) {
        let reason = self.failure.reason().unwrap_or_default().to_owned();
        match control {
            Control::SnapshotWritten(_) => {
                self.replica.discard_snapshot();
                self.snapshot_waiters.answer(0, Some(&reason));
            }
            Control::ReceivedSnapshot { reply, .. } => {
                let _ = reply.send(Err("the disk failed"));
            }
            Control::TakeSnapshot { reply } => {
                let _ = reply.send(Err(ControlError::Unavailable { reason }));
            }
            Control::Transfer { reply, .. } => {
                let _ = reply.send(Err(ControlError::NotLeader { leader: None }));
            }
            Control::ChangeMembers(wanted) => drop(wanted.reply.send(Err(ChangeError::Unavailable))),
            Control::Progress { reply } => drop(reply.send(BTreeMap::new())),
            // The rebuilt node will know nothing of these.
            Control::SnapshotReport { .. }
            | Control::Unreachable(_)
            | Control::Written(..)
            | Control::WriteFailed { .. }
            | Control::Reloaded(_)
            | Control::WorkerFailed(_)
            | Control::Applied(_) => {}
        }
    }
}
