//! Connections, the request stack and what answers look like.

pub mod body;
mod browsers;
mod compression;
pub mod problem;
pub mod router;
pub mod server;
pub mod tenant_service;
mod when_asked;
