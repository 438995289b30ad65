//! Decides what breaks, and mends it. Only the seed has a say in it.

use std::collections::BTreeSet;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::StateMachine;
use ::control_plane::storage::DiskFault;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::cluster::{Cluster, Outputs, stopped};
use super::member::{Disk, Life, Member};
use super::network::{Direction, Link, Partition};
use super::{Breach, Plan};

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
        let ids = self.ids();
        if self.rng.random_ratio(self.plan.crash, 1000)
            && let Some(id) = ids.get(self.rng.random_range(0..ids.len()))
        {
            let runs = self.members.get_mut(id).and_then(Member::running).is_some();
            self.report.crashes += u64::from(runs);
            self.crash(*id);
        }
        if self.rng.random_ratio(self.plan.disk_failure, 1000)
            && let Some(id) = ids.get(self.rng.random_range(0..ids.len()))
        {
            self.break_disk(*id);
        }
        Ok(())
    }

    /// Nothing fails from here on; members that were down come back.
    pub(super) fn heal_everything(&mut self) -> Result<(), Breach> {
        self.network.partitions.clear();
        self.plan = Plan {
            drop: 0,
            duplicate: 0,
            max_delay_ticks: 1,
            ..self.plan.clone()
        };
        self.mend(|_| true)
    }

    /// Repairs the disks and starts the members whose time has come.
    fn mend(&mut self, over: impl Fn(u64) -> bool) -> Result<(), Breach> {
        for id in self.ids() {
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

    /// A member whose disk works again either goes on, or was restarted by its operator.
    fn recover_from_disk(&mut self, id: MemberId) -> Result<(), Breach> {
        let restarted = self.rng.random_bool(0.5);
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        if running.works() {
            return Ok(());
        }
        if restarted {
            self.report.crashes += 1;
            self.crash(id);
            return Ok(());
        }
        running.job = None;
        running.writes.clear();
        let mut outputs = Vec::new();
        running
            .writer
            .reload()
            .and_then(|reloaded| running.replica.rebuild(reloaded, &mut |output| outputs.push(output)))
            .map_err(|error| stopped(id, &error))?;
        running.disk = Disk::Works;
        self.carry_out_all(id, outputs)?;
        self.report.rebuilds += 1;
        self.trace.note("rebuild", &[self.now, id.get()], &[]);
        Ok(())
    }

    fn break_disk(&mut self, id: MemberId) {
        let fault = if self.rng.random_bool(0.5) {
            DiskFault::Full
        } else {
            DiskFault::SyncFails
        };
        let until = self.now + self.rng.random_range(5..60);
        if let Some(member) = self.members.get_mut(&id)
            && member.running().is_some()
            && member.disk_fault.is_none()
        {
            member.machine.disk.set_fault(fault);
            member.disk_fault = Some((fault, until));
        }
    }

    /// The power goes: memory and unsynced writes are lost. Comes back after a while, with a disk that works.
    fn crash(&mut self, id: MemberId) {
        let until = self.now + self.rng.random_range(1..80);
        if let Some(member) = self.members.get_mut(&id)
            && member.running().is_some()
        {
            member.life = Life::Crashed { until };
            member.disk_fault = None;
            member.machine.disk.set_fault(DiskFault::None);
            member.machine.disk.crash();
            self.trace.note("crash", &[self.now, id.get(), until], &[]);
        }
    }

    /// The power goes while a member works on a message: before its write is synced, or just after.
    pub(super) fn crash_at_work(&mut self, id: MemberId) -> Result<(), Breach> {
        if self.rng.random_bool(0.5) {
            self.process(id, Outputs::Lost)?;
            self.report.unsent_promises += 1;
        } else {
            let now = self.now;
            if let Some(member) = self.members.get_mut(&id) {
                member.machine.disk.set_fault(DiskFault::SyncFails);
                member.disk_fault = Some((DiskFault::SyncFails, now));
            }
            let failures = self.report.disk_failures;
            // What a member sends before its write is synced does get out.
            self.process(id, Outputs::CarriedOut)?;
            self.report.unsynced_losses += self.report.disk_failures - failures;
            self.report.disk_failures = failures;
        }
        self.crash(id);
        Ok(())
    }

    fn begin_partition(&mut self) {
        let ids = self.ids();
        let one_side: BTreeSet<MemberId> = ids.iter().copied().filter(|_| self.rng.random_bool(0.5)).collect();
        let direction = if self.rng.random_bool(0.5) {
            Direction::Both
        } else {
            Direction::OneWay
        };
        let stops = |(from, to): Link| match direction {
            Direction::Both => one_side.contains(&from) != one_side.contains(&to),
            Direction::OneWay => one_side.contains(&from) && !one_side.contains(&to),
        };
        let links = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
        let blocked: BTreeSet<Link> = links.filter(|link| stops(*link)).collect();
        let until = self.now + self.rng.random_range(10..120);
        self.trace
            .note("partition", &[self.now, until, blocked.len() as u64], &[]);
        self.network.partitions.push(Partition {
            blocked,
            direction,
            until,
            messages_lost: 0,
        });
    }
}
