//! Disks that fill up, fail, or damage what lies on them.

use std::fs;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::StateMachine;
use ::control_plane::storage::DiskFault;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::super::Breach;
use super::super::cluster::{Cluster, impossible, stopped};
use super::super::member::Disk;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(super) fn break_any_disk(&mut self, id: MemberId) {
        let fault = match self.rng.random_range(0..6) {
            0..3 => DiskFault::Full,
            3 => DiskFault::WriteFails,
            4 => DiskFault::AnswerLost,
            _ => DiskFault::SyncFails,
        };
        self.break_disk(id, fault);
    }

    pub(in super::super) fn break_disk(&mut self, id: MemberId, fault: DiskFault) {
        let until = self.now + self.rng.random_range(5..60);
        if let Some(member) = self.members.get_mut(&id)
            && member.running().is_some()
            && member.disk_fault.is_none()
        {
            member.machine.disk.set_fault(fault);
            member.disk_fault = Some((fault, until));
            self.trace.note(format_args!(
                "{} the disk of member {id} begins to fail: {fault:?}",
                self.now
            ));
        }
    }

    /// A member whose disk works again either goes on, or was restarted by its operator.
    pub(super) fn recover_from_disk(&mut self, id: MemberId) -> Result<(), Breach> {
        let restarted = self.rng.random_bool(0.5);
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let Some(running) = member.running().filter(|running| running.disk == Disk::Failed) else {
            return Ok(());
        };
        if restarted {
            self.power_off(id);
            return Ok(());
        }
        running.job = None;
        running.writes.clear();
        let mut outputs = Vec::new();
        let rebuilt = running
            .writer
            .reload()
            .and_then(|reloaded| running.replica.rebuild(reloaded, &mut |output| outputs.push(output)));
        running.disk = Disk::Works;
        if let Some(what) = member.machine.expected.take_difference() {
            return Err(Breach::DiskDiffers { member: id, what });
        }
        rebuilt.map_err(|error| stopped(id, &error))?;
        self.report.rebuilds += 1;
        self.trace.note(format_args!(
            "{} member {id} goes on from what its disk holds",
            self.now
        ));
        self.carry_out_all(id, outputs)
    }

    /// A bit turns over in the newest snapshot of a member while it is down, or a minute before it goes down. Only where
    /// the one before it will do: a member that has no other is lost, and says so.
    pub(super) fn damage_snapshot(&mut self, id: MemberId) -> Result<(), Breach> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let Some(running) = member.running() else {
            return Ok(());
        };
        let compacted = running.replica.log_range().0.saturating_sub(1);
        let marked = running.replica.snapshot();
        let listed = running.folder.list().map_err(|error| stopped(id, &error))?;
        let (Some(newest), Some(older)) = (listed.first(), listed.get(1)) else {
            return Ok(());
        };
        let whole = !member.machine.damaged.contains(older);
        if !whole || older.index < compacted || *newest != marked {
            return Ok(());
        }
        let path = member
            .machine
            .snapshots
            .join(format!("{:020}-{}.snap", newest.index, newest.term));
        let mut bytes = fs::read(&path).map_err(|error| impossible("read a snapshot", &error))?;
        let place = self.rng.random_range(0..bytes.len().max(1));
        let bit = 1 << self.rng.random_range(0..8);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= bit;
        }
        member.machine.damaged.insert(*newest);
        fs::write(&path, bytes).map_err(|error| impossible("damage a snapshot", &error))?;
        self.report.damaged_snapshots += 1;
        self.trace.note(format_args!(
            "{} the snapshot of member {id} at {} is damaged at byte {place}",
            self.now, newest.index
        ));
        self.power_off(id);
        Ok(())
    }
}
