//! A cluster of control-plane members that lose messages, disks and power, with clients that never stop asking.
//!
//! `cluster` lets time pass, over `member`, `network` and `clients`; `faults` decides what breaks; `checker` watches what
//! members do, `checked_log` what their disks hold, and `clients::history` what clients are told.
//! Consensus, state machine, codec and snapshot files are the real ones; nothing here repeats their rules.

mod checked_log;
mod checker;
mod clients;
mod cluster;
mod delivery;
mod faults;
mod member;
mod network;
mod plan;
mod recorded;
mod report;
mod trace;
mod violation;
mod watching;
mod work;

use ::control_plane::machine::{PublishedState, ReplicatedState};
use ::control_plane::raft::StateMachine;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

pub use plan::{Plan, Weather, Wipe};
pub use report::Report;
pub use violation::{Breach, Violation};

/// Runs one cluster through everything that `seed` has in store for it.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, plan: &Plan) -> Result<Report, Violation> {
    run_with(seed, plan, |_| ReplicatedState::new())
}

/// As [`run`], with state machines of the caller's making: one for each start of a member, with the readers of it.
///
/// # Errors
/// The first promise that was broken.
pub fn run_with<M, F>(seed: u64, plan: &Plan, machines: F) -> Result<Report, Violation>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    cluster::Cluster::run(seed, plan, machines)
}
