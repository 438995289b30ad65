//! The thread that owns a replica: waits for input or the next tick, hands in everything that queued, carries out what
//! comes back, and tells the waiting callers. It never waits for the disk.
//!
//! It never ticks in a burst to make up for a stall, which would shorten the election timeout that others rely on.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tenantry_types::MemberId;
use tokio::sync::watch;

use super::applier::Progress;
use super::change_queue::{ChangeError, ChangeQueue};
use super::error::ReplicaError;
use super::handle::{Control, Input, ProposeError, ProposeReply, ReadError, ReadReply};
use super::orders::{SnapshotWaiters, Transfers};
use super::outlet::Outlet;
use super::output::{OutgoingSnapshot, ProposeRefusal, ReadId, Stepped};
use super::replica::{PeerMessage, Replica};
use super::storage_failure::StorageFailure;
use super::{Health, ProposalId, RaftStatus, Role};
use crate::storage::Members;

/// Inputs taken in one round.
const MAX_ROUND: usize = 4096;
/// Commands of one raft message, in bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Callers that may wait for a read.
const MAX_READS: usize = 16_384;
/// Callers that may wait for a command.
const MAX_PROPOSALS: usize = 16_384;
/// Committed entries that may wait to be applied before further commands are refused.
const MAX_UNAPPLIED: u64 = 65_536;

/// Where a replica's messages go. Must not block.
pub trait Peers: Send + 'static {
    /// Queues a message.
    ///
    /// # Errors
    /// When it was certainly not sent.
    fn send(&mut self, to: MemberId, message: Bytes) -> Result<(), Unreachable>;

    /// Begins to send a snapshot; its end is reported on every path.
    fn send_snapshot(&mut self, snapshot: OutgoingSnapshot);

    /// These are the members from now on.
    fn members_changed(&mut self, _members: &Members) {}
}

/// A message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

/// How the thread behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct DriverConfig {
    pub(super) tick: Duration,
    pub(super) election_ticks: u64,
    pub(super) storage_retry: Duration,
}

pub(super) struct Driver<A, P> {
    pub(super) config: DriverConfig,
    pub(super) replica: Replica,
    pub(super) outlet: Outlet<A, P>,
    pub(super) inbox: Receiver<Input<A>>,
    pub(super) control: Receiver<Control>,
    pub(super) status: watch::Sender<RaftStatus>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) next_proposal: u64,
    pub(super) progress: Progress,
    pub(super) failure: StorageFailure,
    pub(super) transfers: Transfers,
    pub(super) snapshot_waiters: SnapshotWaiters,
    pub(super) ticks: u64,
    pub(super) log_bytes: u64,
    pub(super) stop_deadline_tick: Option<u64>,
    pub(super) changes: ChangeQueue,
}

/// What arrived since the last round.
pub(super) struct Round<A> {
    pub(super) messages: Vec<PeerMessage>,
    pub(super) proposals: Vec<(Bytes, ProposeReply<A>)>,
    pub(super) reads: Vec<ReadReply>,
}

impl<A: Send + 'static, P: Peers> Driver<A, P> {
    /// Runs until asked to stop, or until nobody can ask any more. A panic or a fatal error is reported in the status;
    /// the process should end then, since a member that no longer answers still counts as one.
    pub(super) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let health = match outcome {
            Ok(Ok(())) => Health::Stopped,
            Ok(Err(error)) => Health::Fatal { reason: chain(&error) },
            Err(panic) => Health::Fatal {
                reason: panic_text("raft thread", panic.as_ref()),
            },
        };
        if let Health::Fatal { reason } = &health {
            tracing::error!(reason, "the raft thread has ended; this process must be restarted");
        }
        self.changes.give_up(&ChangeError::Stopped);
        let Self { outlet, status, .. } = self;
        // What was committed is still applied and answered; the store is closed before the status says so, so that the
        // folder can be opened anew.
        let Outlet {
            proposals,
            mut reads,
            workers,
            ..
        } = outlet;
        workers.finish();
        proposals.forget_all();
        for reply in reads.take_all() {
            let _ = reply.send(Err(ReadError::Stopped));
        }
        status.send_modify(|status| status.health = health);
    }

    fn serve(&mut self) -> Result<(), ReplicaError> {
        let mut next_tick = Instant::now() + self.config.tick;
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            let first = match self.inbox.recv_timeout(patience) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let round = self.gather(first);
            let now = Instant::now();
            let tick_due = now >= next_tick;
            if tick_due {
                next_tick += self.config.tick;
                if next_tick <= now {
                    next_tick = now + self.config.tick;
                }
                self.ticks += 1;
                self.outlet.reads.retain(|reply| !reply.is_closed());
            }
            self.obey_all(now)?;
            if self.failure.is_over() {
                self.work(round, tick_due, now)?;
            } else {
                self.turn_away(round);
                self.reload_when_due(now);
            }
            self.publish();
            if self.stopping.load(Ordering::Acquire) && self.may_stop() {
                return Ok(());
            }
        }
    }

    fn gather(&mut self, first: Option<Input<A>>) -> Round<A> {
        let mut round = Round {
            messages: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
        };
        let mut next = first;
        for _ in 0..MAX_ROUND {
            match next {
                Some(Input::Message(bytes)) => match PeerMessage::decode(&bytes) {
                    Ok(message) => round.messages.push(message),
                    Err(reason) => tracing::debug!(reason, "dropped a message"),
                },
                Some(Input::Propose { command, reply }) => round.proposals.push((command, reply)),
                Some(Input::Read { reply }) => round.reads.push(reply),
                Some(Input::Wake) | None => {}
            }
            next = match self.inbox.try_recv() {
                Ok(input) => Some(input),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            };
        }
        drop_superseded(&mut round.messages);
        round
    }

    fn work(&mut self, round: Round<A>, tick_due: bool, now: Instant) -> Result<(), ReplicaError> {
        if tick_due {
            self.replica.tick();
        }
        for message in round.messages {
            if let Stepped::Refused(reason) = self.replica.step_message(message)? {
                tracing::debug!(reason, "dropped a message");
            }
        }
        self.propose(round.proposals);
        for reply in round.reads {
            if self.outlet.reads.len() < MAX_READS {
                self.outlet.reads.push(reply);
            } else {
                let _ = reply.send(Err(ReadError::Busy));
            }
        }
        // Patience of half an election timeout: long enough for an answer, short enough for a caller.
        let patience = self.config.election_ticks / 2;
        if let Some(sequence) = self.outlet.reads.next_question(self.ticks, patience) {
            let origin = self.outlet.proposals.origin;
            self.replica.read_index(ReadId { origin, sequence });
        }
        self.changes.advance(&mut self.replica, self.ticks);
        self.process()?;
        self.transfers.finish(self.replica.leader(), self.ticks);
        if self.failure.notice_stall(self.replica.is_writing(), self.ticks) {
            self.fail("the disk does not answer".to_owned(), now);
        }
        Ok(())
    }

    fn process(&mut self) -> Result<(), ReplicaError> {
        let Self { replica, outlet, .. } = self;
        let outcome = replica.process_ready(&mut |output| outlet.carry_out(output));
        for to in std::mem::take(&mut outlet.unreachable) {
            replica.report_unreachable(to);
        }
        outlet.answer_reads(self.progress.applied);
        outcome
    }

    fn propose(&mut self, proposals: Vec<(Bytes, ProposeReply<A>)>) {
        let handed_over = self.replica.handed_over().get();
        let unapplied = handed_over.saturating_sub(self.progress.applied.get());
        let full = unapplied > MAX_UNAPPLIED || self.outlet.proposals.len() > MAX_PROPOSALS;
        let mut proposals = proposals.into_iter().peekable();
        while proposals.peek().is_some() {
            let mut bytes = 0_usize;
            let mut batch = Vec::new();
            let mut replies = Vec::new();
            while let Some((command, reply)) =
                proposals.next_if(|(command, _)| bytes == 0 || bytes + command.len() <= MAX_BATCH_BYTES)
            {
                bytes += command.len().max(1);
                let id = ProposalId {
                    origin: self.outlet.proposals.origin,
                    sequence: self.next_proposal,
                };
                self.next_proposal += 1;
                batch.push((id, command));
                replies.push((id, reply));
            }
            let ids: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
            self.outlet.proposals.wait(replies);
            let refusal = if full {
                Err(ProposeRefusal::Full)
            } else {
                self.replica.propose(batch)
            };
            if let Err(refusal) = refusal {
                let error = match refusal {
                    ProposeRefusal::NotLeader { leader } => ProposeError::NotLeader { leader },
                    ProposeRefusal::Full => ProposeError::Busy,
                };
                self.outlet.proposals.refuse(ids, &error);
            }
        }
    }

    fn obey_all(&mut self, now: Instant) -> Result<(), ReplicaError> {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::WriteFailed { generation, error } if generation == self.replica.generation => {
                    if !error.is_transient() {
                        return Err(error);
                    }
                    self.fail(chain(&error), now);
                }
                Control::WriteFailed { .. } => {}
                Control::Reloaded(reloaded) => self.resume(reloaded, now)?,
                Control::WorkerFailed(error) => return Err(error),
                Control::Applied(progress) => self.progress = progress,
                other if self.failure.is_over() => self.obey(other)?,
                other => self.refuse(other),
            }
        }
        Ok(())
    }

    /// An order to a member that works.
    fn obey(&mut self, control: Control) -> Result<(), ReplicaError> {
        let Self { replica, outlet, .. } = self;
        match control {
            Control::Written(written, log_bytes) => {
                self.log_bytes = log_bytes;
                self.failure.progress(self.ticks);
                replica.written(written, &mut |output| outlet.carry_out(output));
            }
            Control::ReceivedSnapshot { message, file, reply } => {
                // Everything stepped so far is settled first, so that the file meets its own message.
                self.process()?;
                let stepped = self.replica.step_snapshot(&message, file)?;
                self.process()?;
                let _ = reply.send(match stepped {
                    Stepped::Taken => Ok(()),
                    Stepped::Refused(reason) => Err(reason),
                });
            }
            Control::SnapshotReport { to, outcome } => replica.report_snapshot(to, outcome),
            Control::Unreachable(to) => replica.report_unreachable(to),
            Control::SnapshotWritten(outcome) => {
                let refusal = outcome.as_ref().err().map(|error| chain(error));
                replica.snapshot_written(outcome, &mut |output| outlet.carry_out(output))?;
                self.snapshot_waiters
                    .answer(self.replica.snapshot().index, refusal.as_deref());
            }
            Control::TakeSnapshot { reply } => {
                replica.request_snapshot();
                self.snapshot_waiters.push(replica.handed_over().get(), reply);
                self.snapshot_waiters.answer(replica.snapshot().index, None);
            }
            Control::Transfer { to, reply } => {
                let deadline = self.ticks + 2 * self.config.election_ticks;
                self.transfers.begin(replica, to, deadline, reply);
            }
            Control::ChangeMembers(wanted) => {
                let patience = self.config.election_ticks;
                self.changes.push(wanted, self.config.tick, self.ticks, patience);
            }
            Control::Progress { reply } => drop(reply.send(replica.progress())),
            Control::WriteFailed { .. } | Control::Reloaded(_) | Control::WorkerFailed(_) | Control::Applied(_) => {}
        }
        Ok(())
    }

    /// A leader hands over before it stops, but not for ever.
    fn may_stop(&mut self) -> bool {
        if !self.failure.is_over() || self.replica.role() != Role::Leader {
            return true;
        }
        match (self.stop_deadline_tick, self.replica.successor()) {
            (Some(deadline), _) => self.ticks >= deadline,
            (None, None) => true,
            (None, Some(successor)) => {
                self.replica.transfer_leadership(successor);
                self.stop_deadline_tick = Some(self.ticks + 2 * self.config.election_ticks);
                false
            }
        }
    }

    fn publish(&mut self) {
        let replica = &self.replica;
        let (first_index, last_index) = replica.log_range();
        let (role, leader, health) = match self.failure.reason() {
            None => (replica.role(), replica.leader(), Health::Running),
            Some(reason) => (
                Role::Follower,
                None,
                Health::StorageFailed {
                    reason: reason.to_owned(),
                },
            ),
        };
        let now = RaftStatus {
            member: self.status.borrow().member,
            term: replica.term(),
            role,
            leader,
            commit: replica.commit(),
            applied: self.progress.applied,
            first_index,
            last_index,
            snapshot_index: replica.snapshot().index,
            digest: self.progress.digest,
            log_bytes: self.log_bytes,
            members: Arc::clone(&self.outlet.members),
            health,
        };
        self.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }
}

/// Of several heartbeats of one member only the newest is kept: it says all that the others did.
fn drop_superseded(messages: &mut Vec<PeerMessage>) {
    let mut newer = BTreeSet::new();
    let mut keep: Vec<bool> = messages
        .iter()
        .rev()
        .map(|message| message.superseded_by_newer().is_none_or(|key| newer.insert(key)))
        .collect();
    messages.retain(|_| keep.pop().unwrap_or(true));
}

/// An error with all its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

pub(super) fn panic_text(thread: &str, panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the {thread} panicked: {}", text.unwrap_or("no message"))
}

/// Members that a message could not be sent to, each once.
pub(super) type UnreachablePeers = BTreeSet<MemberId>;
