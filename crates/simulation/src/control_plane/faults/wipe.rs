//! The last fault of a run: a member comes back under its old id with an empty disk.

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::StateMachine;
use ::control_plane::storage::MemoryDisk;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::super::Breach;
use super::super::checked_log::Expected;
use super::super::cluster::{Cluster, impossible};
use super::super::member::Member;

/// Until then a leader has learnt how far each follower is. A member that is wiped before that comes back unnoticed as
/// far as the replica is concerned: only the transport could tell.
const SETTLED_WITHIN_TICKS: u64 = 20;
/// Heartbeats reach every follower sooner.
const NOTICED_WITHIN_TICKS: u64 = 40;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// Someone replaces the disk of a follower and starts it as if nothing had happened. It counts as having
    /// acknowledged what it no longer has, so it must stop as soon as it hears of that.
    pub(in super::super) fn return_with_an_empty_disk(&mut self) -> Result<(), Breach> {
        for _ in 0..SETTLED_WITHIN_TICKS {
            self.pass_tick()?;
        }
        let follows = |(id, member): (&MemberId, &mut Member<M>)| {
            member.working().is_some_and(|running| !running.leads()).then_some(*id)
        };
        // A member that begins anew knows the first members alone, and hears no other leader: then the log ids tell, which
        // the transport compares.
        let leads = self.leader().and_then(|leader| self.members.get(&leader));
        if leads.is_none_or(|leader| leader.machine.initial.is_none()) {
            return Ok(());
        }
        let current = self.current_members().unwrap_or_default();
        // Whoever is out has been turned off: it would get a vote from a member that has forgotten everything, which
        // only the transport prevents.
        for id in self.ids().into_iter().filter(|id| !current.contains(id)) {
            self.crash(id, u64::MAX);
        }
        let followers: Vec<MemberId> = self
            .members
            .iter_mut()
            .filter(|(id, member)| current.contains(id) && member.machine.initial.is_some())
            .filter_map(follows)
            .collect();
        if followers.is_empty() {
            return Ok(());
        }
        let Some(id) = followers.get(self.rng.random_range(0..followers.len())).copied() else {
            return Ok(());
        };
        self.crash(id, self.now);
        self.trace
            .note(format_args!("{} member {id} gets an empty disk", self.now));
        if let Some(member) = self.members.get_mut(&id) {
            member.machine.disk = MemoryDisk::default();
            member.machine.expected = Expected::default();
            std::fs::remove_dir_all(&member.machine.snapshots).map_err(|error| impossible("empty a disk", &error))?;
        }
        self.checker.forget(id);
        self.report.wiped_members += 1;
        self.start(id)?;
        for _ in 0..NOTICED_WITHIN_TICKS {
            match self.pass_tick() {
                Ok(()) => {}
                Err(Breach::MemberStopped { member, reason })
                    if member == id && reason.contains("its disk was lost") =>
                {
                    return Ok(());
                }
                Err(breach) => return Err(breach),
            }
        }
        Err(Breach::WipedMemberServes { member: id })
    }
}
