//! The replicated log: raft-rs driven by one thread, reached through a handle.
//!
//! `replica` is the member without sockets, clocks or threads, and `ready` its one order of doing things; `driver` gives
//! it a thread, `transport` a network, `handle` callers. Raft's own types are named nowhere else in the project.

mod bootstrap;
mod codec;
mod describe;
mod driver;
mod handle;
mod log_view;
mod logger;
mod node;
mod outlet;
mod pending;
mod ready;
mod replica;
mod snapshotting;
mod state_machine;
mod status;
#[cfg(test)]
mod tests;
mod transport;

pub use bootstrap::{InitialMembers, InvalidMembers};
pub use codec::ProposalId;
pub use describe::describe_message;
pub use driver::{Peers, Unreachable};
pub use handle::{ControlError, ProposeError, RaftHandle, ReadError};
pub use node::{RaftConfig, RaftNode, StartError};
pub use pending::PendingReads;
pub use replica::{
    OutgoingSnapshot, Output, ProposeRefusal, ReadId, Replica, ReplicaConfig, ReplicaError, SnapshotOutcome, Stepped,
    announced_snapshot,
};
pub use snapshotting::SnapshotJob;
pub use state_machine::{FatalApply, RestoreError, StateMachine};
pub use status::{Health, RaftStatus, Role};
pub use transport::{ConnectPeer, RaftTransport};
