//! Why a member cannot go on.

use tenantry_types::Revision;

use super::{FatalApply, RestoreError};
use crate::storage::{LogPosition, SnapshotError, StoreError};

/// Why a replica, its log writer or its applier cannot go on.
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
    /// Whether reading the disk again can help, perhaps later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Snapshot(error) => matches!(error, SnapshotError::Io { .. }),
            _ => false,
        }
    }
}
