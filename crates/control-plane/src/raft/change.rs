//! Changes of the members in the life of a replica: proposing one, and taking one from the log.
//!
//! What is sound is decided in `membership`. Here it meets raft-rs and the disk.

use std::collections::{BTreeMap, BTreeSet};

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry};
use tenantry_types::MemberId;

use super::Role;
use super::error::ReplicaError;
use super::log_writer::WriteStep;
use super::membership::{Caution, ChangeRefused, LeaderView, MemberChange, MemberProgress, after, propose};
use super::output::Output;
use super::replica::Replica;
use crate::storage::{AppendBatch, MembersAt};

/// When each member was last heard of, in ticks of this replica's life.
#[derive(Debug, Default)]
pub(super) struct Heard {
    ticks: u64,
    last: BTreeMap<u64, u64>,
}

impl Heard {
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
    }

    pub(super) fn note(&mut self, member: u64) {
        self.last.insert(member, self.ticks);
    }

    fn within(&self, member: u64, ticks: u64) -> bool {
        self.last.get(&member).is_some_and(|at| self.ticks - at < ticks)
    }
}

/// Where a change stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposedChange {
    index: u64,
    term: u64,
}

/// What became of a proposed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeFate {
    /// Not known yet.
    Open,
    /// It was made.
    Made,
    /// It was not, and will not be.
    Dropped,
    /// It cannot be known here any more.
    Unknown,
}

/// Why a change was not proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeChangeError {
    /// Another member leads, or none.
    #[error("this member does not lead")]
    NotLeader,
    /// It must not be made, or not now.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
}

impl Replica {
    /// Proposes a change of the members; `None` when everything is so already.
    ///
    /// # Errors
    /// When it was certainly not proposed.
    pub fn propose_change(
        &mut self,
        change: &MemberChange,
        caution: Caution,
    ) -> Result<Option<ProposedChange>, ProposeChangeError> {
        let Some(entry) = self.check_change(change, caution)? else {
            return Ok(None);
        };
        self.node
            .propose_conf_change(Vec::new(), entry)
            .map_err(|_| ProposeChangeError::NotLeader)?;
        Ok(Some(ProposedChange {
            index: self.node.raft.raft_log.last_index(),
            term: self.node.raft.term,
        }))
    }

    /// As [`propose_change`](Self::propose_change), without proposing anything.
    ///
    /// # Errors
    /// When it would not be proposed.
    pub fn may_change(&self, change: &MemberChange, caution: Caution) -> Result<(), ProposeChangeError> {
        self.check_change(change, caution).map(drop)
    }

    fn check_change(
        &self,
        change: &MemberChange,
        caution: Caution,
    ) -> Result<Option<ConfChangeV2>, ProposeChangeError> {
        let raft = &self.node.raft;
        if self.role() != Role::Leader || raft.lead_transferee.is_some() {
            return Err(ProposeChangeError::NotLeader);
        }
        let view = LeaderView {
            leader: self.config.member,
            last_index: raft.raft_log.last_index(),
            change_pending: raft.has_pending_conf(),
            members: self.members(),
            progress: |member| self.progress_of(member),
        };
        Ok(propose(&view, change, caution)?)
    }

    /// How far each member is, as the leader knows it; empty on others.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<MemberId, MemberProgress> {
        if self.role() != Role::Leader {
            return BTreeMap::new();
        }
        let of = |member| self.progress_of(member).map(|progress| (member, progress));
        self.members().all().filter_map(of).collect()
    }

    fn progress_of(&self, member: MemberId) -> Option<MemberProgress> {
        let matched = self.node.raft.prs().get(member.get())?.matched;
        let patience = u64::try_from(self.config.election_ticks).unwrap_or(u64::MAX);
        let active = member == self.config.member || self.heard.within(member.get(), patience);
        Some(MemberProgress { matched, active })
    }

    /// What became of a change that was proposed here.
    #[must_use]
    pub fn fate(&self, change: ProposedChange) -> ChangeFate {
        if self.handed_over < change.index {
            return ChangeFate::Open;
        }
        let at = self.members_at();
        match self.node.store().position(change.index) {
            Some(position) if position.term != change.term => ChangeFate::Dropped,
            // raft-rs empties the entry of a change that it does not like.
            Some(_) if at.index < change.index => ChangeFate::Dropped,
            // A replacement is made when its second half is.
            Some(_) if !at.members.voters_outgoing.is_empty() => ChangeFate::Open,
            Some(_) => ChangeFate::Made,
            None => ChangeFate::Unknown,
        }
    }

    /// Takes a change from the log, unless the disk says that this was done before a restart. Other members take part
    /// from here on; that they do is written down at leisure, since the log says the same.
    pub(super) fn take_change(&mut self, entry: &Entry, out: &mut dyn FnMut(Output)) -> Result<(), ReplicaError> {
        let index = entry.index;
        if index <= self.members_at().index {
            return Ok(());
        }
        let unknown = || ReplicaError::UnknownEntry { index };
        let change = ConfChangeV2::parse_from_bytes(&entry.data).map_err(|_| unknown())?;
        let state = self
            .node
            .apply_conf_change(&change)
            .map_err(|error| ReplicaError::Raft(error.to_string()))?;
        let members = after(self.members(), &change, &state).map_err(|_| unknown())?;
        if !members.contains(self.config.member) && self.role() == Role::Leader {
            // Its predecessor has proposed this. raft-rs would have it lead on, and panics at the next acknowledgement.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        let at = MembersAt { index, members };
        let ids = |set: &BTreeSet<MemberId>| set.iter().map(|member| member.get()).collect::<Vec<_>>();
        tracing::info!(
            index,
            voters = ?ids(&at.members.voters),
            learners = ?ids(&at.members.learners),
            "the members have changed"
        );
        self.node.mut_store().set_members(at.clone());
        self.changed = Some(at.clone());
        self.write_members(at.clone(), out);
        out(Output::Members(at));
        Ok(())
    }

    pub(super) fn write_members(&mut self, members: MembersAt, out: &mut dyn FnMut(Output)) {
        let step = WriteStep::Append(AppendBatch {
            members: Some(members),
            ..AppendBatch::default()
        });
        self.write(None, step, Vec::new(), out);
    }
}
