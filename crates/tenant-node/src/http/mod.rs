//! Connections, the request stack and what answers look like.

mod active_streams;
pub mod body;
mod browsers;
mod compression;
mod connection;
mod draining;
mod inbound;
pub mod lanes;
pub mod owned_tasks;
pub(crate) mod pieces;
mod probes;
pub mod problem;
mod refusals;
pub mod router;
pub mod server;
mod strangers;
pub mod tenant_service;
mod when_asked;
mod when_woken;

pub use inbound::StopNotice;
