//! Turns raft-rs's types into ours and back, and its messages into bytes and back.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState as RaftHardState, Message, MessageType};
use tenantry_types::MemberId;

use crate::storage::{EntryKind, HardState, LogEntry, LogPosition, Members};

/// Who made a proposal: tells a caller's own entry from those of other members and of earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    /// Drawn at random at each start of a member.
    pub origin: u64,
    /// Counts up within one origin.
    pub sequence: u64,
}

impl ProposalId {
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let joined = (u128::from(self.origin) << 64) | u128::from(self.sequence);
        joined.to_be_bytes()
    }

    /// `None` for what no version of ours has written.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (origin, sequence) = bytes.split_first_chunk()?;
        Some(Self {
            origin: u64::from_be_bytes(*origin),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        })
    }
}

/// An entry of a kind that we never propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} is a membership change of the old form")]
pub(super) struct UnknownEntry {
    pub(super) index: u64,
}

pub(super) fn entry_to_log(entry: &Entry) -> Result<LogEntry, UnknownEntry> {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Command,
        EntryType::EntryConfChangeV2 => EntryKind::Membership,
        EntryType::EntryConfChange => return Err(UnknownEntry { index: entry.index }),
    };
    Ok(LogEntry {
        position: LogPosition {
            index: entry.index,
            term: entry.term,
        },
        kind,
        context: entry.context.clone(),
        data: entry.data.clone(),
    })
}

pub(super) fn entry_from_log(entry: LogEntry) -> Entry {
    let mut raft = command_entry(entry.context, entry.data);
    raft.index = entry.position.index;
    raft.term = entry.position.term;
    raft.set_entry_type(match entry.kind {
        EntryKind::Command => EntryType::EntryNormal,
        EntryKind::Membership => EntryType::EntryConfChangeV2,
    });
    raft
}

pub(super) fn command_entry(context: Bytes, data: Bytes) -> Entry {
    let mut entry = Entry::default();
    entry.set_context(context);
    entry.set_data(data);
    entry
}

pub(super) fn hard_state_to_log(state: &RaftHardState) -> HardState {
    HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
    }
}

pub(super) fn hard_state_from_log(state: HardState) -> RaftHardState {
    RaftHardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
        ..RaftHardState::default()
    }
}

pub(super) fn conf_state(members: &Members) -> ConfState {
    let ids = |set: &std::collections::BTreeSet<MemberId>| set.iter().map(|id| id.get()).collect::<Vec<_>>();
    let mut state = ConfState::default();
    state.set_voters(ids(&members.voters));
    state.set_learners(ids(&members.learners));
    state.set_voters_outgoing(ids(&members.voters_outgoing));
    state.set_learners_next(ids(&members.learners_next));
    state.set_auto_leave(members.auto_leave);
    state
}

/// Whether `state` names exactly these members.
pub(super) fn names(state: &ConfState, members: &Members) -> bool {
    let equal = |ids: &[u64], set: &std::collections::BTreeSet<MemberId>| {
        let ids: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
        ids.iter().copied().eq(set.iter().map(|id| id.get()))
    };
    equal(state.get_voters(), &members.voters)
        && equal(state.get_learners(), &members.learners)
        && equal(state.get_voters_outgoing(), &members.voters_outgoing)
        && equal(state.get_learners_next(), &members.learners_next)
        && state.get_auto_leave() == members.auto_leave
}

pub(super) fn encode_message(message: &Message) -> Result<Bytes, protobuf::ProtobufError> {
    message.write_to_bytes().map(Bytes::from)
}

/// Payloads of the decoded entries share `bytes`.
pub(super) fn decode_message(bytes: &Bytes) -> Result<Message, protobuf::ProtobufError> {
    let mut input = protobuf::CodedInputStream::from_carllerche_bytes(bytes);
    let mut message = Message::default();
    message.merge_from(&mut input)?;
    input.check_eof()?;
    Ok(message)
}

/// Whether members send each other messages of this kind, each with what raft-rs takes for granted in it.
pub(super) fn is_peer_message(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            let mut index = message.index;
            message.entries.iter().all(|entry| {
                index = index.saturating_add(1);
                entry.index == index && entry.term <= message.term
            })
        }
        MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow => true,
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => message.entries.len() == 1,
        // A snapshot comes on a stream of its own; proposals are never forwarded; the rest is a member's own business.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_and_ids_read_back_as_written(
            index: u64, term: u64, command: bool, data: Vec<u8>, origin: u64, sequence: u64,
        ) {
            let id = ProposalId { origin, sequence };
            prop_assert_eq!(ProposalId::from_bytes(&id.to_bytes()), Some(id));
            let entry = LogEntry {
                position: LogPosition { index, term },
                kind: if command { EntryKind::Command } else { EntryKind::Membership },
                context: Bytes::copy_from_slice(&id.to_bytes()),
                data: Bytes::from(data),
            };
            prop_assert_eq!(entry_to_log(&entry_from_log(entry.clone())), Ok(entry));
        }

        #[test]
        fn arbitrary_bytes_are_no_message_or_a_message_but_never_a_panic(bytes: Vec<u8>) {
            let _ = decode_message(&Bytes::from(bytes.clone()));
            let _ = ProposalId::from_bytes(&bytes);
        }
    }
}
