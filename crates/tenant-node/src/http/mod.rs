//! Connections, the request stack and what answers look like.

pub mod body;
mod inbound;
pub mod owned_tasks;
pub mod problem;
pub mod router;
pub mod server;
pub mod tenant_service;

pub use inbound::StopNotice;
