//! The control plane: the replicated record of tenants, nodes and placements, and the services on top of it.
//!
//! `raft` replicates commands over `storage`; `machine` applies them to `tenantry-state` by way of `codec`; `services` speak
//! gRPC; `watch` feeds subscribers; `webhooks` delivers events; `observations` holds what is never replicated. Raft's own types are named in `raft` alone.
#![forbid(unsafe_code)]

mod access;
pub mod codec;
pub mod config;
mod leader_notices;
#[cfg(test)]
mod leader_notices_tests;
pub mod leader_tasks;
pub mod machine;
pub mod metrics;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
pub mod observations;
pub mod raft;
pub mod restore;
pub mod server;
pub mod services;
#[cfg(test)]
mod single_member;
pub mod storage;
pub mod watch;
pub mod webhooks;
