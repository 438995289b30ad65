//! Brings messages and snapshot files from member to member, and writes snapshots when a member gets round to it.

use std::io::Read as _;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{
    OutgoingSnapshot, ReplicaError, SnapshotOutcome, StateMachine, Stepped, announced_snapshot, describe_message,
};
use ::control_plane::storage::{
    AnnouncedSnapshot, DiskFault, IncomingSnapshot, SnapshotError, SnapshotFolder, measure,
};
use bytes::Bytes;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::Breach;
use super::cluster::{Cluster, stopped};
use super::member::Member;
use super::network::{Cargo, Flight, Link, Sent};
use super::trace::digest;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(super) fn send_message(&mut self, from: MemberId, to: MemberId, bytes: Bytes) {
        let cargo = Cargo::Message(bytes);
        // Whoever sends is not told: a datagram's loss is noticed by nobody.
        self.network.send(
            self.now,
            (from, to),
            &cargo,
            &self.plan,
            &mut self.rng,
            &mut self.report,
        );
    }

    pub(super) fn send_snapshot(&mut self, from: MemberId, snapshot: &OutgoingSnapshot) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&from).and_then(Member::running) else {
            return Ok(());
        };
        let read = running.folder.open_raw(snapshot.position).and_then(|mut file| {
            let mut content = Vec::new();
            let (_, crc32) = measure(&mut file).map_err(reading)?;
            file.read_to_end(&mut content).map_err(reading)?;
            Ok((Bytes::from(content), crc32))
        });
        let (file, crc32) = read.map_err(|error| stopped(from, &error))?;
        let message = snapshot.message.clone();
        let cargo = Cargo::Snapshot { message, file, crc32 };
        let link = (from, snapshot.to);
        let sent = self
            .network
            .send(self.now, link, &cargo, &self.plan, &mut self.rng, &mut self.report);
        if sent == Sent::Lost {
            self.report_snapshot(from, snapshot.to, SnapshotOutcome::Failed);
        }
        Ok(())
    }

    fn report_snapshot(&mut self, from: MemberId, to: MemberId, outcome: SnapshotOutcome) {
        self.report.snapshots_lost += u64::from(outcome == SnapshotOutcome::Failed);
        self.trace.note(format_args!(
            "{} the snapshot from {from} to {to}: {outcome:?}",
            self.now
        ));
        if let Some(running) = self.members.get_mut(&from).and_then(Member::running) {
            running.replica.report_snapshot(to, outcome);
        }
    }

    /// Delivers all that is due, and what that gives rise to at once.
    pub(super) fn deliver_due(&mut self) -> Result<(), Breach> {
        for _ in 0..self.plan.max_deliveries {
            let Some(flight) = self.network.next(self.now, &mut self.report) else {
                return Ok(());
            };
            self.deliver(flight)?;
        }
        Err(Breach::EndlessTalk)
    }

    fn deliver(&mut self, flight: Flight) -> Result<(), Breach> {
        let (from, to) = (flight.from, flight.to);
        let paused = |member: &mut Member<M>| member.running().and_then(|running| running.paused_until);
        if let Some(until) = self.members.get_mut(&to).and_then(paused) {
            self.report.messages_held += 1;
            self.network.hold(flight, until.max(self.now + 1));
            return Ok(());
        }
        let stopped_on_its_way = self.network.stops((from, to), &mut self.report);
        let receiver = self.members.get_mut(&to).and_then(Member::working);
        if stopped_on_its_way || receiver.is_none() {
            if matches!(flight.cargo, Cargo::Snapshot { .. }) {
                self.report_snapshot(from, to, SnapshotOutcome::Failed);
            }
            return Ok(());
        }
        self.report.delivered += 1;
        match flight.cargo {
            Cargo::Message(bytes) => {
                let at = self.address_reached(to);
                self.deliver_message(from, to, at, &bytes)
            }
            Cargo::Snapshot { message, file, crc32 } => self.deliver_snapshot((from, to), &message, &file, crc32),
        }
    }

    /// Who is found at the address of `to`: after a member has moved, it may be another one.
    fn address_reached(&mut self, to: MemberId) -> MemberId {
        if !self.rng.random_ratio(self.plan.misdeliver, 1000) {
            return to;
        }
        let ids = self.ids();
        ids.get(self.rng.random_range(0..ids.len())).copied().unwrap_or(to)
    }

    fn deliver_message(&mut self, from: MemberId, to: MemberId, at: MemberId, bytes: &Bytes) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&at).and_then(Member::working) else {
            return Ok(());
        };
        self.trace.note(format_args!(
            "{} {from} -> {at}: {} ({:016x})",
            self.now,
            describe_message(bytes),
            digest(bytes)
        ));
        let stepped = running.replica.step(bytes).map_err(|error| stopped(at, &error))?;
        if at != to {
            self.report.misdelivered += 1;
            if stepped == Stepped::Taken {
                return Err(Breach::ForeignMessage {
                    member: at,
                    meant_for: to,
                });
            }
        }
        self.process_or_crash(at, self.plan.crash_on_message)
    }

    fn deliver_snapshot(&mut self, link: Link, message: &Bytes, file: &Bytes, crc32: u32) -> Result<(), Breach> {
        let (from, to) = link;
        let size_bytes = file.len() as u64;
        let (file, spoilt) = self.spoil(file);
        let Some(running) = self.members.get_mut(&to).and_then(Member::working) else {
            return Ok(());
        };
        self.trace.note(format_args!(
            "{} {from} -> {to}: {} and {} bytes ({:016x})",
            self.now,
            describe_message(message),
            file.len(),
            digest(&file)
        ));
        let (received, had) = match receive(&running.folder, message, &file, (size_bytes, crc32)) {
            Ok(received) => received,
            // The sender's file may be damaged, too; then its crc32 is that of the damage.
            Err(ReplicaError::Snapshot(SnapshotError::Damaged { .. })) => {
                self.report_snapshot(from, to, SnapshotOutcome::Failed);
                return Ok(());
            }
            Err(error) => return Err(stopped(to, &error)),
        };
        running
            .replica
            .step_snapshot(message, received)
            .map_err(|error| stopped(to, &error))?;
        // What was there before may have been good.
        if spoilt && had == 0 {
            return Err(Breach::MemberStopped {
                member: to,
                reason: "it took a damaged snapshot for a good one".to_owned(),
            });
        }
        self.trouble_installation(to);
        self.process_or_crash(to, self.plan.crash_on_snapshot)?;
        let alive = self.members.get_mut(&to).and_then(Member::working).is_some();
        let outcome = if alive {
            SnapshotOutcome::Delivered
        } else {
            SnapshotOutcome::Failed
        };
        self.report_snapshot(from, to, outcome);
        Ok(())
    }

    /// The disk takes long over a snapshot that has just arrived, or reports that it could not be synced.
    fn trouble_installation(&mut self, id: MemberId) {
        if !self.faults_go_on() {
            return;
        }
        let slow = self.rng.random_ratio(self.plan.slow_installation, 1000);
        let takes = if slow { self.rng.random_range(1..40) } else { 0 };
        if let Some(running) = self.members.get_mut(&id).and_then(Member::working) {
            running.next_write_takes = takes;
            self.report.slow_installations += u64::from(slow);
        }
        if self.rng.random_ratio(self.plan.failing_installation, 1000) {
            self.report.failing_installations += 1;
            self.break_disk(id, DiskFault::SyncFails);
        }
    }

    /// What of a file arrives, and whether that differs from what was sent.
    fn spoil(&mut self, file: &Bytes) -> (Bytes, bool) {
        if self.rng.random_ratio(self.plan.cut, 1000) {
            self.report.snapshots_cut += 1;
            let end = self.rng.random_range(0..file.len().max(1));
            return (file.slice(..end), true);
        }
        if self.rng.random_ratio(self.plan.flip, 1000) {
            self.report.snapshots_flipped += 1;
            let mut bytes = file.to_vec();
            let place = self.rng.random_range(0..bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << self.rng.random_range(0..8);
            }
            return (Bytes::from(bytes), true);
        }
        (file.clone(), false)
    }

    /// Lets a member work on what it was given; `chance` in a thousand that it crashes over it.
    fn process_or_crash(&mut self, id: MemberId, chance: u32) -> Result<(), Breach> {
        if self.faults_go_on() && self.rng.random_ratio(chance, 1000) {
            return self.crash_at_work(id);
        }
        self.process(id)
    }
}

/// What arrived of a file, and how much of it was there from an earlier attempt.
fn receive(
    folder: &SnapshotFolder,
    message: &Bytes,
    file: &[u8],
    (size_bytes, crc32): (u64, u32),
) -> Result<(IncomingSnapshot, u64), ReplicaError> {
    let position =
        announced_snapshot(message).ok_or_else(|| ReplicaError::Raft("a snapshot without its message".to_owned()))?;
    let announced = AnnouncedSnapshot {
        position,
        size_bytes,
        crc32,
    };
    let had = folder.received_bytes(announced)?;
    let mut incoming = folder.receive(announced)?;
    let rest = usize::try_from(had).ok().and_then(|had| file.get(had..));
    incoming.push(had, rest.unwrap_or_default())?;
    folder.verify(&mut incoming)?;
    Ok((incoming, had))
}

fn reading(source: std::io::Error) -> SnapshotError {
    SnapshotError::Io {
        doing: "read a snapshot to be sent",
        source,
    }
}
