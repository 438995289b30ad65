//! Seeded simulations of the project's distributed parts, of quotas, and of what becomes of events. One `u64` decides everything that happens in a run.
//!
//! Drives the real code on a simulated network, disk and clock. Never shipped; nothing may depend on it.
#![forbid(unsafe_code)]

pub mod campaign;
pub mod control_plane;
pub mod events;
pub mod linearizability;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod quota;
#[cfg(feature = "mutants")]
pub mod quota_mutants;
pub mod tally;
