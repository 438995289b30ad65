//! Lets members work, carries out what they ask for, and shows the checker what they did.

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{Output, ReplicaError, StateMachine};
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::{MemberId, Revision};

use super::Breach;
use super::cluster::{Cluster, stopped};
use super::member::{Disk, Member};
use super::recorded::{Observation, Recorded};

/// What becomes of what a member gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputs {
    CarriedOut,
    /// The power goes before anything leaves the machine.
    Lost,
}

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// Lets a member carry out what it has to do.
    pub(super) fn process(&mut self, id: MemberId, fate: Outputs) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(());
        };
        let mut outputs = Vec::new();
        let outcome = running.replica.process_ready(&mut |output| outputs.push(output));
        self.look_at(id)?;
        if let Err(error) = outcome {
            self.fail(id, &error)?;
        }
        if fate == Outputs::CarriedOut {
            for output in outputs {
                self.carry_out(id, output)?;
            }
            self.answer_reads(id);
        }
        Ok(())
    }

    fn carry_out(&mut self, id: MemberId, output: Output<Recorded<M>>) -> Result<(), Breach> {
        match output {
            Output::Message { to, bytes } => self.send_message(id, to, bytes),
            Output::Snapshot(snapshot) => self.send_snapshot(id, &snapshot)?,
            Output::Applied {
                revision,
                proposal,
                answer,
            } => self.answer(id, revision, proposal, answer)?,
            Output::Role { role, term, leader } => {
                let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| format!("member {leader}"));
                self.trace.note(format_args!(
                    "{} member {id} is {role:?} in term {term}, led by {leader}",
                    self.now
                ));
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    running.reads.ask_again();
                }
            }
            Output::SnapshotDue(job) => {
                let at = self.now + self.rng.random_range(0..8);
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    running.job = Some((at, job));
                }
            }
            Output::Read { id: read, index } => self.learn_read_index(id, read, index),
        }
        Ok(())
    }

    /// Takes note of an error of a member: its disk may be to blame, nothing else.
    pub(super) fn fail(&mut self, id: MemberId, error: &ReplicaError) -> Result<(), Breach> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if !error.is_transient() || member.disk_fault.is_none() {
            return Err(stopped(id, error));
        }
        if let Some(running) = member.running() {
            running.disk = Disk::Failed;
            // Whoever waits there is turned away.
            running.reads.take_all();
            self.report.disk_failures += 1;
            self.trace
                .note(format_args!("{} member {id} notices that its disk fails", self.now));
        }
        Ok(())
    }

    /// Has the checker look at everything that a member did since the last time.
    pub(super) fn look_at(&mut self, id: MemberId) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        let (leads, term) = (running.leads(), running.replica.term());
        for observation in running.observations.take() {
            match &observation {
                Observation::Applied {
                    revision,
                    digest,
                    command,
                    ..
                } => {
                    self.trace.note(format_args!(
                        "{} member {id} applies {revision} to state {digest:016x}",
                        self.now
                    ));
                    self.check_durable(id, *revision, command)?;
                }
                Observation::Reached { revision, digest } => {
                    self.trace.note(format_args!(
                        "{} member {id} is at {revision} with state {digest:016x}",
                        self.now
                    ));
                }
                Observation::Restored => self
                    .trace
                    .note(format_args!("{} member {id} restores a snapshot", self.now)),
            }
            self.checker.observe(id, observation, &mut self.report)?;
        }
        if leads {
            self.checker.leads(id, term, &mut self.report)?;
        }
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        let published = running.readers.current();
        if published.revision != running.checked {
            running.checked = published.revision;
            self.checker.check_state(id, &published)?;
        }
        Ok(())
    }

    /// Whoever applies a command first must find it on the disks of a majority.
    fn check_durable(&mut self, id: MemberId, revision: Revision, command: &[u8]) -> Result<(), Breach> {
        if self.checker.knows(revision) {
            return Ok(());
        }
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        let voters: Vec<MemberId> = running.replica.members().voters.iter().copied().collect();
        let holds = |id: &MemberId| {
            let member = self.members.get(id);
            member.is_some_and(|member| member.machine.expected.holds(revision.get(), command))
        };
        let holders: Vec<MemberId> = voters.iter().copied().filter(holds).collect();
        if 2 * holders.len() > voters.len() {
            return Ok(());
        }
        Err(Breach::NotDurable {
            member: id,
            revision,
            holders,
            voters,
        })
    }
}
