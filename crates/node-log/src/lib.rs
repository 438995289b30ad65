//! One log for the commits of all tenants of a node: a hundred tenants' commits share one write and one fdatasync.
//!
//! SQLite writes a commit into a tenant's WAL file. Instead of syncing that file, the node hands the frames of the commit to
//! [`NodeLog::append`] and answers once their [`Lsn`] is durable. After a power loss [`NodeLog::open`] writes back the frames that a
//! WAL file lacks, before SQLite opens it.
//!
//! What the caller owes:
//! - A commit's frames are in the WAL file (written, not synced) before they are appended here, and the commits of one tenant are
//!   appended in their order.
//! - Frames that never come here are synced by the caller before a later commit of the same tenant is appended: those for which
//!   `append` returned [`AppendError::NoRoom`] or [`AppendError::Stopped`], and those that a WAL file already holds when its
//!   database is opened (a process that was killed between the commit and `append` leaves some).
//! - No database is opened before [`NodeLog::open`] has returned, and none that [`Quarantine::of`] finds a mark for.
//!
//! This crate must not know SQL, connections, requests or async: it sees files and bytes. It never repairs by leaving out: what it
//! cannot read it refuses, with the place.

#![forbid(unsafe_code)]

mod batch;
mod config;
mod database_file;
mod disk;
mod error;
mod figures;
mod folder;
mod handle;
mod keeper;
mod logged;
mod lsn;
mod quarantine;
mod queue;
mod record;
mod recovery;
mod redo;
mod ring;
mod scan;
mod segment;
mod shared;
mod start;
mod tenant_files;
#[cfg(test)]
mod tests;
mod waiters;
mod wal;
mod writer;

pub use config::NodeLogConfig;
pub use error::{AppendError, NeverDurable, OpenError};
pub use figures::NodeLogFigures;
pub use handle::NodeLog;
pub use lsn::Lsn;
pub use quarantine::{BrokenWal, Quarantine};
pub use record::CommitRecord;
pub use recovery::Recovery;
pub use shared::OnFailure;
pub use tenant_files::DatabasePath;
