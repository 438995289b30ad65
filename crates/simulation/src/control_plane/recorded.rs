//! A state machine that lets the checker see everything that the log does with it, and changes nothing about it.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ::control_plane::raft::{FatalApply, RestoreError, StateMachine};
use tenantry_state::Outcome;
use tenantry_types::Revision;

/// What the log did.
#[derive(Debug)]
pub(super) enum Observation {
    /// Applied a command.
    Applied {
        revision: Revision,
        command: Vec<u8>,
        outcome: Outcome,
        digest: u64,
    },
    /// Replaced the state by a snapshot, of the revision reached next.
    Restored,
    /// Published the state.
    Reached { revision: Revision, digest: u64 },
}

/// Where observations wait for the checker.
#[derive(Debug, Clone, Default)]
pub(super) struct Observations(Arc<Mutex<Vec<Observation>>>);

impl Observations {
    pub(super) fn take(&self) -> Vec<Observation> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, observation: Observation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(observation);
    }
}

#[derive(Debug)]
pub(super) struct Recorded<M> {
    machine: M,
    observations: Observations,
}

impl<M> Recorded<M> {
    pub(super) fn new(machine: M, observations: Observations) -> Self {
        Self { machine, observations }
    }
}

impl<M: StateMachine<Answer = Outcome>> StateMachine for Recorded<M> {
    type Answer = Outcome;
    type Cut = M::Cut;

    fn apply(&mut self, revision: Revision, command: &[u8]) -> Result<Outcome, FatalApply> {
        let outcome = self.machine.apply(revision, command)?;
        self.observations.push(Observation::Applied {
            revision,
            command: command.to_vec(),
            outcome: outcome.clone(),
            digest: self.machine.digest(),
        });
        Ok(outcome)
    }

    fn applied(&mut self, revision: Revision) {
        self.machine.applied(revision);
        let digest = self.machine.digest();
        self.observations.push(Observation::Reached { revision, digest });
    }

    fn cut(&self) -> M::Cut {
        self.machine.cut()
    }

    fn write_snapshot(cut: &M::Cut, out: &mut dyn Write) -> io::Result<()> {
        M::write_snapshot(cut, out)
    }

    fn restore(&mut self, input: &mut dyn Read) -> Result<(), RestoreError> {
        self.machine.restore(input)?;
        self.observations.push(Observation::Restored);
        Ok(())
    }

    fn digest(&self) -> u64 {
        self.machine.digest()
    }
}
