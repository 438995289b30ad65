//! The replicated state machine and the placement planner.
//!
//! [`apply`] takes a command to the next [`State`]; [`planner`], [`tier_policy`] and [`move_policy`] are what the leader decides with
//! before it proposes one. Nothing here reads a clock, draws randomness, does I/O or depends on the order of a hash
//! map: time, random ids and decisions travel inside the command, so that every member reaches the same state.
#![forbid(unsafe_code)]

mod apply;
mod command;
mod digest;
pub mod move_policy;
mod outcome;
pub mod planner;
mod state;
#[cfg(any(test, feature = "strategies"))]
pub mod strategies;
pub mod tier_policy;

pub use apply::apply;
pub use command::{
    AvailabilityChange, Command, Delivery, DeliveryOutcome, Envelope, Fingerprint, Request, Rules, SecretKey,
    SigningKey,
};
pub use move_policy::MoveDecision;
pub use outcome::{Answer, Applied, Change, Outcome, Rejection};
pub use state::{
    ClusterInfo, DeletedTenants, EVENT_LIFETIME_MS, KeyPhase, LONGEST_TOKEN_TTL, MAX_DEAD_LETTERS, MAX_EVENTS,
    MAX_KEYS, MAX_REQUESTS, MAX_WEBHOOKS, NewEpochError, NodeTenants, REQUEST_LIFETIME, Record, RecordedMembers,
    ReportCursor, RestoreError, Restorer, State, StoredRequest, TenantFilter, TenantKey, TenantLife, TenantPage, Tiers,
};
pub use tier_policy::TierDecision;
