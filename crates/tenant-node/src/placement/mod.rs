//! Who serves whom, as far as this node knows: the routing table, its copy on disk, and the watch that keeps it fresh.
//!
//! Must not decide placements, and must never make a request wait for the control plane.

mod change_log;
mod disk;
mod follow;
mod refused;
mod table;
mod update;

pub use disk::{RoutingFile, RoutingFileError, RoutingWriteError, RoutingWriter};
pub use follow::follow;
pub use table::{RoutingTable, SharedRoutingTable};

#[cfg(test)]
pub(crate) use table::tests as table_tests;
