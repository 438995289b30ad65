//! Decides what breaks, and mends it. Only the seed has a say in it.

mod disks;
mod membership;
mod partitions;
mod power;
mod wipe;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::StateMachine;
use ::control_plane::storage::DiskFault;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::cluster::Cluster;
use super::member::{Life, Member};
use super::{Breach, Plan};

/// A wall clock is never further off: answers are kept for a day, by the clocks of leaders.
const MAX_CLOCK_AHEAD_MS: u64 = 6 * 60 * 60 * 1000;

/// Clients that read from a member right after it was stopped for a while.
const READS_AFTER_PAUSE: u32 = 3;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(super) const fn faults_go_on(&self) -> bool {
        self.now < self.plan.fault_ticks
    }

    /// Lets old faults end and new ones begin.
    pub(super) fn break_something(&mut self) -> Result<(), Breach> {
        let now = self.now;
        self.network.partitions.retain(|partition| partition.until > now);
        self.mend(|until| until <= now)?;
        if self.rng.random_ratio(self.plan.partition, 1000) {
            self.begin_partition();
        }
        if let Some(id) = self.struck_by(self.plan.crash) {
            self.power_off(id);
        }
        if self.rng.random_ratio(self.plan.storm, 1000) {
            self.power_off_everywhere();
        }
        if let Some(id) = self.struck_by(self.plan.pause) {
            // A leader that does not know how late it is does the most harm.
            let leader = if self.rng.random_bool(0.5) { self.leader() } else { None };
            self.pause(leader.unwrap_or(id));
        }
        if let Some(id) = self.struck_by(self.plan.disk_failure) {
            self.break_any_disk(id);
        }
        if let Some(id) = self.struck_by(self.plan.damage) {
            self.damage_snapshot(id)?;
        }
        if let Some(id) = self.struck_by(self.plan.clock_jump) {
            self.set_clock(id);
        }
        if self.rng.random_ratio(self.plan.change_members, 1000) {
            self.change_members()?;
        }
        if let Some(id) = self.struck_by(self.plan.transfer) {
            self.transfer_leadership(id);
        }
        Ok(())
    }

    /// Draws a member with a chance of `chance` in a thousand.
    fn struck_by(&mut self, chance: u32) -> Option<MemberId> {
        if !self.rng.random_ratio(chance, 1000) {
            return None;
        }
        let ids = self.ids();
        ids.get(self.rng.random_range(0..ids.len())).copied()
    }

    /// Nothing fails from here on; members that were down come back.
    pub(super) fn heal_everything(&mut self) -> Result<(), Breach> {
        self.network.partitions.clear();
        self.plan = Plan {
            drop: 0,
            duplicate: 0,
            misdeliver: 0,
            cut: 0,
            flip: 0,
            max_delay_ticks: 1,
            max_write_ticks: 1,
            ..self.plan.clone()
        };
        self.mend(|_| true)
    }

    /// Repairs the disks, wakes and starts the members whose time has come.
    fn mend(&mut self, over: impl Fn(u64) -> bool) -> Result<(), Breach> {
        let faults_go_on = self.faults_go_on();
        for id in self.ids() {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if !faults_go_on && let Some(running) = member.running() {
                running.steps_left = None;
            }
            let woken = member
                .running()
                .and_then(|running| running.paused_until.take_if(|until| over(*until)));
            if woken.is_some() {
                self.trace.note(format_args!("{} member {id} goes on", self.now));
                // Whoever has just learnt of something elsewhere may ask a member that does not know how late it is.
                for _ in 0..READS_AFTER_PAUSE {
                    self.read_through(id)?;
                }
            }
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if member.disk_fault.take_if(|(_, until)| over(*until)).is_some() {
                member.machine.disk.set_fault(DiskFault::None);
                self.recover_from_disk(id)?;
            }
            let down = |member: &Member<M>| matches!(member.life, Life::Crashed { until } if over(until));
            if self.members.get(&id).is_some_and(down) {
                self.report.restarts += 1;
                self.start(id)?;
            }
        }
        Ok(())
    }

    /// An operator, or a wrong time server, sets a member's wall clock.
    fn set_clock(&mut self, id: MemberId) {
        let ahead = self.rng.random_range(0..MAX_CLOCK_AHEAD_MS);
        if let Some(member) = self.members.get_mut(&id) {
            self.report.clock_jumps += 1;
            self.trace.note(format_args!(
                "{} the clock of member {id} is now {ahead} ms ahead",
                self.now
            ));
            member.machine.clock_ahead_ms = ahead;
        }
    }

    /// Someone who leads, rightly or not.
    pub(super) fn leader(&mut self) -> Option<MemberId> {
        let leads = |(id, member): (&MemberId, &mut Member<M>)| {
            member.working().is_some_and(|running| running.leads()).then_some(*id)
        };
        self.members.iter_mut().find_map(leads)
    }

    /// Someone asks the leader, if there is one, to hand over to `to`, well or not.
    fn transfer_leadership(&mut self, to: MemberId) {
        if let Some(leader) = self.leader().filter(|leader| *leader != to)
            && let Some(running) = self.members.get_mut(&leader).and_then(Member::working)
        {
            self.report.transfers += 1;
            self.trace
                .note(format_args!("{} member {leader} is to hand over to {to}", self.now));
            running.replica.transfer_leadership(to);
        }
    }
}
