//! What a replica asks for, and what it is told in return.

use bytes::Bytes;
use tenantry_types::{MemberId, Revision};

use super::Role;
use super::applier::ApplyJob;
use super::log_writer::WriteJob;
use crate::storage::{LogPosition, MembersAt};

/// What is to be carried out by whoever drives a replica, in the order in which it is given.
#[derive(Debug)]
pub enum Output {
    /// Send this to a member. May be lost; if it certainly was, say so by `report_unreachable`.
    Message {
        /// To whom.
        to: MemberId,
        /// What.
        bytes: Bytes,
    },
    /// Send a snapshot file; `report_snapshot` must follow whatever happens.
    Snapshot(OutgoingSnapshot),
    /// Write this durably, after all earlier jobs, and hand what comes of it to `written`.
    Write(WriteJob),
    /// Apply this, after all earlier jobs.
    Apply(ApplyJob),
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
    /// Other members take part from now on.
    Members(MembersAt),
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

impl ReadId {
    /// What raft-rs is given to name a read of `member`.
    pub(super) fn to_context(self, member: u64) -> Vec<u8> {
        [member, self.origin, self.sequence]
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    /// Whose read it is, and which. `None` for what no version of ours has written.
    pub(super) fn from_context(context: &[u8]) -> Option<(u64, Self)> {
        let (member, rest) = context.split_first_chunk()?;
        let (origin, sequence) = rest.split_first_chunk()?;
        let id = Self {
            origin: u64::from_be_bytes(*origin),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        };
        Some((u64::from_be_bytes(*member), id))
    }
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
