//! Carries out what a replica asks for: sends, answers callers, starts the snapshot thread.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tenantry_types::Revision;

use super::driver::{Peers, UnreachablePeers};
use super::handle::{Control, ControlSender, ProposeError, ProposeReply, ReadReply};
use super::pending::PendingReads;
use super::replica::Output;
use super::{ProposalId, Role, SnapshotJob, StateMachine};
use crate::storage::SnapshotError;

pub(super) struct Outlet<M: StateMachine, P> {
    pub(super) origin: u64,
    pub(super) peers: P,
    pub(super) reads: PendingReads<ReadReply>,
    pub(super) unreachable: UnreachablePeers,
    control: ControlSender,
    proposals: BTreeMap<u64, ProposeReply<M::Answer>>,
    next_sequence: u64,
    leading_term: Option<u64>,
    snapshot_thread: Option<JoinHandle<()>>,
}

impl<M: StateMachine, P: Peers> Outlet<M, P> {
    pub(super) fn new(origin: u64, peers: P, control: ControlSender) -> Self {
        Self {
            origin,
            peers,
            reads: PendingReads::default(),
            unreachable: UnreachablePeers::new(),
            control,
            proposals: BTreeMap::new(),
            next_sequence: 1,
            leading_term: None,
            snapshot_thread: None,
        }
    }

    pub(super) fn carry_out(&mut self, output: Output<M>) {
        match output {
            Output::Message { to, bytes } => {
                if self.peers.send(to, bytes).is_err() {
                    self.unreachable.insert(to);
                }
            }
            Output::Snapshot(snapshot) => self.peers.send_snapshot(snapshot),
            Output::Applied {
                revision,
                proposal,
                answer,
            } => {
                let own = proposal.filter(|id| id.origin == self.origin);
                if let Some(reply) = own.and_then(|id| self.proposals.remove(&id.sequence)) {
                    let _ = reply.send(Ok((revision, answer)));
                }
            }
            Output::Read { id, index } => {
                if id.origin == self.origin {
                    self.reads.answer(id.sequence, index.get());
                }
            }
            Output::Role { role, term, .. } => self.change_role(role, term),
            Output::SnapshotDue(job) => self.start_snapshot(job),
        }
    }

    /// What was proposed in an earlier leadership may or may not be committed by the next leader.
    fn change_role(&mut self, role: Role, term: u64) {
        let leading = (role == Role::Leader).then_some(term);
        if leading != self.leading_term {
            self.leading_term = leading;
            for reply in self.take_proposals() {
                let _ = reply.send(Err(ProposeError::OutcomeUnknown));
            }
        }
        self.reads.ask_again();
    }

    pub(super) fn next_proposal(&mut self) -> ProposalId {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        ProposalId {
            origin: self.origin,
            sequence,
        }
    }

    pub(super) fn await_proposals(&mut self, replies: Vec<(ProposalId, ProposeReply<M::Answer>)>) {
        let replies = replies.into_iter().map(|(id, reply)| (id.sequence, reply));
        self.proposals.extend(replies);
    }

    pub(super) fn take_proposals(&mut self) -> Vec<ProposeReply<M::Answer>> {
        std::mem::take(&mut self.proposals).into_values().collect()
    }

    pub(super) fn answer_reads(&mut self, applied: Revision) {
        for reply in self.reads.take_ready(applied.get()) {
            let _ = reply.send(Ok(applied));
        }
    }

    fn start_snapshot(&mut self, job: SnapshotJob<M>) {
        let control = self.control.clone();
        let work = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| job.run()));
            control.send(Control::SnapshotWritten(outcome.unwrap_or_else(|_| {
                Err(not_written(io::Error::other("writing the snapshot panicked")))
            })));
        };
        match std::thread::Builder::new().name("raft-snapshot".into()).spawn(work) {
            Ok(thread) => self.snapshot_thread = Some(thread),
            Err(error) => self.control.send(Control::SnapshotWritten(Err(not_written(error)))),
        }
    }

    pub(super) fn join_snapshot_thread(&mut self) {
        if let Some(thread) = self.snapshot_thread.take() {
            // Its panics were caught and reported already.
            let _ = thread.join();
        }
    }
}

fn not_written(source: io::Error) -> SnapshotError {
    SnapshotError::Io {
        doing: "write a snapshot",
        source,
    }
}
