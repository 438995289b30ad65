//! What a member keeps on disk: the Raft log on sled, snapshot files, and the marker that says whose folder it is.
//!
//! Nothing here knows Raft's own types or what a command means. Nothing here is ever deleted because it is unreadable.

mod binary;
#[cfg(test)]
mod contract;
mod frame;
mod identity;
mod incoming;
mod log_id;
mod log_layout;
mod log_store;
mod memory_log;
mod provenance;
mod records;
mod seed;
mod sled_log;
mod snapshot_file;
mod snapshots;
mod standing;

pub use identity::{Identity, IdentityError};
pub use incoming::{AnnouncedSnapshot, IncomingSnapshot};
pub use log_id::{InvalidLogId, LogId};
pub use log_store::{
    AppendBatch, EntryKind, HardState, LoadedLog, LogEntry, LogPosition, LogStore, Members, MembersAt, StoreError,
};
pub use memory_log::{Damage, DiskFault, DiskOperation, MemoryDisk, MemoryLogStore, UnsyncedWrite};
pub use provenance::Provenance;
pub(crate) use provenance::first_word;
pub use seed::Seed;
pub use sled_log::SledLogStore;
pub(crate) use sled_log::{LOG_COPIES_TOTAL, LOG_WRITE_SECONDS};
pub use snapshot_file::{SnapshotError, SnapshotHeader, open_snapshot_file};
pub use snapshots::{SnapshotFolder, measure};
pub use standing::{Expulsion, Standing};
