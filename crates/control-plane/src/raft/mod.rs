//! The replicated log: raft-rs driven by one thread, reached through a handle.
//!
//! `replica` is the member without disks, sockets, clocks or threads, and `ready` its one order of doing things. What it asks
//! for, `log_writer` makes durable and `applier` applies. `driver` and `workers` give the three a thread each, `transport` a
//! network, `handle` callers. Raft's own types are named nowhere else in the project.

mod answers;
mod applier;
mod bootstrap;
mod change;
mod change_queue;
mod codec;
mod describe;
mod driver;
mod error;
mod expulsion;
mod founding;
mod handle;
mod introduction;
mod log_view;
mod log_writer;
mod logger;
mod membership;
mod node;
mod opening;
mod orders;
mod outlet;
mod output;
mod pending;
mod proposals;
mod read_questions;
mod ready;
mod replica;
mod snapshotting;
mod state_machine;
mod status;
mod storage_failure;
#[cfg(test)]
mod tests;
mod transport;
mod workers;

pub use applier::{Applied, Applier, ApplyJob, CommittedEntry, Progress, SnapshotJob};
pub use bootstrap::{InitialMembers, InvalidMembers, Origin};
pub use change::{ChangeFate, ProposeChangeError, ProposedChange};
pub use change_queue::{ChangeError, Intent};
pub use codec::ProposalId;
pub use describe::describe_message;
pub use driver::{Peers, Unreachable};
pub use error::ReplicaError;
pub use founding::found;
pub use handle::{ControlError, ProposeError, RaftHandle, ReadError};
pub use introduction::IntroductionFailed;
pub use log_writer::{LogWriter, Reloaded, WriteJob, Written};
pub use membership::{Caution, ChangeRefused, MemberChange, MemberProgress};
pub use node::{RaftConfig, RaftNode, StartError};
pub use opening::{GENESIS, Opened, bootstrap, open};
pub use output::{OutgoingSnapshot, Output, ProposeRefusal, ReadId, SnapshotOutcome, Stepped};
pub use pending::PendingReads;
pub use replica::{Beginning, Replica, ReplicaConfig, announced_snapshot};
pub use state_machine::{FatalApply, RestoreError, StateMachine};
pub use status::{Health, RaftStatus, Role};
pub use transport::{ConnectPeer, RaftTransport};
