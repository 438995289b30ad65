//! Requests of each tenant, kept within its limits: per rolling 24 hours, per second, at one moment.
//!
//! One tenant is served by one node at a time, so its counters are exact and local. What a limit promises:
//! - No 24 hours hold more admitted requests than the limit, over restarts, closes and changes of limits.
//! - All limits are checked, then all are charged, in one step under the tenant's own lock; what is refused costs nothing.
//! - A crash withholds at most one reservation, 1/1024 of the daily limit; it never grants anything.
//! - The wall clock grants nothing: see [`ledger`] for the one case where it is believed.
//!
//! `rolling_day`, `burst`, `crossing` and `engine` are arithmetic that is given the time; `ledger` is the file format;
//! `ledger_store` is where the records are kept; `registry` owns the tenants and the tasks. The HTTP side is [`crate::AdmitLayer`]. Storage,
//! query time and body sizes are not kept here: they are kept where the bytes and the time are spent.

mod burst;
mod crossing;
mod engine;
mod header_text;
#[cfg(test)]
#[cfg(feature = "interleavings")]
mod interleavings;
pub mod ledger;
mod ledger_store;
mod limits;
mod pace;
mod rate_limit_fields;
mod registry;
mod rolling_day;
mod standing;
mod sync;

pub use crossing::{Crossing, CrossingDetector};
pub use engine::{Admission, Charge, Decision, Permit, TenantQuota};
pub(crate) use header_text::passing_number;
pub use ledger_store::{LedgerFuture, LedgerStore};
pub use limits::RequestLimits;
pub use pace::{RefusalPace, RefusalPaces};
pub(crate) use rate_limit_fields::seconds_up;
pub use rate_limit_fields::{RATE_LIMIT, RATE_LIMIT_POLICY, policy_field, rate_limit_field};
pub use registry::{QuotaCounters, QuotaError, QuotaRegistry};
pub use standing::{BurstStanding, Policy, Refusal, Standing};
