//! Brings messages and snapshot files from member to member, and writes snapshots when a member gets round to it.

use std::io::Read as _;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{OutgoingSnapshot, ReplicaError, SnapshotOutcome, StateMachine, announced_snapshot};
use ::control_plane::storage::{IncomingSnapshot, SnapshotError, SnapshotFolder, measure};
use bytes::Bytes;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::Breach;
use super::cluster::{Cluster, Outputs, stopped};
use super::member::Member;
use super::network::{Cargo, Flight, Sent};

/// More than any honest exchange within one tick.
const MAX_DELIVERIES_PER_TICK: u32 = 20_000;

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
        let (file, crc32) = read.map_err(|error| stopped(from, &error.into()))?;
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
        if let Some(running) = self.members.get_mut(&from).and_then(Member::working) {
            running.replica.report_snapshot(to, outcome);
        }
    }

    /// Delivers all that is due, and what that gives rise to at once.
    pub(super) fn deliver_due(&mut self) -> Result<(), Breach> {
        for _ in 0..MAX_DELIVERIES_PER_TICK {
            let Some(flight) = self.network.next(self.now, &mut self.report) else {
                return Ok(());
            };
            self.deliver(flight)?;
        }
        Err(Breach::EndlessTalk)
    }

    fn deliver(&mut self, Flight { from, to, cargo, .. }: Flight) -> Result<(), Breach> {
        let stopped_on_its_way = self.network.stops((from, to), &mut self.report);
        let receiver = self.members.get_mut(&to).and_then(Member::working);
        let Some(running) = receiver.filter(|_| !stopped_on_its_way) else {
            if matches!(cargo, Cargo::Snapshot { .. }) {
                self.report_snapshot(from, to, SnapshotOutcome::Failed);
            }
            return Ok(());
        };
        self.report.delivered += 1;
        match cargo {
            Cargo::Message(bytes) => {
                self.trace.note("message", &[self.now, from.get(), to.get()], &bytes);
                running.replica.step(&bytes).map_err(|error| stopped(to, &error))?;
                self.process_or_crash(to)
            }
            Cargo::Snapshot { message, file, crc32 } => {
                self.trace.note("snapshot", &[self.now, from.get(), to.get()], &file);
                let received = receive(&running.folder, &message, &file, crc32).map_err(|error| stopped(to, &error))?;
                running
                    .replica
                    .step_snapshot(&message, received)
                    .map_err(|error| stopped(to, &error))?;
                self.process_or_crash(to)?;
                let alive = self.members.get_mut(&to).and_then(Member::working).is_some();
                let outcome = if alive {
                    SnapshotOutcome::Delivered
                } else {
                    SnapshotOutcome::Failed
                };
                self.report_snapshot(from, to, outcome);
                Ok(())
            }
        }
    }

    fn process_or_crash(&mut self, id: MemberId) -> Result<(), Breach> {
        if self.faults_go_on() && self.rng.random_ratio(self.plan.crash_on_message, 1000) {
            return self.crash_at_work(id);
        }
        self.process(id, Outputs::CarriedOut)
    }
}

fn receive(
    folder: &SnapshotFolder,
    message: &Bytes,
    file: &[u8],
    crc32: u32,
) -> Result<IncomingSnapshot, ReplicaError> {
    let position =
        announced_snapshot(message).ok_or_else(|| ReplicaError::Raft("a snapshot without its message".to_owned()))?;
    let mut incoming = folder.receive(file.len() as u64, crc32)?;
    incoming.push(0, file)?;
    folder.verify(&mut incoming, position)?;
    Ok(incoming)
}

fn reading(source: std::io::Error) -> SnapshotError {
    SnapshotError::Io {
        doing: "read a snapshot to be sent",
        source,
    }
}
