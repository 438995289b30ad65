//! A node's real detectors and outbox before the real replicated state, with both sides crashing at any step: what is raised
//! must arrive or be superseded, once, and the control plane must end with the truth.
//!
//! `node` is the node as far as events go, `control_plane` the state with its snapshots, `world` the loop that lets tenants grow
//! hot and cool and breaks things, `judge` what must hold of the log after every step.

mod control_plane;
mod judge;
mod node;
mod report;
mod violation;
mod world;

pub use report::Report;
pub use violation::{Breach, Violation};

/// How much happens in a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Steps: rounds of samples, deliveries and faults.
    pub steps: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { steps: 400 }
    }
}

/// Runs what `seed` has in store.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, plan: &Plan) -> Result<Report, Violation> {
    world::World::run(seed, plan)
}
