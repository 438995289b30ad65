//! One member of the replicated log, without sockets, timers, threads or clocks.
//!
//! Whoever drives it hands in ticks, messages and proposals, then calls [`Replica::process_ready`] and carries out the
//! outputs. It writes only through the store and the snapshot folder it was given.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use tenantry_types::{MemberId, Revision};

use super::change::Heard;
use super::codec::{ProposalId, command_entry, decode_message, is_peer_message};
use super::log_view::LogView;
use super::snapshotting::{SnapshotJob, Snapshotting, bootstrap, open_node};
use super::{FatalApply, InitialMembers, RestoreError, Role, StateMachine};
use crate::storage::{
    IncomingSnapshot, LogId, LogPosition, LogStore, Members, MembersAt, SnapshotError, SnapshotFolder, StoreError,
};

/// How a replica behaves. Times are in ticks.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// This member.
    pub member: MemberId,
    /// Hash over the initial member list, as in its folder.
    pub fingerprint: u64,
    /// Without a leader's message for so long, an election begins.
    pub election_ticks: usize,
    /// A leader sends a heartbeat this often.
    pub heartbeat_ticks: usize,
    /// The election timeout is drawn from this range, upper end excluded; `None` for `election_ticks` to twice that.
    pub election_range: Option<(usize, usize)>,
    /// A snapshot is due after so many applied entries.
    pub snapshot_every: u64,
    /// A snapshot is also due after so many bytes of commands.
    pub snapshot_every_bytes: u64,
    /// Entries to keep behind a snapshot, for followers that lag.
    pub log_keep: u64,
    /// Bytes of commands that may wait to be committed before proposals are refused.
    pub max_uncommitted_bytes: u64,
    /// How its log begins.
    pub beginning: Beginning,
}

/// How a member's log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// With the cluster, whose first members have these logs. The log of a member that is missing is never checked.
    Genesis(BTreeMap<MemberId, LogId>),
    /// Empty, until a snapshot arrives.
    Joining,
}

impl ReplicaConfig {
    /// The defaults of the design.
    #[must_use]
    pub fn new(member: MemberId, fingerprint: u64) -> Self {
        Self {
            member,
            fingerprint,
            election_ticks: 10,
            heartbeat_ticks: 2,
            election_range: None,
            snapshot_every: 10_000,
            snapshot_every_bytes: 64 * 1024 * 1024,
            log_keep: 5_000,
            max_uncommitted_bytes: 16 * 1024 * 1024,
            beginning: Beginning::Genesis(BTreeMap::new()),
        }
    }
}

/// What is to be carried out by whoever drives a replica, in the order in which it is given.
pub enum Output<M: StateMachine> {
    /// Send this to a member. May be lost; if it certainly was, say so by `report_unreachable`.
    Message {
        /// To whom.
        to: MemberId,
        /// What.
        bytes: Bytes,
    },
    /// Send a snapshot file; `report_snapshot` must follow whatever happens.
    Snapshot(OutgoingSnapshot),
    /// A command was applied.
    Applied {
        /// At which revision.
        revision: Revision,
        /// Whose it was.
        proposal: Option<ProposalId>,
        /// What the state machine said.
        answer: M::Answer,
    },
    /// A read may go ahead once `index` is applied.
    Read {
        /// The read that asked.
        id: ReadId,
        /// What must be applied first.
        index: Revision,
    },
    /// The member's role, its term or its leader changed.
    Role {
        /// The new role.
        role: Role,
        /// The new term.
        term: u64,
        /// The new leader.
        leader: Option<MemberId>,
    },
    /// Write a snapshot, anywhere and at leisure, and hand the result to `snapshot_written`.
    SnapshotDue(SnapshotJob<M>),
}

/// A snapshot file on its way to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingSnapshot {
    /// To whom.
    pub to: MemberId,
    /// The message that goes with the file.
    pub message: Bytes,
    /// Which file.
    pub position: LogPosition,
}

/// How sending a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The receiver has it.
    Delivered,
    /// It did not arrive.
    Failed,
}

/// Names a read in the whole cluster; a second one of the same name would be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId {
    /// Drawn at random at each start of a member.
    pub origin: u64,
    /// Counts up within one origin.
    pub sequence: u64,
}

/// Why commands were certainly not taken into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeRefusal {
    /// Another member leads, or none.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does.
        leader: Option<MemberId>,
    },
    /// Too much waits to be committed.
    #[error("too many bytes wait to be committed")]
    Full,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It was taken in.
    Taken,
    /// It was dropped.
    Refused(&'static str),
}

/// Why a replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The log store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A snapshot could not be written, read or installed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A command could not be applied.
    #[error("cannot apply the command at revision {revision}: this version may be older than the cluster")]
    Apply {
        /// Where.
        revision: Revision,
        /// Why.
        #[source]
        source: FatalApply,
    },
    /// The state machine refused a snapshot.
    #[error("cannot take over the state of the snapshot at {}", position.index)]
    Restore {
        /// Which.
        position: LogPosition,
        /// Why.
        #[source]
        source: RestoreError,
    },
    /// No snapshot can be read from which the log leads on.
    #[error(
        "no usable snapshot from index {from} on; nothing was changed. Keep the folder for examination, and let this \
         member join again from the others with a new id and an empty folder"
    )]
    NoSnapshot {
        /// The oldest index that would do.
        from: u64,
    },
    /// The log holds an entry of a kind that this version does not know.
    #[error("entry {index} is a membership change that this version cannot apply: it may be older than the cluster")]
    UnknownEntry {
        /// Where.
        index: u64,
    },
    /// The leader counts on entries that this member no longer has.
    #[error(
        "this member has acknowledged entries up to {acknowledged} but its log ends at {last}: its disk was lost. Remove it \
         from the cluster and join again under a new id with an empty folder"
    )]
    LostLog {
        /// What the leader counts on.
        acknowledged: u64,
        /// Where the log ends.
        last: u64,
    },
    /// raft-rs refused.
    #[error("raft: {0}")]
    Raft(String),
}

impl ReplicaError {
    /// Whether [`Replica::rebuild`] can help, perhaps later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Snapshot(error) => matches!(error, SnapshotError::Io { .. }),
            _ => false,
        }
    }
}

/// One member of the replicated log.
pub struct Replica<L, M: StateMachine> {
    pub(super) config: ReplicaConfig,
    pub(super) node: RawNode<LogView>,
    pub(super) store: L,
    pub(super) snapshots: SnapshotFolder,
    pub(super) machine: M,
    /// The last index whose effect the machine holds; durable in the log or a snapshot.
    pub(super) applied: u64,
    pub(super) digest: u64,
    pub(super) announced: (Role, u64, Option<MemberId>),
    /// A received file that waits for raft-rs to accept its message.
    pub(super) incoming: Option<(LogPosition, IncomingSnapshot)>,
    /// Snapshots being sent: the log behind them must stay.
    pub(super) in_flight: BTreeMap<MemberId, u64>,
    pub(super) snapshotting: Snapshotting,
    pub(super) heard: Heard,
}

impl<L: LogStore, M: StateMachine> Replica<L, M> {
    /// Writes the first snapshot of a new cluster, from `machine` in its initial state. Does nothing to a store that
    /// holds a log already.
    ///
    /// # Errors
    /// When the disk refuses, or the folder shows that this member once had a log.
    pub fn bootstrap(
        config: &ReplicaConfig,
        store: &mut L,
        snapshots: &SnapshotFolder,
        machine: &M,
        members: &InitialMembers,
    ) -> Result<(), ReplicaError> {
        bootstrap(config, store, snapshots, machine, members)
    }

    /// Restores the newest snapshot into `machine` and continues from the log.
    ///
    /// # Errors
    /// When the disk cannot be read, or does not hold together.
    pub fn open(
        config: ReplicaConfig,
        mut store: L,
        snapshots: SnapshotFolder,
        mut machine: M,
    ) -> Result<Self, ReplicaError> {
        let mut applied = 0;
        let node = open_node(&config, &mut store, &snapshots, &mut machine, &mut applied)?;
        let digest = machine.digest();
        Ok(Self {
            announced: (Role::Follower, 0, None),
            config,
            node,
            store,
            snapshots,
            machine,
            applied,
            digest,
            incoming: None,
            in_flight: BTreeMap::new(),
            snapshotting: Snapshotting::default(),
            heard: Heard::default(),
        })
    }

    /// After a storage error: forgets what was in memory and continues from what the disk holds. The machine keeps its
    /// state, all of which is durable.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn rebuild(&mut self) -> Result<(), ReplicaError> {
        self.store.reopen()?;
        self.incoming = None;
        self.in_flight.clear();
        self.node = open_node(
            &self.config,
            &mut self.store,
            &self.snapshots,
            &mut self.machine,
            &mut self.applied,
        )?;
        self.digest = self.machine.digest();
        Ok(())
    }

    /// Lets one tick of time pass.
    pub fn tick(&mut self) {
        self.node.tick();
        self.snapshotting.tick();
        self.heard.tick();
    }

    /// Takes in a message of another member.
    ///
    /// # Errors
    /// `LostLog` when the leader counts on entries that are gone.
    pub fn step(&mut self, bytes: &Bytes) -> Result<Stepped, ReplicaError> {
        let Ok(message) = decode_message(bytes) else {
            return Ok(Stepped::Refused("not a raft message"));
        };
        if !is_peer_message(&message) {
            return Ok(Stepped::Refused("not a message between members"));
        }
        self.take(message)
    }

    /// Takes in a snapshot message together with its verified file. `process_ready` must follow.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_snapshot(&mut self, message: &Bytes, file: IncomingSnapshot) -> Result<Stepped, ReplicaError> {
        match decode_message(message) {
            Ok(message) if message.get_msg_type() == MessageType::MsgSnapshot => {
                self.incoming = Some((snapshot_position(&message), file));
                self.take(message)
            }
            _ => Ok(Stepped::Refused("not a snapshot message")),
        }
    }

    fn take(&mut self, message: Message) -> Result<Stepped, ReplicaError> {
        if message.to != self.config.member.get() {
            return Ok(Stepped::Refused("meant for another member"));
        }
        if !self.is_member(message.from) {
            return Ok(Stepped::Refused("from outside the cluster"));
        }
        let last = self.node.raft.raft_log.last_index();
        let current = message.term >= self.node.raft.term;
        if current && message.get_msg_type() == MessageType::MsgHeartbeat && message.commit > last {
            return Err(ReplicaError::LostLog {
                acknowledged: message.commit,
                last,
            });
        }
        self.heard.note(message.from);
        match self.node.step(message) {
            Ok(()) => Ok(Stepped::Taken),
            Err(_) => Ok(Stepped::Refused("not expected by raft")),
        }
    }

    fn is_member(&self, id: u64) -> bool {
        let members = self.members();
        // Whoever joins knows nobody until the first snapshot; the transport has checked the cluster.
        let joining = members.addresses.is_empty() && self.config.beginning == Beginning::Joining;
        joining || MemberId::new(id).is_ok_and(|id| members.addresses.contains_key(&id))
    }

    /// Proposes commands as one batch: all are taken into the log, in order, or none.
    ///
    /// # Errors
    /// When they were not.
    pub fn propose(&mut self, batch: Vec<(ProposalId, Bytes)>) -> Result<(), ProposeRefusal> {
        let not_leader = |leader| Err(ProposeRefusal::NotLeader { leader });
        if self.role() != Role::Leader {
            return not_leader(self.leader());
        }
        if let Some(successor) = self.node.raft.lead_transferee {
            return not_leader(MemberId::new(successor).ok());
        }
        if batch.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> = batch
            .into_iter()
            .map(|(id, command)| command_entry(Bytes::copy_from_slice(&id.to_bytes()), command))
            .collect();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.member.get();
        message.set_entries(entries.into());
        self.node.step(message).map_err(|_| ProposeRefusal::Full)
    }

    /// Asks from which index on a read sees everything acknowledged before. May be dropped silently: ask again, under
    /// a new id.
    pub fn read_index(&mut self, id: ReadId) {
        let mut context = self.config.member.get().to_be_bytes().to_vec();
        context.extend_from_slice(&id.origin.to_be_bytes());
        context.extend_from_slice(&id.sequence.to_be_bytes());
        self.node.read_index(context);
    }

    /// Says that a message to `to` was certainly lost.
    pub fn report_unreachable(&mut self, to: MemberId) {
        self.node.report_unreachable(to.get());
    }

    /// Says how sending a snapshot to `to` ended.
    pub fn report_snapshot(&mut self, to: MemberId, outcome: SnapshotOutcome) {
        self.in_flight.remove(&to);
        let status = match outcome {
            SnapshotOutcome::Delivered => SnapshotStatus::Finish,
            SnapshotOutcome::Failed => SnapshotStatus::Failure,
        };
        self.node.report_snapshot(to.get(), status);
    }

    /// Begins to hand leadership to `to`; given up after an election timeout.
    pub fn transfer_leadership(&mut self, to: MemberId) {
        self.node.transfer_leader(to.get());
    }

    /// The voter best placed to lead next: the one with the most of the log.
    #[must_use]
    pub fn successor(&self) -> Option<MemberId> {
        let progress = self.node.raft.prs();
        self.members()
            .voters
            .iter()
            .filter(|voter| **voter != self.config.member)
            .filter_map(|voter| progress.get(voter.get()).map(|state| (state.matched, *voter)))
            .max()
            .map(|(_, voter)| voter)
    }

    /// What it is at the moment.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// Who leads, as far as it knows.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        MemberId::new(self.node.raft.leader_id).ok()
    }

    /// The newest term it has seen.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The last index applied.
    #[must_use]
    pub fn applied(&self) -> Revision {
        Revision(self.applied)
    }

    /// The last index known to be committed.
    #[must_use]
    pub fn commit(&self) -> Revision {
        Revision(self.node.raft.raft_log.committed)
    }

    /// First and last index that the log holds; the first lies after the last in an empty log.
    #[must_use]
    pub fn log_range(&self) -> (u64, u64) {
        let view = self.node.store();
        (view.first(), view.last())
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> LogPosition {
        self.node.store().snapshot_position()
    }

    /// Hash of the state at `applied`.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Who takes part.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.node.store().members().members
    }

    /// Who takes part, and since which entry.
    #[must_use]
    pub fn members_at(&self) -> &MembersAt {
        self.node.store().members()
    }

    /// The state machine, to look at.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Bytes that the log store occupies on disk.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.store.size_on_disk_bytes()
    }
}

/// Which file a snapshot message needs; `None` for any other message.
#[must_use]
pub fn announced_snapshot(message: &Bytes) -> Option<LogPosition> {
    let message = decode_message(message).ok()?;
    (message.get_msg_type() == MessageType::MsgSnapshot).then(|| snapshot_position(&message))
}

fn snapshot_position(message: &Message) -> LogPosition {
    let metadata = message.get_snapshot().get_metadata();
    LogPosition {
        index: metadata.index,
        term: metadata.term,
    }
}
