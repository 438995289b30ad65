//! The control plane as far as events go: the replicated state, and snapshots of it to go back to.

use tenantry_state::strategies::{at, initialize, member_id};
use tenantry_state::{Answer, Command, Record, Rejection, Restorer, State, apply};
use tenantry_types::{ClusterEpoch, Revision};

use super::violation::Breach;

/// The state of all members, and an old snapshot.
pub(super) struct ControlPlane {
    pub(super) state: State,
    snapshot: Vec<Record>,
    now: u64,
}

impl ControlPlane {
    /// A cluster with an identity.
    pub(super) fn new() -> Result<Self, Breach> {
        let mut control_plane = Self {
            state: State::new(),
            snapshot: Vec::new(),
            now: 1_000,
        };
        control_plane.commit(initialize(1))?;
        control_plane.save();
        Ok(control_plane)
    }

    /// Commits a command that the control plane must accept.
    pub(super) fn commit(&mut self, command: Command) -> Result<Answer, Breach> {
        self.propose(command)
            .map_err(|rejection| Breach::Failed(format!("rejected: {rejection}")))
    }

    /// Commits a command.
    pub(super) fn propose(&mut self, command: Command) -> Result<Answer, Rejection> {
        self.now += 10;
        let revision = self.state.revision().next();
        let mut envelope = at(self.now, command);
        envelope.proposed_by = member_id(1 + self.now % 3);
        apply(&mut self.state, revision, envelope).outcome
    }

    /// Goes on from a snapshot of this moment, as a member that fell behind does.
    pub(super) fn install_snapshot(&mut self) -> Result<(), Breach> {
        let installed = restored(self.state.records())?;
        if installed.digest() != self.state.digest() {
            return Err(Breach::Inconsistent("a snapshot is not what it was made of".to_owned()));
        }
        self.state = installed;
        Ok(())
    }

    /// Keeps this moment to come back to.
    pub(super) fn save(&mut self) {
        self.snapshot = self.state.records().collect();
    }

    /// Begins another life with what was saved.
    pub(super) fn restore(&mut self) -> Result<(), Breach> {
        let saved = restored(self.snapshot.iter().cloned())?;
        let current = self.state.cluster().map_or(1, |cluster| cluster.epoch.get());
        let epoch = ClusterEpoch(current + 1);
        let skipped = saved
            .skipped_by(epoch)
            .map_err(|error| Breach::Failed(error.to_string()))?;
        let revision = Revision(saved.revision().get() + skipped);
        self.state = saved
            .in_new_epoch(epoch, revision)
            .map_err(|error| Breach::Failed(error.to_string()))?;
        Ok(())
    }
}

fn restored(records: impl Iterator<Item = Record>) -> Result<State, Breach> {
    let inconsistent = |error: tenantry_state::RestoreError| Breach::Inconsistent(error.to_string());
    let mut restorer = Restorer::new();
    for record in records {
        restorer.add(record).map_err(inconsistent)?;
    }
    restorer.finish().map_err(inconsistent)
}
