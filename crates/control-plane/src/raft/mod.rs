//! The replicated log: raft-rs driven by one thread, reached through a handle.
//!
//! `replica` is the member without sockets, clocks or threads, and `ready` its one order of doing things; `driver` gives
//! it a thread, `transport` a network, `handle` callers. Raft's own types are named nowhere else in the project.

mod bootstrap;
mod change;
mod change_queue;
mod codec;
mod driver;
mod expulsion;
mod founding;
mod handle;
mod introduction;
mod log_view;
mod logger;
mod membership;
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

pub use bootstrap::{InitialMembers, InvalidMembers, Origin};
pub use change::{ChangeFate, ProposeChangeError, ProposedChange};
pub use change_queue::{ChangeError, Intent};
pub use codec::ProposalId;
pub use driver::{Peers, Unreachable};
pub use founding::found;
pub use handle::{ControlError, ProposeError, RaftHandle, ReadError};
pub use introduction::IntroductionFailed;
pub use membership::{Caution, ChangeRefused, MemberChange, MemberProgress};
pub use node::{RaftConfig, RaftNode, StartError};
pub use replica::{
    Beginning, OutgoingSnapshot, Output, ProposeRefusal, ReadId, Replica, ReplicaConfig, ReplicaError, SnapshotOutcome,
    Stepped, announced_snapshot,
};
pub use snapshotting::SnapshotJob;
pub use state_machine::{FatalApply, RestoreError, StateMachine};
pub use status::{Health, RaftStatus, Role};
pub use transport::{ConnectPeer, RaftTransport};
