//! One member of the replicated log, without disks, sockets, timers, threads or clocks.
//!
//! Whoever drives it hands in ticks, messages and proposals, then calls [`Replica::process_ready`] and carries out the
//! outputs: sends, writes, applies. What was written is reported back by [`Replica::written`].

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use tenantry_types::{MemberId, Revision};

use super::Role;
use super::applier::ApplyJob;
use super::change::Heard;
use super::codec::{ProposalId, command_entry, decode_message, is_peer_message, names};
use super::error::ReplicaError;
use super::log_view::LogView;
use super::log_writer::{Reloaded, Written};
use super::opening::raft_node;
use super::output::{Output, ProposeRefusal, ReadId, SnapshotOutcome, Stepped};
use super::read_questions::ReadQuestions;
use super::snapshotting::Snapshotting;
use crate::mutants::{Mutant, mutated};
use crate::storage::{IncomingSnapshot, LogId, LogPosition, Members, MembersAt};

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

/// One member of the replicated log.
pub struct Replica {
    pub(super) config: ReplicaConfig,
    pub(super) node: RawNode<LogView>,
    /// Counts the lives of `node`: what was asked for in an earlier one is of no use to this one.
    pub(super) generation: u64,
    /// The last index that was handed over to be applied.
    pub(super) handed_over: u64,
    /// Write jobs that have not been answered.
    pub(super) writes_under_way: usize,
    /// The term on disk, which is the one that may be spoken in.
    pub(super) durable_term: u64,
    /// A snapshot that is being written in place of the log. The member is deaf meanwhile: raft-rs panics when an
    /// election falls between a snapshot taken in and the same snapshot applied.
    pub(super) installing: Option<LogPosition>,
    pub(super) announced: (Role, u64, Option<MemberId>),
    /// A received file that waits for raft-rs to accept its message.
    pub(super) incoming: Option<(LogPosition, IncomingSnapshot)>,
    /// Snapshots being sent: the log behind them must stay.
    pub(super) in_flight: BTreeMap<MemberId, u64>,
    pub(super) snapshotting: Snapshotting,
    pub(super) read_questions: ReadQuestions,
    /// The members after the last change that was taken from the log in this process. The disk may not say so yet.
    pub(super) changed: Option<MembersAt>,
    pub(super) heard: Heard,
}

impl Replica {
    /// A member whose state machine is at `applied`, on a disk that holds `reloaded`.
    pub(super) fn new(config: ReplicaConfig, reloaded: Reloaded, applied: u64) -> Result<Self, ReplicaError> {
        let node = raft_node(&config, reloaded, applied)?;
        Ok(Self {
            durable_term: node.raft.term,
            announced: (Role::Follower, 0, None),
            snapshotting: Snapshotting::default(),
            read_questions: ReadQuestions::default(),
            changed: None,
            heard: Heard::default(),
            config,
            node,
            generation: 1,
            handed_over: applied,
            writes_under_way: 0,
            installing: None,
            incoming: None,
            in_flight: BTreeMap::new(),
        })
    }

    /// After a failure of the disk: forgets what was in memory and continues from what the disk holds. What was handed
    /// over to be applied is on that disk, and stays applied.
    ///
    /// # Errors
    /// When what the disk holds does not fit what was applied.
    pub fn rebuild(&mut self, mut reloaded: Reloaded, out: &mut dyn FnMut(Output)) -> Result<(), ReplicaError> {
        if mutated(Mutant::NodeResumed) {
            return Ok(());
        }
        let snapshot = reloaded.log.snapshot;
        // Changes up to `handed_over` will not be taken from the log again, but the disk may lack the last of them.
        let unwritten = self
            .changed
            .clone()
            .filter(|changed| changed.index > reloaded.log.members.index);
        if let Some(changed) = &unwritten {
            reloaded.log.members = changed.clone();
        }
        let members = reloaded.log.members.clone();
        // An installation can have reached the disk although it was reported as failed.
        let behind = snapshot.index > self.handed_over;
        self.handed_over = self.handed_over.max(snapshot.index);
        self.node = raft_node(&self.config, reloaded, self.handed_over)?;
        self.generation += 1;
        self.writes_under_way = 0;
        self.durable_term = self.node.raft.term;
        self.installing = None;
        self.incoming = None;
        self.in_flight.clear();
        self.snapshotting.discard();
        if behind && !mutated(Mutant::RestoreForgotten) {
            out(Output::Apply(ApplyJob::Restore { position: snapshot }));
        }
        if let Some(changed) = unwritten {
            self.write_members(changed, out);
        }
        out(Output::Members(members));
        Ok(())
    }

    /// Lets one tick of time pass.
    pub fn tick(&mut self) {
        if self.installing.is_none() || mutated(Mutant::StepsWhileInstalling) {
            self.node.tick();
        }
        self.snapshotting.tick();
        self.heard.tick();
    }

    /// Takes in a message of another member.
    ///
    /// # Errors
    /// `LostLog` when the leader counts on entries that are gone.
    pub fn step(&mut self, bytes: &Bytes) -> Result<Stepped, ReplicaError> {
        match PeerMessage::decode(bytes) {
            Ok(message) => self.step_message(message),
            Err(reason) => Ok(Stepped::Refused(reason)),
        }
    }

    /// As [`step`](Self::step), with a message that was decoded before.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub(super) fn step_message(&mut self, message: PeerMessage) -> Result<Stepped, ReplicaError> {
        self.take(message.0)
    }

    /// Takes in a snapshot message together with its verified file. `process_ready` must follow.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_snapshot(&mut self, message: &Bytes, file: IncomingSnapshot) -> Result<Stepped, ReplicaError> {
        let message = match decode_message(message) {
            Ok(message) if message.get_msg_type() == MessageType::MsgSnapshot => message,
            _ => return Ok(Stepped::Refused("not a snapshot message")),
        };
        let Some(header) = file.header() else {
            return Ok(Stepped::Refused("the file was not verified"));
        };
        let announced = message.get_snapshot().get_metadata().get_conf_state();
        if !names(announced, &header.members.members) {
            return Ok(Stepped::Refused("the file names other members than its message"));
        }
        self.incoming = Some((snapshot_position(&message), file));
        self.take(message)
    }

    fn take(&mut self, message: Message) -> Result<Stepped, ReplicaError> {
        if message.to != self.config.member.get() && !mutated(Mutant::ForeignMessageTaken) {
            return Ok(Stepped::Refused("meant for another member"));
        }
        if !self.may_be_member(message.from) {
            return Ok(Stepped::Refused("from outside the cluster"));
        }
        if self.installing.is_some() && !mutated(Mutant::StepsWhileInstalling) {
            return Ok(Stepped::Refused("busy installing a snapshot"));
        }
        let last = self.node.raft.raft_log.last_index();
        let current = message.term >= self.node.raft.term && !mutated(Mutant::LostLogIgnored);
        if current && message.get_msg_type() == MessageType::MsgHeartbeat && message.commit > last {
            return Err(ReplicaError::LostLog {
                acknowledged: message.commit,
                last,
            });
        }
        if message.get_msg_type() == MessageType::MsgReadIndex && !self.asks_something_new(&message) {
            return Ok(Stepped::Refused("a question that was asked before"));
        }
        self.heard.note(message.from);
        match self.node.step(message) {
            Ok(()) => Ok(Stepped::Taken),
            Err(_) => Ok(Stepped::Refused("not expected by raft")),
        }
    }

    fn asks_something_new(&mut self, message: &Message) -> bool {
        let context = message.entries.first().map(|entry| &*entry.data);
        let Some((member, question)) = context.and_then(ReadId::from_context) else {
            return false;
        };
        let term = self.node.raft.term;
        self.read_questions.is_new(term, member, question)
    }

    /// Takes note of what is durable now, and sends what waited for it. `process_ready` must follow.
    pub fn written(&mut self, written: Written, out: &mut dyn FnMut(Output)) {
        if written.generation != self.generation {
            return;
        }
        self.writes_under_way = self.writes_under_way.saturating_sub(written.jobs);
        if let Some(hard_state) = written.hard_state {
            self.durable_term = self.durable_term.max(hard_state.term);
        }
        self.send(written.promises, out);
        if let Some(number) = written.ready {
            self.node.on_persist_ready(number);
        }
        if let Some(position) = written.installed {
            self.installing = None;
            self.handed_over = position.index;
            self.node.advance_apply_to(position.index);
            self.snapshotting.installed();
            out(Output::Apply(ApplyJob::Restore { position }));
            out(Output::Members(self.members_at().clone()));
        }
    }

    /// Whoever lags, or joins, knows only former members: a leader that it has never heard of may be the one who can tell
    /// it. So only those are refused that are known to be out; the transport has checked the cluster.
    fn may_be_member(&self, id: u64) -> bool {
        MemberId::new(id).is_ok_and(|id| !self.members().removed.contains(&id))
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
        self.node.read_index(id.to_context(self.config.member.get()));
    }

    /// Says that a message to `to` was certainly lost.
    pub fn report_unreachable(&mut self, to: MemberId) {
        self.node.report_unreachable(to.get());
    }

    /// Says how sending a snapshot to `to` ended.
    pub fn report_snapshot(&mut self, to: MemberId, outcome: SnapshotOutcome) {
        self.in_flight.remove(&to);
        if outcome == SnapshotOutcome::Failed && mutated(Mutant::FailedSnapshotNotReported) {
            return;
        }
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

    /// The last index that was handed over to be applied.
    #[must_use]
    pub fn handed_over(&self) -> Revision {
        Revision(self.handed_over)
    }

    /// Whether something is being written.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.writes_under_way > 0
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

    /// Who takes part.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members_at().members
    }

    /// Who takes part, and since which index.
    #[must_use]
    pub fn members_at(&self) -> &MembersAt {
        self.node.store().members()
    }
}

/// A message that a member may send to another.
pub(super) struct PeerMessage(Message);

impl PeerMessage {
    pub(super) fn decode(bytes: &Bytes) -> Result<Self, &'static str> {
        match decode_message(bytes) {
            Ok(message) if is_peer_message(&message) => Ok(Self(message)),
            Ok(_) => Err("not a message between members"),
            Err(_) => Err("not a raft message"),
        }
    }

    /// Equal for messages of which only the newest is of use: it says all that the earlier ones did.
    pub(super) fn superseded_by_newer(&self) -> Option<(u64, i32)> {
        let kind = self.0.get_msg_type();
        matches!(kind, MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse)
            .then_some((self.0.from, kind as i32))
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
