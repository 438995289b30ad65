//! The order in which a member sends, writes and applies. Nothing else in the project decides that order.
//!
//! Nothing here waits: a write is asked for, and what depends on it goes along with the question. Three rules make it safe:
//! a promise (a vote, an acknowledgement) leaves only when what it promises is on disk; only entries that are committed
//! *and* on this disk are applied; and a leader speaks early only in a term that is on its disk.

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{ReadState, Ready};
use tenantry_types::{MemberId, Revision};

use super::Role;
use super::applier::{ApplyJob, CommittedEntry};
use super::codec::{ProposalId, encode_message, entry_to_log, hard_state_to_log};
use super::error::ReplicaError;
use super::log_writer::{WriteJob, WriteStep};
use super::output::{OutgoingSnapshot, Output, ReadId};
use super::replica::Replica;
use crate::mutants::{Mutant, mutated};
use crate::storage::{AppendBatch, LogPosition, MembersAt};

impl Replica {
    /// Asks for everything that ticks, messages, proposals and finished writes have given rise to.
    ///
    /// # Errors
    /// The replica must not be used after an error. Outputs given before it stand.
    pub fn process_ready(&mut self, out: &mut dyn FnMut(Output)) -> Result<(), ReplicaError> {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let number = ready.number();
            let step = self.step_to_write(&ready)?;

            // Only a leader has messages here. They may leave before its own disk is done, because it counts itself
            // towards a majority only after its own flush: that is what `written` reports. But if it leads alone, its
            // term may not be on disk yet, and after a crash it would lead in the same term again with another log.
            let mut promises = Vec::new();
            if self.node.store().hard_state().term == self.durable_term {
                self.send(ready.take_messages(), out);
            } else {
                promises.extend(ready.take_messages());
            }
            // Votes and acknowledgements: they promise what is written in this step or an earlier one.
            promises.extend(ready.take_persisted_messages());

            self.answer_reads(ready.take_read_states(), out);
            self.announce_role(out);

            // raft-rs gives out committed entries only when this disk has them, so the state never runs ahead of it.
            let entries = ready.take_committed_entries();
            self.node.advance_append_async(ready);
            self.hand_over(entries, out)?;

            if mutated(Mutant::PromisedBeforeFlush) {
                self.send(std::mem::take(&mut promises), out);
            }
            if mutated(Mutant::CountedBeforeFlush) {
                self.node.on_persist_ready(number);
            }
            let nothing_to_wait_for = matches!(step, WriteStep::Nothing) && !self.is_writing();
            if nothing_to_wait_for {
                self.send(promises, out);
                self.node.on_persist_ready(number);
            } else {
                self.write(Some(number), step, promises, out);
            }
        }
        // A file whose message raft-rs had no use for.
        self.incoming = None;
        self.start_due_snapshot(out);
        Ok(())
    }

    /// What the disk lacks; from here on raft-rs finds it in the view.
    fn step_to_write(&mut self, ready: &Ready) -> Result<WriteStep, ReplicaError> {
        let view = self.node.store();
        let hard_state = ready.hs().map_or(view.hard_state(), hard_state_to_log);
        if !ready.snapshot().is_empty() {
            return self.install(ready);
        }
        let entries: Result<Vec<_>, _> = ready.entries().iter().map(entry_to_log).collect();
        let entries = entries.map_err(|error| ReplicaError::UnknownEntry { index: error.index })?;
        let view = self.node.mut_store();
        view.append(ready.entries());
        view.set_hard_state(hard_state);
        // A new commit index alone need not be durable: it is learnt again.
        if entries.is_empty() && !ready.must_sync() {
            return Ok(WriteStep::Nothing);
        }
        Ok(WriteStep::Append(AppendBatch {
            entries,
            hard_state: Some(hard_state),
            members: None,
        }))
    }

    fn install(&mut self, ready: &Ready) -> Result<WriteStep, ReplicaError> {
        let metadata = ready.snapshot().get_metadata();
        let position = LogPosition {
            index: metadata.index,
            term: metadata.term,
        };
        let file = self.incoming.take().filter(|(received, _)| *received == position);
        let header = file.as_ref().and_then(|(_, file)| file.header().cloned());
        let (Some((_, file)), Some(header)) = (file, header) else {
            return Err(ReplicaError::Raft(format!(
                "accepted the snapshot at {} without its file",
                position.index
            )));
        };
        if !ready.entries().is_empty() {
            return Err(ReplicaError::Raft("entries came along with a snapshot".to_owned()));
        }
        let members = MembersAt {
            index: position.index,
            members: header.members.members,
        };
        let view = self.node.store();
        let hard_state = ready.hs().map_or(view.hard_state(), hard_state_to_log);
        let view = self.node.mut_store();
        view.install(position, members.clone(), hard_state);
        self.installing = Some(position);
        Ok(WriteStep::Install {
            file: Box::new(file),
            position,
            members,
            hard_state,
        })
    }

    pub(super) fn write(
        &mut self,
        ready: Option<u64>,
        step: WriteStep,
        promises: Vec<Message>,
        out: &mut dyn FnMut(Output),
    ) {
        self.writes_under_way += 1;
        out(Output::Write(WriteJob {
            generation: self.generation,
            ready,
            step,
            promises,
        }));
    }

    /// Gives committed entries to be applied. Changes of the members take effect here, in their place.
    fn hand_over(&mut self, entries: Vec<Entry>, out: &mut dyn FnMut(Output)) -> Result<(), ReplicaError> {
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return Ok(());
        };
        let mut committed = Vec::with_capacity(entries.len());
        for entry in entries {
            let proposal = ProposalId::from_bytes(&entry.context);
            let command = match entry.get_entry_type() {
                // A new leader's first entry carries nothing, not even a proposer.
                EntryType::EntryNormal if entry.data.is_empty() && entry.context.is_empty() => None,
                EntryType::EntryNormal => Some(entry.data.clone()),
                EntryType::EntryConfChangeV2 => {
                    self.take_change(&entry, out)?;
                    None
                }
                EntryType::EntryConfChange => return Err(ReplicaError::UnknownEntry { index: entry.index }),
            };
            self.snapshotting.count(entry.data.len());
            committed.push(CommittedEntry {
                revision: Revision(entry.index),
                proposal,
                command,
            });
        }
        self.handed_over = last;
        // For raft-rs, applied is what decides about members, and those are up to date.
        self.node.advance_apply_to(last);
        out(Output::Apply(ApplyJob::Entries(committed)));
        Ok(())
    }

    pub(super) fn send(&mut self, messages: Vec<Message>, out: &mut dyn FnMut(Output)) {
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

    fn answer_reads(&self, states: Vec<ReadState>, out: &mut dyn FnMut(Output)) {
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
        let (member, id) = ReadId::from_context(context)?;
        (member == self.config.member.get()).then_some(id)
    }

    fn announce_role(&mut self, out: &mut dyn FnMut(Output)) {
        let now: (Role, u64, Option<MemberId>) = (self.role(), self.term(), self.leader());
        if now != self.announced {
            self.announced = now;
            let (role, term, leader) = now;
            out(Output::Role { role, term, leader });
        }
    }
}
