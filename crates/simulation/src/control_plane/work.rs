//! What a running member does between its replica, its disk and its state machine: the work of three threads in a real
//! one, done here in an order and at a pace that the seed decides.

use std::collections::VecDeque;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{ApplyJob, Output, ReplicaError, StateMachine, WriteJob};
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::Breach;
use super::cluster::{Cluster, Outputs};
use super::member::Member;

/// Writes that wait for a member's disk, each with the tick from which on it may be done.
#[derive(Debug, Default)]
pub(super) struct WaitingWrites(VecDeque<(u64, WriteJob)>);

impl WaitingWrites {
    fn push(&mut self, due: u64, job: WriteJob) {
        // A disk does one thing after the other.
        let due = self.0.back().map_or(due, |(before, _)| due.max(*before));
        self.0.push_back((due, job));
    }

    fn take_due(&mut self, now: u64) -> Vec<WriteJob> {
        let due = self.0.iter().take_while(|(due, _)| *due <= now).count();
        self.0.drain(..due).map(|(_, job)| job).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// Lets a member carry out what it has to do, as far as its disk has come.
    pub(super) fn process(&mut self, id: MemberId, fate: Outputs) -> Result<(), Breach> {
        loop {
            let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
                return Ok(());
            };
            let mut outputs = Vec::new();
            let outcome = running.replica.process_ready(&mut |output| outputs.push(output));
            if fate == Outputs::CarriedOut {
                self.carry_out_all(id, outputs)?;
            }
            if let Err(error) = outcome {
                self.fail(id, &error)?;
            }
            if fate == Outputs::Lost || !self.write_due(id)? {
                return Ok(());
            }
        }
    }

    /// Has the disk do what it has come to. Whether there was anything.
    fn write_due(&mut self, id: MemberId) -> Result<bool, Breach> {
        let now = self.now;
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(false);
        };
        let jobs = running.writes.take_due(now);
        if jobs.is_empty() {
            return Ok(false);
        }
        match running.writer.write(jobs) {
            Ok(written) => {
                let mut outputs = Vec::new();
                running.replica.written(written, &mut |output| outputs.push(output));
                self.carry_out_all(id, outputs)?;
            }
            Err(error) => self.fail(id, &error)?,
        }
        Ok(true)
    }

    pub(super) fn carry_out_all(&mut self, id: MemberId, outputs: Vec<Output>) -> Result<(), Breach> {
        for output in outputs {
            self.carry_out(id, output)?;
        }
        Ok(())
    }

    pub(super) fn carry_out(&mut self, id: MemberId, output: Output) -> Result<(), Breach> {
        match output {
            Output::Message { to, bytes } => self.send_message(id, to, bytes),
            Output::Snapshot(snapshot) => self.send_snapshot(id, &snapshot)?,
            Output::Write(job) => {
                let slow = self.rng.random_ratio(self.plan.slow_write, 1000);
                let takes = if slow {
                    self.rng.random_range(1..=self.plan.max_write_ticks)
                } else {
                    0
                };
                self.report.slow_writes += u64::from(slow);
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    running.writes.push(self.now + takes, job);
                }
            }
            Output::Apply(job) => self.apply(id, job)?,
            Output::Role { role, term, .. } => {
                self.trace.note("role", &[self.now, id.get(), role as u64, term], &[]);
            }
            // The simulation asks for no reads, and changes no members.
            Output::Read { .. } | Output::Members { .. } => {}
        }
        Ok(())
    }

    fn apply(&mut self, id: MemberId, job: ApplyJob) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        let restores = matches!(job, ApplyJob::Restore { .. });
        let mut answers = Vec::new();
        let outcome = running.applier.run(job, &mut |applied| answers.push(applied));
        self.look_at(id)?;
        self.report.snapshots_installed += u64::from(restores && outcome.is_ok());
        match outcome {
            Ok(None) => {}
            Ok(Some(job)) => {
                let at = self.now + self.rng.random_range(0..8);
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    running.job = Some((at, job));
                }
            }
            Err(error) => self.fail(id, &error)?,
        }
        for applied in answers {
            self.answer(id, applied.revision, applied.proposal, applied.answer)?;
        }
        Ok(())
    }

    /// Writes a snapshot whose time has come.
    pub(super) fn write_due_snapshot(&mut self, id: MemberId) -> Result<(), Breach> {
        let now = self.now;
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(());
        };
        let Some((_, job)) = running.job.take_if(|(at, _)| *at <= now) else {
            return Ok(());
        };
        let mut outputs = Vec::new();
        let outcome: Result<(), ReplicaError> = running
            .replica
            .snapshot_written(job.run(), &mut |output| outputs.push(output));
        self.carry_out_all(id, outputs)?;
        match outcome {
            Ok(()) => self.process(id, Outputs::CarriedOut),
            Err(error) => self.fail(id, &error),
        }
    }
}
