//! An operator who takes members in and out while everything else goes wrong. What is out keeps running, or comes back.

use std::collections::BTreeSet;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{Caution, MemberChange, Role, StateMachine};
use ::control_plane::storage::{LogId, Members};
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::super::Breach;
use super::super::cluster::Cluster;
use super::super::member::Member;

/// Machines that a cluster may be given over time.
const MAX_NEW_MACHINES: u64 = 4;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// Those who take part, as the one who leads in the newest term has it.
    pub(in super::super) fn current_members(&mut self) -> Option<BTreeSet<MemberId>> {
        let led = |member: &mut Member<M>| {
            let replica = &member.working()?.replica;
            (replica.role() == Role::Leader).then(|| (replica.term(), replica.members().all().collect()))
        };
        self.members.values_mut().filter_map(led).max().map(|(_, ids)| ids)
    }

    /// Asks whoever leads for the next change, which it may refuse.
    pub(super) fn change_members(&mut self) -> Result<(), Breach> {
        let Some(leader) = self.leader() else {
            return Ok(());
        };
        let Some(change) = self.next_change(leader)? else {
            return Ok(());
        };
        let Some(running) = self.members.get_mut(&leader).and_then(Member::working) else {
            return Ok(());
        };
        if let Ok(Some(_)) = running.replica.propose_change(&change, Caution::Careful) {
            let count = match change {
                MemberChange::AddLearner { .. } => &mut self.report.learners_added,
                MemberChange::Promote { .. } => &mut self.report.learners_promoted,
                MemberChange::Remove { .. } => &mut self.report.members_removed,
                MemberChange::Replace { .. } => &mut self.report.members_replaced,
                MemberChange::SetAddress { .. } => return Ok(()),
            };
            *count += 1;
            self.trace
                .note(format_args!("{} member {leader} is asked for {change:?}", self.now));
        }
        Ok(())
    }

    /// Never fewer voters than the cluster began with.
    fn next_change(&mut self, leader: MemberId) -> Result<Option<MemberChange>, Breach> {
        let Some(running) = self.members.get_mut(&leader).and_then(Member::working) else {
            return Ok(None);
        };
        let members: Members = running.replica.members().clone();
        let others: Vec<MemberId> = members.voters.iter().copied().filter(|id| *id != leader).collect();
        let some_voter = match others.len() {
            0 => None,
            count => others.get(self.rng.random_range(0..count)).copied(),
        };
        if members.voters.len() as u64 > self.plan.members {
            return Ok(some_voter.map(|member| MemberChange::Remove { member }));
        }
        if let Some(learner) = members.learners.first().copied() {
            return Ok(Some(match some_voter {
                Some(old) if self.rng.random_bool(0.5) => MemberChange::Replace { old, new: learner },
                _ => MemberChange::Promote { member: learner },
            }));
        }
        let known = |id: &MemberId| members.contains(*id) || members.removed.contains(id);
        let waiting = self.ids().into_iter().find(|id| !known(id));
        let machines = self.members.len() as u64;
        let member = match waiting {
            Some(member) => member,
            None if machines < self.plan.members + MAX_NEW_MACHINES => self.add_machine()?,
            None => return Ok(None),
        };
        let address = format!("member-{member}:1");
        Ok(LogId::new(member.get()).map(|log| MemberChange::AddLearner { member, address, log }))
    }
}
