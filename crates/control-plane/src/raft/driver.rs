//! The thread that owns a replica: waits for input or the next tick, hands in everything that queued, carries out what
//! comes back, and tells the waiting callers.
//!
//! Everything that queued during one flush goes into the next: that is the group commit. It never ticks in a burst to
//! make up for a stall, which would shorten the election timeout that others rely on.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tenantry_types::{MemberId, Revision};
use tokio::sync::{oneshot, watch};

use super::change_queue::{ChangeError, ChangeQueue};
use super::handle::{Control, ControlError, Input, ProposeError, ProposeReply, ReadError, ReadReply};
use super::outlet::Outlet;
use super::replica::{OutgoingSnapshot, ProposeRefusal, ReadId, Replica, ReplicaError, Stepped};
use super::{Health, ProposalId, RaftStatus, Role, StateMachine};
use crate::storage::{LogStore, Members, MembersAt};

/// Inputs taken between two flushes.
const MAX_ROUND: usize = 4096;
/// Commands of one raft message, in bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Callers that may wait for a read.
const MAX_READS: usize = 16_384;

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

pub(super) struct Driver<L, M: StateMachine, P> {
    pub(super) config: DriverConfig,
    pub(super) replica: Replica<L, M>,
    pub(super) outlet: Outlet<M, P>,
    pub(super) inbox: Receiver<Input<M::Answer>>,
    pub(super) control: Receiver<Control>,
    pub(super) status: watch::Sender<RaftStatus>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) failed: Option<Failure>,
    pub(super) transfers: Vec<Transfer>,
    pub(super) snapshot_waiters: Vec<(u64, oneshot::Sender<Result<Revision, ControlError>>)>,
    pub(super) ticks: u64,
    pub(super) log_bytes: u64,
    pub(super) stop_deadline_tick: Option<u64>,
    pub(super) changes: ChangeQueue,
    pub(super) members: Arc<MembersAt>,
}

/// The disk does not work at the moment.
pub(super) struct Failure {
    reason: String,
    retry_at: Instant,
}

pub(super) struct Transfer {
    to: MemberId,
    deadline_tick: u64,
    reply: oneshot::Sender<Result<(), ControlError>>,
}

/// What arrived since the last flush.
struct Round<A> {
    messages: Vec<Bytes>,
    proposals: Vec<(Bytes, ProposeReply<A>)>,
    reads: Vec<ReadReply>,
}

impl<L: LogStore, M: StateMachine, P: Peers> Driver<L, M, P> {
    /// Runs until asked to stop, or until nobody can ask any more. A panic or a fatal error is reported in the status;
    /// the process should end then, since a member that no longer answers still counts as one.
    pub(super) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let health = match outcome {
            Ok(Ok(())) => Health::Stopped,
            Ok(Err(error)) => Health::Fatal { reason: chain(&error) },
            Err(panic) => Health::Fatal {
                reason: panic_text(panic.as_ref()),
            },
        };
        if let Health::Fatal { reason } = &health {
            tracing::error!(reason, "the raft thread has ended; this process must be restarted");
        }
        for reply in self.outlet.take_proposals() {
            let _ = reply.send(Err(ProposeError::OutcomeUnknown));
        }
        for reply in self.outlet.reads.take_all() {
            let _ = reply.send(Err(ReadError::Stopped));
        }
        self.changes.give_up(&ChangeError::Stopped);
        self.outlet.join_snapshot_thread();
        // The store is closed before the status says so, so that the folder can be opened anew.
        let Self { replica, status, .. } = self;
        drop(replica);
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
            if self.try_recover(now)? {
                match self.work(round, tick_due) {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => self.fail(&error, now),
                    Err(error) => return Err(error),
                }
            } else {
                self.turn_away(round);
            }
            self.publish();
            if self.stopping.load(Ordering::Acquire) && self.may_stop() {
                return Ok(());
            }
        }
    }

    fn gather(&mut self, first: Option<Input<M::Answer>>) -> Round<M::Answer> {
        let mut round = Round {
            messages: Vec::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
        };
        let mut next = first;
        for _ in 0..MAX_ROUND {
            match next {
                Some(Input::Message(bytes)) => round.messages.push(bytes),
                Some(Input::Propose { command, reply }) => round.proposals.push((command, reply)),
                Some(Input::Read { reply }) => round.reads.push(reply),
                Some(Input::Wake) | None => {}
            }
            next = match self.inbox.try_recv() {
                Ok(input) => Some(input),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            };
        }
        round
    }

    fn work(&mut self, round: Round<M::Answer>, tick_due: bool) -> Result<(), ReplicaError> {
        if tick_due {
            self.replica.tick();
        }
        for message in &round.messages {
            if let Stepped::Refused(reason) = self.replica.step(message)? {
                tracing::debug!(reason, "dropped a message");
            }
        }
        while let Ok(control) = self.control.try_recv() {
            self.obey(control)?;
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
        if let Some(sequence) = self
            .outlet
            .reads
            .next_question(self.ticks, self.config.election_ticks / 2)
        {
            let origin = self.outlet.origin;
            self.replica.read_index(ReadId { origin, sequence });
        }
        self.process()?;
        self.finish_transfers();
        self.changes.advance(&mut self.replica, self.ticks);
        self.process()
    }

    fn process(&mut self) -> Result<(), ReplicaError> {
        let Self { replica, outlet, .. } = self;
        let outcome = replica.process_ready(&mut |output| outlet.carry_out(output));
        for to in std::mem::take(&mut outlet.unreachable) {
            replica.report_unreachable(to);
        }
        outlet.answer_reads(replica.applied());
        outcome
    }

    fn propose(&mut self, proposals: Vec<(Bytes, ProposeReply<M::Answer>)>) {
        let mut proposals = proposals.into_iter().peekable();
        while proposals.peek().is_some() {
            let mut bytes = 0_usize;
            let mut batch = Vec::new();
            let mut replies = Vec::new();
            while let Some((command, reply)) =
                proposals.next_if(|(command, _)| bytes == 0 || bytes + command.len() <= MAX_BATCH_BYTES)
            {
                bytes += command.len().max(1);
                let id = self.outlet.next_proposal();
                batch.push((id, command));
                replies.push((id, reply));
            }
            match self.replica.propose(batch) {
                Ok(()) => self.outlet.await_proposals(replies),
                Err(refusal) => refuse(replies, refusal),
            }
        }
    }

    fn obey(&mut self, control: Control) -> Result<(), ReplicaError> {
        match control {
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
            Control::SnapshotReport { to, outcome } => self.replica.report_snapshot(to, outcome),
            Control::Unreachable(to) => self.replica.report_unreachable(to),
            Control::SnapshotWritten(outcome) => {
                self.outlet.join_snapshot_thread();
                let refusal = outcome.as_ref().err().map(|error| chain(error));
                self.replica.snapshot_written(outcome)?;
                self.log_bytes = self.replica.log_bytes();
                self.answer_snapshot_waiters(refusal.as_deref());
            }
            Control::TakeSnapshot { reply } => {
                self.replica.request_snapshot();
                self.snapshot_waiters.push((self.replica.applied().get(), reply));
                self.answer_snapshot_waiters(None);
            }
            Control::Transfer { to, reply } => self.begin_transfer(to, reply),
            Control::ChangeMembers(wanted) => {
                let patience = self.config.election_ticks;
                self.changes.push(wanted, self.config.tick, self.ticks, patience);
            }
            Control::Progress { reply } => drop(reply.send(self.replica.progress())),
        }
        Ok(())
    }

    fn answer_snapshot_waiters(&mut self, refusal: Option<&str>) {
        let newest = self.replica.snapshot().index;
        for (wanted, reply) in std::mem::take(&mut self.snapshot_waiters) {
            if newest >= wanted {
                let _ = reply.send(Ok(Revision(newest)));
            } else if let Some(reason) = refusal {
                let reason = reason.to_owned();
                let _ = reply.send(Err(ControlError::Unavailable { reason }));
            } else {
                self.snapshot_waiters.push((wanted, reply));
            }
        }
    }

    fn begin_transfer(&mut self, to: MemberId, reply: oneshot::Sender<Result<(), ControlError>>) {
        if self.replica.role() != Role::Leader {
            let leader = self.replica.leader();
            let _ = reply.send(Err(ControlError::NotLeader { leader }));
        } else if !self.replica.members().voters.contains(&to) {
            let _ = reply.send(Err(ControlError::NotVoter { member: to }));
        } else {
            self.replica.transfer_leadership(to);
            let deadline_tick = self.ticks + 2 * self.config.election_ticks;
            self.transfers.push(Transfer {
                to,
                deadline_tick,
                reply,
            });
        }
    }

    fn finish_transfers(&mut self) {
        let leader = self.replica.leader();
        for transfer in std::mem::take(&mut self.transfers) {
            if leader == Some(transfer.to) {
                let _ = transfer.reply.send(Ok(()));
            } else if self.ticks >= transfer.deadline_tick {
                let _ = transfer.reply.send(Err(ControlError::TimedOut));
            } else {
                self.transfers.push(transfer);
            }
        }
    }

    /// A leader hands over before it stops, but not for ever.
    fn may_stop(&mut self) -> bool {
        if self.failed.is_some() || self.replica.role() != Role::Leader {
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

    fn fail(&mut self, error: &ReplicaError, now: Instant) {
        let reason = chain(error);
        self.changes.give_up(&ChangeError::Unavailable);
        tracing::error!(
            reason,
            "the disk failed; this member takes no part until it works again"
        );
        for reply in self.outlet.take_proposals() {
            let _ = reply.send(Err(ProposeError::OutcomeUnknown));
        }
        for reply in self.outlet.reads.take_all() {
            let reason = reason.clone();
            let _ = reply.send(Err(ReadError::Unavailable { reason }));
        }
        self.failed = Some(Failure {
            reason,
            retry_at: now + self.config.storage_retry,
        });
    }

    /// Whether the member works; tries to make it so when it is time.
    fn try_recover(&mut self, now: Instant) -> Result<bool, ReplicaError> {
        let Some(failure) = &mut self.failed else {
            return Ok(true);
        };
        if now < failure.retry_at {
            return Ok(false);
        }
        match self.replica.rebuild() {
            Ok(()) => {
                tracing::info!("the disk works again; rebuilt from it");
                self.failed = None;
                Ok(true)
            }
            Err(error) if error.is_transient() => {
                failure.reason = chain(&error);
                failure.retry_at = now + self.config.storage_retry;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn turn_away(&mut self, round: Round<M::Answer>) {
        let reason = || {
            let failure = self.failed.as_ref();
            failure.map_or_else(String::new, |failure| failure.reason.clone())
        };
        for (_, reply) in round.proposals {
            let _ = reply.send(Err(ProposeError::Unavailable { reason: reason() }));
        }
        for reply in round.reads {
            let _ = reply.send(Err(ReadError::Unavailable { reason: reason() }));
        }
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::SnapshotWritten(_) => {
                    self.outlet.join_snapshot_thread();
                    self.replica.discard_snapshot();
                }
                Control::ReceivedSnapshot { reply, .. } => {
                    let _ = reply.send(Err("the disk failed"));
                }
                Control::TakeSnapshot { reply } => {
                    let _ = reply.send(Err(ControlError::Unavailable { reason: reason() }));
                }
                Control::Transfer { reply, .. } => {
                    let _ = reply.send(Err(ControlError::NotLeader { leader: None }));
                }
                Control::ChangeMembers(wanted) => drop(wanted.reply.send(Err(ChangeError::Unavailable))),
                // The rebuilt node will know nothing of these.
                Control::Progress { .. } | Control::SnapshotReport { .. } | Control::Unreachable(_) => {}
            }
        }
    }

    fn publish(&mut self) {
        let replica = &self.replica;
        if *self.members != *replica.members_at() {
            self.members = Arc::new(replica.members_at().clone());
            self.outlet.peers.members_changed(&self.members.members);
        }
        let (first_index, last_index) = replica.log_range();
        let (role, leader, health) = match &self.failed {
            None => (replica.role(), replica.leader(), Health::Running),
            Some(failure) => {
                let reason = failure.reason.clone();
                (Role::Follower, None, Health::StorageFailed { reason })
            }
        };
        let now = RaftStatus {
            member: self.status.borrow().member,
            term: replica.term(),
            role,
            leader,
            commit: replica.commit(),
            applied: replica.applied(),
            first_index,
            last_index,
            snapshot_index: replica.snapshot().index,
            digest: replica.digest(),
            log_bytes: self.log_bytes,
            members: Arc::clone(&self.members),
            health,
        };
        self.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }
}

fn refuse<A>(replies: Vec<(ProposalId, ProposeReply<A>)>, refusal: ProposeRefusal) {
    for (_, reply) in replies {
        let _ = reply.send(Err(match refusal {
            ProposeRefusal::NotLeader { leader } => ProposeError::NotLeader { leader },
            ProposeRefusal::Full => ProposeError::Busy,
        }));
    }
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

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the raft thread panicked: {}", text.unwrap_or("no message"))
}

/// Members that a message could not be sent to, each once.
pub(super) type UnreachablePeers = BTreeSet<MemberId>;
