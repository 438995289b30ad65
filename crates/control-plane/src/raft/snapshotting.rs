//! Snapshots in the life of a replica: the first one, when the next is due, what the log may forget after it, and how
//! state and log are put together again at start.

use raft::{Config, RawNode, ReadOnlyOption};
use tenantry_types::Revision;

use super::log_view::LogView;
use super::logger::logger;
use super::replica::{Beginning, Output, Replica, ReplicaConfig, ReplicaError};
use super::{InitialMembers, StateMachine};
use crate::storage::{
    HardState, IdentityError, LoadedLog, LogPosition, LogStore, Members, MembersAt, SnapshotError, SnapshotFolder,
    SnapshotHeader, StoreError,
};

/// Where every cluster's log begins: so that who joins later needs a snapshot, which names the members.
const GENESIS: LogPosition = LogPosition { index: 1, term: 1 };
/// Ticks to wait after a snapshot could not be written.
const RETRY_TICKS: u64 = 200;
const MAX_MESSAGE_BYTES: u64 = 1024 * 1024;
const MAX_MESSAGES_IN_FLIGHT: usize = 256;

/// When the next snapshot is due.
#[derive(Debug, Default)]
pub(super) struct Snapshotting {
    ticks: u64,
    running: bool,
    requested: bool,
    not_before: u64,
    applied_bytes: u64,
}

impl Snapshotting {
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
    }

    pub(super) fn count(&mut self, command_bytes: usize) {
        let bytes = u64::try_from(command_bytes).unwrap_or(u64::MAX);
        self.applied_bytes = self.applied_bytes.saturating_add(bytes);
    }
}

/// A consistent copy of the state, to be written by whoever has the time.
pub struct SnapshotJob<M: StateMachine> {
    cut: M::Cut,
    header: SnapshotHeader,
    folder: SnapshotFolder,
}

impl<M: StateMachine> SnapshotJob<M> {
    /// Writes the file durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn run(self) -> Result<SnapshotHeader, SnapshotError> {
        self.folder
            .write(&self.header, |out| M::write_snapshot(&self.cut, out))?;
        Ok(self.header)
    }
}

impl<L: LogStore, M: StateMachine> Replica<L, M> {
    /// Asks for a snapshot as soon as there is something new to snapshot. The newest one will do if there is not.
    pub fn request_snapshot(&mut self) {
        self.snapshotting.requested = true;
        self.snapshotting.not_before = 0;
    }

    pub(super) fn start_due_snapshot(&mut self, out: &mut dyn FnMut(Output<M>)) {
        let view = self.node.store();
        let wanted = view.take_wanted();
        let state = &mut self.snapshotting;
        state.requested |= wanted;
        let since = self.applied.saturating_sub(view.snapshot_position().index);
        let due = state.requested
            || since >= self.config.snapshot_every
            || state.applied_bytes >= self.config.snapshot_every_bytes;
        // Replayed entries may precede the newest members: a snapshot must not claim members of its future.
        if since == 0 || self.applied < view.members().index {
            state.requested &= since != 0;
            return;
        }
        if !due || state.running || state.ticks < state.not_before {
            return;
        }
        let Some(position) = view.position(self.applied) else {
            return;
        };
        state.running = true;
        state.requested = false;
        state.applied_bytes = 0;
        out(Output::SnapshotDue(SnapshotJob {
            cut: self.machine.cut(),
            header: SnapshotHeader {
                position,
                members: view.members().clone(),
                fingerprint: self.config.fingerprint,
            },
            folder: self.snapshots.clone(),
        }));
    }

    /// Moves the marker to a written snapshot and lets the log forget what lies far enough behind it.
    ///
    /// # Errors
    /// When the log store fails. A snapshot that could not be written is tried again later and is no error here.
    pub fn snapshot_written(&mut self, outcome: Result<SnapshotHeader, SnapshotError>) -> Result<(), ReplicaError> {
        self.snapshotting.running = false;
        let header = match outcome {
            Ok(header) => header,
            Err(error) => {
                self.snapshotting.not_before = self.snapshotting.ticks + RETRY_TICKS;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no snapshot written, will try again"
                );
                return Ok(());
            }
        };
        if header.position <= self.snapshot() {
            self.forget_old_snapshots();
            return Ok(());
        }
        let through = self.forgettable(header.position)?;
        let view = self.node.store();
        self.store.compact(header.position, through, view.hard_state())?;
        self.node
            .mut_store()
            .compact(header.position, header.members.members, through);
        self.forget_old_snapshots();
        Ok(())
    }

    /// While the store is failed, a snapshot's result cannot be used; the next one covers it.
    pub fn discard_snapshot(&mut self) {
        self.snapshotting.running = false;
    }

    /// The last entry that nobody needs any more: not a lagging follower, not one that is being sent a snapshot, and
    /// not ourselves, should the newest snapshot turn out unreadable and the one before it be used.
    fn forgettable(&self, snapshot: LogPosition) -> Result<LogPosition, ReplicaError> {
        let view = self.node.store();
        let before_it = self
            .snapshots
            .list()?
            .into_iter()
            .find(|position| *position < snapshot)
            .map_or(0, |position| position.index);
        let through = snapshot
            .index
            .saturating_sub(self.config.log_keep)
            .min(before_it)
            .min(self.in_flight.values().copied().min().unwrap_or(u64::MAX))
            .max(view.first().saturating_sub(1));
        view.position(through)
            .ok_or_else(|| ReplicaError::Raft(format!("the log does not hold entry {through}")))
    }
}

pub(super) fn bootstrap<L: LogStore, M: StateMachine>(
    config: &ReplicaConfig,
    store: &mut L,
    snapshots: &SnapshotFolder,
    machine: &M,
    initial: &InitialMembers,
) -> Result<(), ReplicaError> {
    if store.load()? != LoadedLog::default() {
        return Ok(());
    }
    if snapshots.list()?.iter().any(|position| *position > GENESIS) {
        return Err(StoreError::from(IdentityError::Incomplete {
            folder: "the data folder".into(),
            missing: "its Raft log",
        })
        .into());
    }
    let members = MembersAt {
        index: GENESIS.index,
        members: Members {
            voters: initial.addresses().keys().copied().collect(),
            addresses: initial.addresses().clone(),
            logs: match &config.beginning {
                Beginning::Genesis(logs) => logs.clone(),
                Beginning::Joining => Default::default(),
            },
            ..Members::default()
        },
    };
    let header = SnapshotHeader {
        position: GENESIS,
        members: members.clone(),
        fingerprint: config.fingerprint,
    };
    snapshots.write(&header, |out| M::write_snapshot(&machine.cut(), out))?;
    let hard_state = HardState {
        term: GENESIS.term,
        vote: 0,
        commit: GENESIS.index,
    };
    store.install_snapshot(GENESIS, &members, hard_state)?;
    Ok(())
}

/// Reads the disk and makes `machine` and a new raft node agree with it. A machine that is already at `applied` keeps
/// its state, unless the disk holds a newer snapshot.
pub(super) fn open_node<L: LogStore, M: StateMachine>(
    config: &ReplicaConfig,
    store: &mut L,
    snapshots: &SnapshotFolder,
    machine: &mut M,
    applied: &mut u64,
) -> Result<RawNode<LogView>, ReplicaError> {
    let mut log = store.load()?;
    let last = log.last().index;
    if *applied == 0 && log == LoadedLog::default() && config.beginning == Beginning::Joining {
        let view = LogView::new(log, Members::default());
        return RawNode::new(&raft_config(config, 0), view, &logger())
            .map_err(|error| ReplicaError::Raft(error.to_string()));
    }
    let header = if *applied == 0 || log.snapshot.index > *applied {
        let header = restore_newest(&log, snapshots, machine)?;
        *applied = header.position.index;
        machine.applied(Revision(*applied));
        header
    } else {
        snapshots.read(log.snapshot)?.0
    };
    log.snapshot = header.position;
    if log.hard_state.commit > last || *applied > last {
        return Err(StoreError::Damaged {
            what: format!(
                "the log ends at {last}, but {} was committed and {applied} applied",
                log.hard_state.commit
            ),
        }
        .into());
    }
    log.hard_state.commit = log.hard_state.commit.max(*applied);
    let view = LogView::new(log, header.members.members);
    RawNode::new(&raft_config(config, *applied), view, &logger()).map_err(|error| ReplicaError::Raft(error.to_string()))
}

/// Tries the marked snapshot, then older ones from which the log still leads on.
fn restore_newest<M: StateMachine>(
    log: &LoadedLog,
    snapshots: &SnapshotFolder,
    machine: &mut M,
) -> Result<SnapshotHeader, ReplicaError> {
    let usable = |position: &LogPosition| *position <= log.snapshot && position.index >= log.compacted.index;
    for position in snapshots.list()?.into_iter().filter(usable) {
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
        read_only_option: ReadOnlyOption::Safe,
        max_size_per_msg: MAX_MESSAGE_BYTES,
        max_inflight_msgs: MAX_MESSAGES_IN_FLIGHT,
        max_uncommitted_size: config.max_uncommitted_bytes.max(MAX_MESSAGE_BYTES),
        max_committed_size_per_ready: 4 * MAX_MESSAGE_BYTES,
        ..Config::default()
    }
}
