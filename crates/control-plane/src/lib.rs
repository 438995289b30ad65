//! The control plane: the replicated record of tenants, nodes and placements, and the services on top of it.
//!
//! `raft` replicates commands over `storage`; `machine` applies them to `tenantry-state`; `services` speak gRPC;
//! `watch` feeds subscribers. Raft's own types are named in `raft` alone.

pub mod codec;
pub mod raft;
pub mod storage;
