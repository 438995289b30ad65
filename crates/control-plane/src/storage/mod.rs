//! What a member keeps on disk: the Raft log on sled, snapshot files, and the marker that says whose folder it is.
//!
//! Nothing here knows Raft's own types or what a command means. Nothing here is ever deleted because it is unreadable.

mod binary;
#[cfg(test)]
mod contract;
mod frame;
mod identity;
mod log_layout;
mod log_store;
mod memory_log;
mod records;
mod sled_log;
mod snapshot_file;
mod snapshots;

pub use identity::{Identity, IdentityError};
pub use log_store::{
    AppendBatch, EntryKind, HardState, LoadedLog, LogEntry, LogPosition, LogStore, Members, MembersAt, StoreError,
};
pub use memory_log::{Damage, DiskFault, DiskOperation, MemoryDisk, MemoryLogStore, UnsyncedWrite};
pub use sled_log::SledLogStore;
pub(crate) use sled_log::{LOG_COPIES_TOTAL, LOG_WRITE_SECONDS};
pub use snapshot_file::{SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter};
pub use snapshots::{IncomingSnapshot, SnapshotFolder, measure};
