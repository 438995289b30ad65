//! The data plane: each tenant's SQLite database over HTTP, within exact quotas, with measured figures.
//!
//! A request meets `http` (connections, the tower stack), `layers` (identify, authenticate, route, observe, admit) and
//! `hrana` (the protocol) before `database` (one SQLite file per tenant). `quota` and `metrics` hold the arithmetic,
//! `placement` follows the control plane, `events` reports to it. The data path never waits for the control plane.

pub mod clock;
pub mod database;
pub mod hotspot;
pub mod hrana;
pub mod http;
pub mod layers;
pub mod metrics;
pub mod placement;
pub mod quota;
mod slot_ring;
mod tenant_map;
