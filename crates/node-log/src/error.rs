//! What can go wrong, in words for an operator.

use std::io;
use std::path::PathBuf;

use crate::lsn::Lsn;

/// Why the log cannot be opened. Nothing was left out silently: either all of it was read, or this is returned.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration breaks a rule.
    #[error("the configuration of the node's log is not possible: {0}")]
    Config(&'static str),
    /// Another log, of this process or another one, has the folder.
    #[error("the folder of the node's log {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Something that was durable is not there, or cannot be what was written.
    #[error(
        "the node's log is damaged: {} at byte {offset}: {what}. Commits that were acknowledged may be in it alone. To go on \
         without them move the folder {} away: then what the tenants' own files hold is what is left",
        .file.display(), .folder.display()
    )]
    Damaged {
        /// The folder of the log.
        folder: PathBuf,
        /// The file in it.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The system refused something.
    #[error("the node's log cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room, or the record is larger than half a segment. The caller syncs the tenant's WAL file itself; later records
    /// may be taken again.
    #[error("the node's log has no room for this commit")]
    NoRoom,
    /// The log was stopped. The caller syncs the tenant's WAL file itself.
    #[error("the node's log was stopped")]
    Stopped,
    /// The disk failed a sync. Nothing may be acknowledged any more, and no sync tried instead: a sync that succeeds after a failed
    /// one says nothing about what was written before.
    #[error("the disk failed the node's log")]
    Failed,
}

/// The record will not become durable: the log failed, or was stopped before there was such a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {0} of the node's log will not become durable")]
pub struct NeverDurable(pub Lsn);
