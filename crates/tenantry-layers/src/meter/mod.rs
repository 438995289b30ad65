//! What each tenant was measured to ask for: answers by class, the busiest minute, response times, the share of errors.
//!
//! `peak_rpm`, `last_minute`, `response_time` and `error_rate` are windows that are given the time, slide on reads as on writes, and are
//! aligned to the clock: a quiet tenant's figures fall without anybody touching them. A [`TenantMeter`] holds those of one
//! tenant, a [`MeterRegistry`] those of all. Times are the steady clock's (see [`crate::clock`]): wall-clock jumps move no
//! window. Must not know how the figures are published.

mod answer;
mod error_rate;
mod last_minute;
mod peak_rpm;
mod registry;
mod response_time;
mod tenant_meter;

pub use answer::{AnswerClass, ClassCounts};
pub(crate) use registry::InFlight;
pub use registry::MeterRegistry;
pub use response_time::{ResponseHistogram, UPPER_BOUNDS_SECONDS};
pub use tenant_meter::{Ratios, RequestFigures, TenantMeter};
