//! How a member begins: the first snapshot of a new cluster, and how state and log are put together again at each start.

use std::collections::BTreeMap;

use raft::{Config, RawNode, ReadOnlyOption};
use tenantry_types::Revision;

use super::applier::Applier;
use super::error::ReplicaError;
use super::log_view::LogView;
use super::log_writer::{LogWriter, Reloaded};
use super::logger::logger;
use super::replica::{Beginning, Replica, ReplicaConfig};
use super::{InitialMembers, StateMachine};
use crate::mutants::{Mutant, mutated};
use crate::storage::{
    HardState, IdentityError, LoadedLog, LogPosition, LogStore, Members, MembersAt, SnapshotFolder, SnapshotHeader,
    StoreError,
};

/// Where every cluster's log begins: so that who joins later needs a snapshot, which names the members.
pub const GENESIS: LogPosition = LogPosition { index: 1, term: 1 };
const MAX_MESSAGE_BYTES: u64 = 1024 * 1024;
const MAX_MESSAGES_IN_FLIGHT: usize = 256;

/// A member in its three parts, each of which is driven by a thread of its own, or by hand.
pub struct Opened<L, M> {
    /// Decides.
    pub replica: Replica,
    /// Makes durable.
    pub writer: LogWriter<L>,
    /// Applies.
    pub applier: Applier<M>,
}

/// Restores the newest snapshot into `machine` and continues from the log.
///
/// # Errors
/// When the disk cannot be read, or does not hold together.
pub fn open<L: LogStore, M: StateMachine>(
    config: ReplicaConfig,
    mut store: L,
    snapshots: SnapshotFolder,
    mut machine: M,
) -> Result<Opened<L, M>, ReplicaError> {
    let mut log = store.load()?;
    let (applied, snapshot_members) = if config.beginning == Beginning::Joining && log.is_waiting() {
        (Revision(0), Members::default())
    } else {
        let header = restore_newest(&log, &snapshots, &mut machine)?;
        log.snapshot = header.position;
        (Revision(header.position.index), header.members.members)
    };
    machine.applied(applied);
    let reloaded = Reloaded { log, snapshot_members };
    Ok(Opened {
        replica: Replica::new(config, reloaded, applied.get())?,
        writer: LogWriter::new(store, snapshots.clone()),
        applier: Applier::new(machine, snapshots, applied),
    })
}

/// Writes the first snapshot of a new cluster at `genesis`, from `machine` in its initial state. Does nothing to a store that holds a
/// log already.
///
/// # Errors
/// When the disk refuses, or the folder shows that this member once had a log.
pub fn bootstrap<L: LogStore, M: StateMachine>(
    config: &ReplicaConfig,
    store: &mut L,
    snapshots: &SnapshotFolder,
    machine: &M,
    initial: &InitialMembers,
    genesis: LogPosition,
) -> Result<(), ReplicaError> {
    if store.load()? != LoadedLog::default() {
        return Ok(());
    }
    if snapshots.list()?.iter().any(|position| *position > genesis) {
        return Err(StoreError::from(IdentityError::Incomplete {
            folder: "the data folder".into(),
            missing: "its Raft log",
        })
        .into());
    }
    let members = MembersAt {
        index: genesis.index,
        members: Members {
            voters: initial.addresses().keys().copied().collect(),
            addresses: initial.addresses().clone(),
            logs: match &config.beginning {
                Beginning::Genesis(logs) => logs.clone(),
                Beginning::Joining => BTreeMap::new(),
            },
            ..Members::default()
        },
    };
    let header = SnapshotHeader {
        position: genesis,
        members: members.clone(),
        fingerprint: config.fingerprint,
    };
    snapshots.write(&header, |out| M::write_snapshot(&machine.cut(), out))?;
    let hard_state = HardState {
        term: genesis.term,
        vote: 0,
        commit: genesis.index,
    };
    store.install_snapshot(genesis, &members, hard_state)?;
    Ok(())
}

/// A raft node on what the disk holds, with everything up to `applied` applied.
pub(super) fn raft_node(
    config: &ReplicaConfig,
    reloaded: Reloaded,
    applied: u64,
) -> Result<RawNode<LogView>, ReplicaError> {
    let Reloaded {
        mut log,
        snapshot_members,
    } = reloaded;
    let last = log.last().index;
    if log.hard_state.commit > last || applied > last {
        return Err(StoreError::Damaged {
            what: format!(
                "the log ends at {last}, but {} was committed and {applied} applied",
                log.hard_state.commit
            ),
        }
        .into());
    }
    log.hard_state.commit = log.hard_state.commit.max(applied);
    let view = LogView::new(log, snapshot_members);
    RawNode::new(&raft_config(config, applied), view, &logger()).map_err(|error| ReplicaError::Raft(error.to_string()))
}

/// Tries the marked snapshot, then older ones from which the log still leads on.
fn restore_newest<M: StateMachine>(
    log: &LoadedLog,
    snapshots: &SnapshotFolder,
    machine: &mut M,
) -> Result<SnapshotHeader, ReplicaError> {
    let mut candidates = snapshots.list()?;
    candidates.retain(|position| log.leads_on_from(*position));
    for position in candidates {
        let restored = snapshots
            .read(position)
            .map_err(ReplicaError::from)
            .and_then(|(header, mut reader)| {
                machine
                    .restore(&mut reader)
                    .map_err(|source| ReplicaError::Restore { position, source })?;
                Ok(header)
            });
        match restored {
            Ok(header) => return Ok(header),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                index = position.index,
                "a snapshot cannot be used; trying an older one"
            ),
        }
    }
    Err(ReplicaError::NoSnapshot {
        from: log.compacted.index,
    })
}

fn raft_config(config: &ReplicaConfig, applied: u64) -> Config {
    let (min_election_tick, max_election_tick) = config.election_range.unwrap_or((0, 0));
    Config {
        id: config.member.get(),
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        min_election_tick,
        max_election_tick,
        applied,
        pre_vote: true,
        check_quorum: true,
        // "Lease based" reads of raft-rs can be stale by an election timeout.
        read_only_option: if mutated(Mutant::LeaseBasedReads) {
            ReadOnlyOption::LeaseBased
        } else {
            ReadOnlyOption::Safe
        },
        max_size_per_msg: MAX_MESSAGE_BYTES,
        max_inflight_msgs: MAX_MESSAGES_IN_FLIGHT,
        max_uncommitted_size: config.max_uncommitted_bytes.max(MAX_MESSAGE_BYTES),
        max_committed_size_per_ready: 4 * MAX_MESSAGE_BYTES,
        ..Config::default()
    }
}
