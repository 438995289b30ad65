//! What must never happen to a condition.

use tenantry_types::{Condition, EventSequence, Incarnation, ReportSequence, TenantUid};

use crate::tally::Seeded;

/// A promise that was broken, and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step}: {breach}")]
pub struct Violation {
    /// The seed that leads here.
    pub seed: u64,
    /// How many steps were made before.
    pub step: u64,
    /// What was broken.
    #[source]
    pub breach: Breach,
    /// The last steps, oldest first.
    pub steps: Vec<String>,
}

impl Seeded for Violation {
    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The promises.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// A condition is raised and cleared in turn.
    #[error("event {event} tells of tenant {tenant} what was so already: {condition:?}")]
    Repeated {
        /// The event.
        event: EventSequence,
        /// Whose.
        tenant: TenantUid,
        /// Which.
        condition: Condition,
    },
    /// What a node reported comes into the log once.
    #[error("report {sequence} of start {incarnation} came into the log twice")]
    AppliedTwice {
        /// The start.
        incarnation: Incarnation,
        /// The report.
        sequence: ReportSequence,
    },
    /// The log says what the table of conditions says.
    #[error("the log and the state differ about {condition:?} of tenant {tenant}")]
    TableDiffers {
        /// Whose.
        tenant: TenantUid,
        /// Which.
        condition: Condition,
    },
    /// In the end everybody knows the truth.
    #[error("{condition:?} of tenant {tenant} is {truth}, and the control plane says the opposite")]
    NotTheTruth {
        /// Whose.
        tenant: TenantUid,
        /// Which.
        condition: Condition,
        /// Raised or not.
        truth: &'static str,
    },
    /// The outbox keeps its bound.
    #[error("the outbox holds {held} events of {capacity}")]
    BoundExceeded {
        /// How many.
        held: u64,
        /// How many there may be.
        capacity: u64,
    },
    /// The state is one.
    #[error("the state contradicts itself: {0}")]
    Inconsistent(String),
    /// Something of ours failed that should not.
    #[error("{0}")]
    Failed(String),
}
