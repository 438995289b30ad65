//! The data plane: each tenant's SQLite database over HTTP, within exact quotas, with measured figures.
//!
//! A request meets `http` (connections, the tower stack), `layers` (identify, authenticate, route, observe, admit) and
//! `hrana` (the protocol) before `database` (one SQLite file per tenant). The crate `tenantry-layers` holds quotas and what is
//! measured of requests, `metrics` and `conditions` the arithmetic of the rest, `sampler` runs it, `placement` follows the control plane, `events` and `heartbeat` report to it. The data
//! path never waits for the control plane.

pub mod baton_key;
pub mod conditions;
pub mod config;
pub mod database;
pub mod events;
pub mod file_limit;
pub mod heartbeat;
pub mod hrana;
pub mod http;
pub mod identity;
pub mod lane;
pub mod latest_usage;
pub mod layers;
pub mod metrics;
mod node_log_figures;
pub mod placement;
mod process_figures;
pub mod sampler;
pub mod server;
pub mod thread_slices;
pub mod usage;
