//! One simulated machine: a disk that outlives crashes, and the replica that runs on it while the power is on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{
    Applier, Beginning, GENESIS, InitialMembers, LogWriter, Opened, Replica, ReplicaConfig, ReplicaError, Role,
    SnapshotJob, StateMachine, bootstrap, open,
};
use ::control_plane::storage::{DiskFault, Identity, LogPosition, MemoryDisk, MemoryLogStore, SnapshotFolder};
use tenantry_state::Outcome;
use tenantry_types::{MemberId, Revision};

use super::checked_log::{CheckedLog, Expected};
use super::clients::Reads;
use super::recorded::{Observations, Recorded};
use super::work::{WaitingApplies, WaitingWrites};

/// What survives a crash.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) id: MemberId,
    pub(super) disk: MemoryDisk,
    /// What the disk must hold.
    pub(super) expected: Expected,
    pub(super) snapshots: PathBuf,
    /// Snapshots that were damaged on this disk.
    pub(super) damaged: BTreeSet<LogPosition>,
    /// Hash over the members that the cluster began with.
    pub(super) fingerprint: u64,
    /// Who they were, for one of them; `None` for a member that joins later.
    pub(super) initial: Option<InitialMembers>,
    /// Distinct among members, so that no two of them split every vote.
    pub(super) election_ticks: usize,
    /// How far its wall clock is ahead.
    pub(super) clock_ahead_ms: u64,
    pub(super) snapshot_every: u64,
    pub(super) log_keep: u64,
}

impl Machine {
    pub(super) fn snapshot_folder(&self) -> Result<SnapshotFolder, ReplicaError> {
        Ok(SnapshotFolder::open(&self.snapshots, self.fingerprint)?)
    }

    /// Starts a replica from what the disk holds.
    pub(super) fn start<M: StateMachine<Answer = Outcome>>(
        &self,
        (machine, readers): (M, PublishedState),
        origin: u64,
    ) -> Result<Running<M>, ReplicaError> {
        let fingerprint = self.fingerprint;
        let config = ReplicaConfig {
            election_range: Some((self.election_ticks, self.election_ticks + 1)),
            snapshot_every: self.snapshot_every,
            log_keep: self.log_keep,
            beginning: match self.initial {
                Some(_) => Beginning::Genesis(BTreeMap::new()),
                None => Beginning::Joining,
            },
            ..ReplicaConfig::new(self.id, fingerprint)
        };
        let identity = Identity {
            member: self.id,
            fingerprint,
        };
        let store = MemoryLogStore::open(self.disk.clone(), identity)?;
        let mut store = CheckedLog::new(store, self.expected.clone());
        let folder = self.snapshot_folder()?;
        let observations = Observations::default();
        let machine = Recorded::new(machine, observations.clone());
        if let Some(initial) = &self.initial {
            bootstrap(&config, &mut store, &folder, &machine, initial, GENESIS)?;
        }
        let Opened {
            replica,
            writer,
            applier,
        } = open(config, store, folder.clone(), machine)?;
        Ok(Running {
            replica,
            writer,
            applier,
            writes: WaitingWrites::default(),
            applies: WaitingApplies::default(),
            next_write_takes: 0,
            steps_left: None,
            folder,
            readers,
            observations,
            origin,
            sequence: 0,
            checked: Revision::ZERO,
            job: None,
            disk: Disk::Works,
            paused_until: None,
            reads: Reads::default(),
        })
    }
}

/// What a crash ends.
pub(super) struct Running<M: StateMachine<Answer = Outcome>> {
    pub(super) replica: Replica,
    pub(super) writer: LogWriter<CheckedLog>,
    pub(super) applier: Applier<Recorded<M>>,
    pub(super) writes: WaitingWrites,
    pub(super) applies: WaitingApplies,
    /// How many ticks the next write takes at least.
    pub(super) next_write_takes: u64,
    /// After so many steps the power goes.
    pub(super) steps_left: Option<u32>,
    pub(super) folder: SnapshotFolder,
    pub(super) readers: PublishedState,
    pub(super) observations: Observations,
    /// Names the proposals of this start.
    pub(super) origin: u64,
    pub(super) sequence: u64,
    /// The last published revision that was checked.
    pub(super) checked: Revision,
    /// A snapshot to be written, and when.
    pub(super) job: Option<(u64, SnapshotJob<Recorded<M>>)>,
    pub(super) disk: Disk,
    /// The process is stopped until then, and knows nothing of it; what arrives waits.
    pub(super) paused_until: Option<u64>,
    /// Clients that wait for an answer to a read.
    pub(super) reads: Reads,
}

impl<M: StateMachine<Answer = Outcome>> Running<M> {
    pub(super) fn works(&self) -> bool {
        self.disk != Disk::Failed && self.paused_until.is_none()
    }

    pub(super) fn leads(&self) -> bool {
        self.works() && self.replica.role() == Role::Leader
    }
}

/// What a running member knows of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Works,
    /// The replica has met an error and waits to be rebuilt.
    Failed,
}

pub(super) enum Life<M: StateMachine<Answer = Outcome>> {
    Running(Box<Running<M>>),
    Crashed { until: u64 },
}

pub(super) struct Member<M: StateMachine<Answer = Outcome>> {
    pub(super) machine: Machine,
    pub(super) life: Life<M>,
    /// What the disk does wrong, and until when.
    pub(super) disk_fault: Option<(DiskFault, u64)>,
}

impl<M: StateMachine<Answer = Outcome>> Member<M> {
    pub(super) fn down(machine: Machine) -> Self {
        Self {
            machine,
            life: Life::Crashed { until: 0 },
            disk_fault: None,
        }
    }

    pub(super) fn running(&mut self) -> Option<&mut Running<M>> {
        match &mut self.life {
            Life::Running(running) => Some(running),
            Life::Crashed { .. } => None,
        }
    }

    /// Running, neither paused nor waiting for its disk.
    pub(super) fn working(&mut self) -> Option<&mut Running<M>> {
        self.running().filter(|running| running.works())
    }
}
