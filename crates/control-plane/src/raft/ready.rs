//! The order in which a member writes, sends and applies. Nothing else in the project decides that order.

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{ReadState, Ready};
use tenantry_types::{MemberId, Revision};

use super::codec::{ProposalId, encode_message, entry_to_log, hard_state_to_log};
use super::replica::{OutgoingSnapshot, Output, ReadId, Replica, ReplicaError};
use super::{Role, StateMachine};
use crate::storage::{AppendBatch, HardState, LogPosition, LogStore, MembersAt, SnapshotError};

impl<L: LogStore, M: StateMachine> Replica<L, M> {
    /// Carries out everything that ticks, messages and proposals have given rise to.
    ///
    /// # Errors
    /// The replica must not be used after an error, except that [`rebuild`](Self::rebuild) makes it good again after a
    /// transient one. Outputs given before the error stand.
    pub fn process_ready(&mut self, out: &mut dyn FnMut(Output<M>)) -> Result<(), ReplicaError> {
        while self.node.has_ready() {
            let mut ready = self.node.ready();

            // Only a leader has messages here. They may leave before its own disk is done, because it counts itself
            // towards a majority only after its own flush (`advance_append` below).
            self.send(ready.take_messages(), out);
            self.answer_reads(ready.take_read_states(), out);

            // Snapshot, entries, term and vote reach the disk here, in this order and durably.
            self.persist(&ready)?;

            // These promise what was just written: a vote, an acknowledgement. Never before the flush.
            self.send(ready.take_persisted_messages(), out);
            self.announce_role(out);

            // Committed entries are at most those persisted, so the state never runs ahead of our own disk.
            self.apply(ready.take_committed_entries(), out)?;

            // Counts our own flush; that may commit more.
            let mut light = self.node.advance_append(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().set_commit(commit);
            }
            self.send(light.take_messages(), out);
            self.apply(light.take_committed_entries(), out)?;
            self.node.advance_apply_to(self.applied);
        }
        // A file whose message raft-rs had no use for.
        self.incoming = None;
        self.start_due_snapshot(out);
        Ok(())
    }

    fn persist(&mut self, ready: &Ready) -> Result<(), ReplicaError> {
        let view = self.node.store();
        let hard_state = ready.hs().map_or(view.hard_state(), hard_state_to_log);
        if !ready.snapshot().is_empty() {
            self.install_snapshot(ready, hard_state)?;
        }
        let entries: Result<Vec<_>, _> = ready.entries().iter().map(entry_to_log).collect();
        let entries = entries.map_err(|error| ReplicaError::UnknownEntry { index: error.index })?;
        // A new commit index alone need not be durable: it is learnt again.
        let must_write = !entries.is_empty() || (ready.must_sync() && ready.snapshot().is_empty());
        if must_write {
            self.store.append(&AppendBatch {
                entries,
                hard_state: Some(hard_state),
                members: None,
            })?;
        }
        let view = self.node.mut_store();
        view.append(ready.entries());
        view.set_hard_state(hard_state);
        Ok(())
    }

    /// Name, then marker and log in one write, then the state: whatever step a crash hits, the disk holds either the
    /// old log with the old snapshot or the new snapshot with an empty log.
    fn install_snapshot(&mut self, ready: &Ready, hard_state: HardState) -> Result<(), ReplicaError> {
        let metadata = ready.snapshot().get_metadata();
        let position = LogPosition {
            index: metadata.index,
            term: metadata.term,
        };
        let file = self.incoming.take().filter(|(received, _)| *received == position);
        let Some((_, file)) = file else {
            return Err(ReplicaError::Raft(format!(
                "accepted the snapshot at {} without its file",
                position.index
            )));
        };
        self.snapshots.adopt(file, position)?;
        let (header, mut reader) = self.snapshots.read(position)?;
        let members = MembersAt {
            index: position.index,
            members: header.members.members,
        };
        self.store.install_snapshot(position, &members, hard_state)?;
        self.node.mut_store().install(position, members, hard_state);
        self.machine
            .restore(&mut reader)
            .map_err(|source| ReplicaError::Restore { position, source })?;
        self.applied = position.index;
        self.digest = self.machine.digest();
        self.machine.applied(Revision(self.applied));
        self.forget_old_snapshots();
        Ok(())
    }

    fn apply(&mut self, entries: Vec<Entry>, out: &mut dyn FnMut(Output<M>)) -> Result<(), ReplicaError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.get_entry_type() != EntryType::EntryNormal {
                self.apply_change(&entry)?;
                self.applied = entry.index;
                continue;
            }
            // A new leader's first entry carries nothing, not even a proposer.
            if !(entry.data.is_empty() && entry.context.is_empty()) {
                let revision = Revision(entry.index);
                let answer = self
                    .machine
                    .apply(revision, &entry.data)
                    .map_err(|source| ReplicaError::Apply { revision, source })?;
                answers.push(Output::Applied {
                    revision,
                    proposal: ProposalId::from_bytes(&entry.context),
                    answer,
                });
            }
            self.snapshotting.count(entry.data.len());
            self.applied = entry.index;
        }
        self.machine.applied(Revision(self.applied));
        self.digest = self.machine.digest();
        // After publication: whoever is answered must find what it was told.
        answers.into_iter().for_each(out);
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut dyn FnMut(Output<M>)) {
        for message in messages {
            let Ok(to) = MemberId::new(message.to) else { continue };
            let snapshot = (message.get_msg_type() == MessageType::MsgSnapshot)
                .then(|| message.get_snapshot().get_metadata().clone());
            let Ok(bytes) = encode_message(&message) else { continue };
            match snapshot {
                None => out(Output::Message { to, bytes }),
                Some(metadata) => {
                    self.in_flight.insert(to, metadata.index);
                    let position = LogPosition {
                        index: metadata.index,
                        term: metadata.term,
                    };
                    out(Output::Snapshot(OutgoingSnapshot {
                        to,
                        message: bytes,
                        position,
                    }));
                }
            }
        }
    }

    fn answer_reads(&self, states: Vec<ReadState>, out: &mut dyn FnMut(Output<M>)) {
        for state in states {
            if let Some(id) = self.own_read(&state.request_ctx) {
                out(Output::Read {
                    id,
                    index: Revision(state.index),
                });
            }
        }
    }

    fn own_read(&self, context: &[u8]) -> Option<ReadId> {
        let (member, rest) = context.split_first_chunk()?;
        let (origin, sequence) = rest.split_first_chunk()?;
        (u64::from_be_bytes(*member) == self.config.member.get()).then_some(ReadId {
            origin: u64::from_be_bytes(*origin),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        })
    }

    fn announce_role(&mut self, out: &mut dyn FnMut(Output<M>)) {
        let now: (Role, u64, Option<MemberId>) = (self.role(), self.term(), self.leader());
        if now != self.announced {
            self.announced = now;
            let (role, term, leader) = now;
            out(Output::Role { role, term, leader });
        }
    }

    /// A snapshot too many on disk does no harm; the next one clears it away.
    pub(super) fn forget_old_snapshots(&self) {
        let forgotten: Result<(), SnapshotError> = self.snapshots.retain(self.snapshot());
        if let Err(error) = forgotten {
            tracing::warn!(error = &error as &dyn std::error::Error, "old snapshots stay");
        }
    }
}
