//! What each tenant was measured to use, and how Prometheus reads it.
//!
//! The crate `tenantry-layers` measures requests; `growth` and `cpu` are windows over what the sampler sees, which are given the
//! time and slide on reads as on writes; `sampled` holds those of each tenant and puts its figures together; `exposition`
//! turns their samples into series. Times are the node's steady clock: wall-clock jumps move no window.

mod cpu;
mod descriptions;
mod exposition;
mod growth;
mod requests_by_hour;
mod sampled;

pub use exposition::{Exposition, NodeFigures};
pub use sampled::{Changes, DatabaseSample, Period, Sample, SampledTenant, SampledTenants, UsageInput};
