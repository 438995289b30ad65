//! What each tenant was measured to use, and how Prometheus reads it.
//!
//! `peak_rpm`, `last_minute`, `response_time`, `error_rate`, `growth` and `cpu` are windows that are given the time, slide on reads as on
//! writes, and are aligned to the clock. A [`TenantMeter`] holds those of one tenant; `exposition` turns samples of all
//! tenants into series. Times are the node's steady clock (see `clock`): wall-clock jumps move no window.

mod answer;
mod cpu;
mod error_rate;
mod exposition;
mod growth;
mod last_minute;
mod meter;
mod peak_rpm;
mod registry;
mod response_time;

pub use answer::{AnswerClass, ClassCounts};
pub use exposition::{Exposition, NodeFigures};
pub use meter::{DatabaseSample, Ratios, Sample, TenantMeter, UsageInput};
pub(crate) use registry::InFlight;
pub use registry::MeterRegistry;
pub use response_time::{ResponseHistogram, UPPER_BOUNDS_SECONDS};
