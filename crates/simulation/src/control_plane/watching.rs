//! Shows the checker what members did, and takes note of why they stop.

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{ReplicaError, StateMachine};
use tenantry_state::Outcome;
use tenantry_types::{MemberId, Revision};

use super::Breach;
use super::cluster::{Cluster, stopped};
use super::member::{Disk, Member};
use super::recorded::Observation;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// Has the checker look at everything that a member applied since the last time, and at what it shows now.
    pub(super) fn watch(&mut self, id: MemberId) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
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
                Observation::Reached { revision, digest } => self.trace.note(format_args!(
                    "{} member {id} is at {revision} with state {digest:016x}",
                    self.now
                )),
                Observation::Restored => self
                    .trace
                    .note(format_args!("{} member {id} restores a snapshot", self.now)),
            }
            self.checker.observe(id, observation, &mut self.report)?;
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

    /// A member that leads is the only one of its term.
    pub(super) fn watch_leader(&mut self, id: MemberId) -> Result<(), Breach> {
        match self.members.get_mut(&id).and_then(Member::running) {
            Some(running) if running.leads() => {
                let term = running.replica.term();
                self.checker.leads(id, term, &mut self.report)
            }
            _ => Ok(()),
        }
    }

    /// Takes note of an error of a member: its disk may be to blame, nothing else.
    pub(super) fn fail(&mut self, id: MemberId, error: &ReplicaError) -> Result<(), Breach> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let blameless = member.disk_fault.is_none();
        let Some(running) = member.running() else {
            return Ok(());
        };
        if !error.is_transient() || blameless {
            return Err(stopped(id, error));
        }
        running.disk = Disk::Failed;
        // Whoever waits there is turned away.
        running.reads.take_all();
        self.report.disk_failures += 1;
        self.trace
            .note(format_args!("{} member {id} notices that its disk fails", self.now));
        Ok(())
    }

    /// Whoever applies a command first must find it on the disks of a majority. Counted generously: by the smallest
    /// majority that there ever is, over all machines, since the voters may have changed since.
    fn check_durable(&mut self, id: MemberId, revision: Revision, command: &[u8]) -> Result<(), Breach> {
        if self.checker.knows(revision) {
            return Ok(());
        }
        let holds = |(id, member): (&MemberId, &Member<M>)| {
            let holds = member.machine.expected.holds(revision.get(), command);
            holds.then_some(*id)
        };
        let holders: Vec<MemberId> = self.members.iter().filter_map(holds).collect();
        if holders.len() as u64 > self.plan.members / 2 {
            return Ok(());
        }
        Err(Breach::NotDurable {
            member: id,
            revision,
            holders,
            voters: self.plan.members,
        })
    }
}
