//! What a running member does between its replica, its disk and its state machine: the work of three threads in a real
//! one, done here in small steps at a pace that the seed decides. The power can go between any two of them.

use std::collections::VecDeque;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{ApplyJob, Output, StateMachine, WriteJob};
use ::control_plane::storage::SnapshotError;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::Breach;
use super::cluster::Cluster;
use super::member::Member;

/// Jobs that wait for their turn, each with the tick from which on it may be done. One is done after the other.
#[derive(Debug)]
pub(super) struct Queue<J>(VecDeque<(u64, J)>);

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<J> Queue<J> {
    fn push(&mut self, due: u64, job: J) {
        let due = self.0.back().map_or(due, |(before, _)| due.max(*before));
        self.0.push_back((due, job));
    }

    fn pop_due(&mut self, now: u64) -> Option<J> {
        self.0.pop_front_if(|(due, _)| *due <= now).map(|(_, job)| job)
    }

    fn take_due(&mut self, now: u64) -> Vec<J> {
        std::iter::from_fn(|| self.pop_due(now)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a member still has power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Gone,
}

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// Lets a member do what it has to do, as far as its disk and its state machine have come.
    pub(super) fn process(&mut self, id: MemberId) -> Result<(), Breach> {
        loop {
            if let Some(running) = self.members.get_mut(&id).and_then(Member::working) {
                let mut outputs = Vec::new();
                let outcome = running.replica.process_ready(&mut |output| outputs.push(output));
                self.carry_out_all(id, outputs)?;
                if let Err(error) = outcome {
                    self.fail(id, &error)?;
                }
            }
            let written = self.write_due(id)?;
            let applied = self.apply_due(id)?;
            self.answer_reads(id);
            if !written && !applied {
                return Ok(());
            }
        }
    }

    /// A step is over. If it was the one that the power was to last for, the member is down.
    fn step_done(&mut self, id: MemberId) -> Power {
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Power::Gone;
        };
        match &mut running.steps_left {
            None => Power::On,
            Some(0) => {
                self.report.crashes_at_work += 1;
                self.power_off(id);
                Power::Gone
            }
            Some(left) => {
                *left -= 1;
                Power::On
            }
        }
    }

    /// Has the disk do what it has come to, all at once. Whether there was anything.
    fn write_due(&mut self, id: MemberId) -> Result<bool, Breach> {
        let now = self.now;
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(false);
        };
        let jobs = running.writes.take_due(now);
        if jobs.is_empty() {
            return Ok(false);
        }
        self.report.joint_writes += u64::from(jobs.len() > 1);
        self.trace
            .note(format_args!("{now} member {id} writes {} jobs", jobs.len()));
        let outcome = running.writer.write(jobs);
        match outcome {
            Ok(written) => {
                if self.step_done(id) == Power::Gone {
                    self.report.unsent_promises += 1;
                    return Ok(true);
                }
                let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
                    return Ok(true);
                };
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
            if self.step_done(id) == Power::Gone {
                break;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, id: MemberId, output: Output) -> Result<(), Breach> {
        match output {
            Output::Message { to, bytes } => self.send_message(id, to, bytes),
            Output::Snapshot(snapshot) => self.send_snapshot(id, &snapshot)?,
            Output::Write(job) => {
                let mut takes = self.time_taken(self.plan.slow_write);
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    takes = takes.max(std::mem::take(&mut running.next_write_takes));
                    self.report.slow_writes += u64::from(takes > 0);
                    running.writes.push(self.now + takes, job);
                }
            }
            Output::Apply(job) => {
                let takes = self.time_taken(self.plan.slow_apply);
                self.report.slow_applies += u64::from(takes > 0);
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    running.applies.push(self.now + takes, job);
                }
            }
            Output::Role { role, term, leader } => {
                let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| format!("member {leader}"));
                self.trace.note(format_args!(
                    "{} member {id} is {role:?} in term {term}, led by {leader}",
                    self.now
                ));
                if let Some(running) = self.members.get_mut(&id).and_then(Member::running) {
                    running.reads.ask_again();
                }
                self.watch_leader(id)?;
            }
            Output::Read { id: read, index } => self.learn_read_index(id, read, index),
            Output::Members(members) => self.trace.note(format_args!(
                "{} member {id} knows the members as of {}",
                self.now, members.index
            )),
        }
        Ok(())
    }

    fn time_taken(&mut self, chance: u32) -> u64 {
        if self.rng.random_ratio(chance, 1000) {
            self.rng.random_range(1..=self.plan.max_write_ticks)
        } else {
            0
        }
    }

    /// Has the state machine do what it has come to. Whether there was anything.
    fn apply_due(&mut self, id: MemberId) -> Result<bool, Breach> {
        let now = self.now;
        let mut any = false;
        loop {
            let awake = |running: &&mut super::member::Running<M>| running.paused_until.is_none();
            let Some(running) = self.members.get_mut(&id).and_then(Member::running).filter(awake) else {
                return Ok(any);
            };
            let Some(job) = running.applies.pop_due(now) else {
                return Ok(any);
            };
            any = true;
            self.apply(id, job)?;
        }
    }

    fn apply(&mut self, id: MemberId, job: ApplyJob) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        let restores = matches!(job, ApplyJob::Restore { .. });
        let mut answers = Vec::new();
        let outcome = running.applier.run(job, &mut |applied| answers.push(applied));
        self.watch(id)?;
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
        if self.step_done(id) == Power::Gone {
            self.report.unanswered_crashes += u64::from(!answers.is_empty());
            return Ok(());
        }
        for applied in answers {
            self.answer(id, applied.revision, applied.proposal, applied.answer)?;
        }
        Ok(())
    }

    /// Writes a snapshot whose time has come.
    pub(super) fn write_due_snapshot(&mut self, id: MemberId) -> Result<(), Breach> {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let fails = member.disk_fault.is_some();
        let Some(running) = member.working() else {
            return Ok(());
        };
        let Some((_, job)) = running.job.take_if(|(at, _)| *at <= now) else {
            return Ok(());
        };
        let written = if fails {
            self.report.snapshots_unwritten += 1;
            Err(SnapshotError::Io {
                doing: "write a snapshot",
                source: std::io::ErrorKind::StorageFull.into(),
            })
        } else {
            self.report.snapshots_written += 1;
            job.run()
        };
        let mut outputs = Vec::new();
        let outcome = running
            .replica
            .snapshot_written(written, &mut |output| outputs.push(output));
        self.carry_out_all(id, outputs)?;
        match outcome {
            Ok(()) => self.process(id),
            Err(error) => self.fail(id, &error),
        }
    }
}

/// Writes that wait for a member's disk.
pub(super) type WaitingWrites = Queue<WriteJob>;
/// What waits for a member's state machine.
pub(super) type WaitingApplies = Queue<ApplyJob>;
