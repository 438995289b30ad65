//! Members that stop: for good until a restart, all at once, in the middle of their work, or for a while without noticing.

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::StateMachine;
use ::control_plane::storage::DiskFault;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::super::Breach;
use super::super::cluster::Cluster;
use super::super::member::{Life, Member};

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// A member loses its power between two steps, and has it back after a while.
    pub(in super::super) fn power_off(&mut self, id: MemberId) {
        let until = self.now + self.outage();
        let runs = self.members.get_mut(&id).and_then(Member::running).is_some();
        self.report.crashes += u64::from(runs);
        self.crash(id, until);
    }

    /// How long a member is down: now and then so long that it needs a snapshot afterwards.
    fn outage(&mut self) -> u64 {
        if self.rng.random_bool(0.2) {
            self.rng.random_range(100..300)
        } else {
            self.rng.random_range(1..80)
        }
    }

    /// The power goes everywhere at once, and all members come back at almost the same time.
    pub(super) fn power_off_everywhere(&mut self) {
        self.report.restart_storms += 1;
        let back = self.now + self.rng.random_range(1..30);
        for id in self.ids() {
            let until = back + self.rng.random_range(0..4);
            self.crash(id, until);
        }
    }

    /// A process stops without noticing: no tick passes, and what arrives waits.
    pub(super) fn pause(&mut self, id: MemberId) {
        let until = self.now + self.rng.random_range(1..60);
        if let Some(running) = self.members.get_mut(&id).and_then(Member::working) {
            running.paused_until = Some(until);
            self.report.pauses += 1;
            self.trace
                .note(format_args!("{} member {id} is paused until {until}", self.now));
        }
    }

    /// Memory and unsynced writes are lost. The disk works when the member comes back.
    pub(super) fn crash(&mut self, id: MemberId, until: u64) {
        if let Some(member) = self.members.get_mut(&id)
            && member.running().is_some()
        {
            member.life = Life::Crashed { until };
            member.disk_fault = None;
            member.machine.disk.set_fault(DiskFault::None);
            // What was not synced may be on the disk, or not.
            let rng = &mut self.rng;
            member.machine.disk.crash_keeping(|_| rng.random_bool(0.5));
            self.trace
                .note(format_args!("{} member {id} loses its power until {until}", self.now));
        }
    }

    /// The power goes while a member works on something: in the middle of its next write, or after a few steps.
    pub(in super::super) fn crash_at_work(&mut self, id: MemberId) -> Result<(), Breach> {
        if self.rng.random_bool(0.7) {
            let steps = self.rng.random_range(0..8);
            if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                running.steps_left = Some(steps);
            }
            return self.process(id);
        }
        let now = self.now;
        if let Some(member) = self.members.get_mut(&id) {
            member.machine.disk.set_fault(DiskFault::SyncFails);
            member.disk_fault = Some((DiskFault::SyncFails, now));
        }
        let failures = self.report.disk_failures;
        // What a member sends before its write is synced does get out.
        self.process(id)?;
        self.report.unsynced_losses += self.report.disk_failures - failures;
        self.report.disk_failures = failures;
        let until = self.now + self.outage();
        self.crash(id, until);
        Ok(())
    }
}
