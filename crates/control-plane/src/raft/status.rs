//! What a member tells about itself.

use std::sync::Arc;

use tenantry_types::{MemberId, Revision};

use crate::storage::MembersAt;

/// What a member is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Decides the order of commands.
    Leader,
}

/// Whether a member works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes part.
    Running,
    /// The disk failed or is full. It takes no part until the disk works again, and keeps trying.
    StorageFailed {
        /// What the disk said.
        reason: String,
    },
    /// It has stopped for good; the process should end.
    Fatal {
        /// Why.
        reason: String,
    },
    /// It was asked to stop.
    Stopped,
}

/// One member's view of itself and the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftStatus {
    /// This member.
    pub member: MemberId,
    /// The newest term it has seen.
    pub term: u64,
    /// What it is.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// The last index known to be committed.
    pub commit: Revision,
    /// The last index applied.
    pub applied: Revision,
    /// The first index that the log still holds.
    pub first_index: u64,
    /// The last index in the log.
    pub last_index: u64,
    /// The index of the newest snapshot.
    pub snapshot_index: u64,
    /// Hash of the state at `applied`.
    pub digest: u64,
    /// Bytes that the log store occupies on disk; looked up with each snapshot.
    pub log_bytes: u64,
    /// Who takes part, as far as this member has applied the log. Empty on a member that waits for its first snapshot.
    pub members: Arc<MembersAt>,
    /// Whether it works.
    pub health: Health,
}

impl RaftStatus {
    /// Whether this member leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}
