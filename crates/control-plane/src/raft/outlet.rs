//! Carries out what a replica asks for: hands jobs to the threads, sends messages, notes answers for those who read.

use std::sync::Arc;

use tenantry_types::Revision;

use super::Role;
use super::driver::{Peers, UnreachablePeers};
use super::handle::ReadReply;
use super::output::Output;
use super::pending::PendingReads;
use super::proposals::Proposals;
use super::workers::{Workers, WriteOrder};
use crate::storage::MembersAt;

pub(super) struct Outlet<A, P> {
    pub(super) peers: P,
    pub(super) proposals: Proposals<A>,
    pub(super) reads: PendingReads<ReadReply>,
    pub(super) unreachable: UnreachablePeers,
    pub(super) workers: Workers,
    pub(super) members: Arc<MembersAt>,
    leading_term: Option<u64>,
}

impl<A, P: Peers> Outlet<A, P> {
    pub(super) fn new(peers: P, members: Arc<MembersAt>, proposals: Proposals<A>, workers: Workers) -> Self {
        Self {
            peers,
            proposals,
            reads: PendingReads::default(),
            unreachable: UnreachablePeers::new(),
            workers,
            members,
            leading_term: None,
        }
    }

    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Message { to, bytes } => {
                if self.peers.send(to, bytes).is_err() {
                    self.unreachable.insert(to);
                }
            }
            Output::Snapshot(snapshot) => self.peers.send_snapshot(snapshot),
            // A thread that is gone has said why: the driver ends when it hears it.
            Output::Write(job) => drop(self.workers.writes.send(WriteOrder::Write(Box::new(job)))),
            Output::Apply(job) => drop(self.workers.applies.send(job)),
            Output::Read { id, index } => {
                if id.origin == self.proposals.origin {
                    self.reads.answer(id.sequence, index.get());
                }
            }
            Output::Role { role, term, .. } => self.change_role(role, term),
            Output::Members(members) => {
                self.peers.members_changed(&members.members);
                self.members = Arc::new(members);
            }
        }
    }

    /// What was proposed in an earlier leadership may or may not be committed by the next leader.
    fn change_role(&mut self, role: Role, term: u64) {
        let leading = (role == Role::Leader).then_some(term);
        if leading != self.leading_term {
            self.leading_term = leading;
            self.proposals.forget_all();
        }
        self.reads.ask_again();
    }

    pub(super) fn answer_reads(&mut self, applied: Revision) {
        for reply in self.reads.take_ready(applied.get()) {
            let _ = reply.send(Ok(applied));
        }
    }
}
