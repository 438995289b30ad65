//! Connections between Tenantry's programs: encrypted, and each end proves by certificate which part it plays.
//!
//! One authority, the operator's own, signs all certificates, and a certificate names its bearer's [`Role`] as a DNS name. Host
//! names are not compared: members and nodes come, go and change their addresses, and what counts is the part that somebody may
//! play. Files are read anew when they change, so that certificates are exchanged without a restart.
//!
//! [`Security::Plain`] is for development: no certificate, and everybody is let in. Whoever chooses it must listen on loopback
//! alone; this crate does not know addresses. It must not know any call of ours either: what a role may do is said where the
//! calls are.
#![forbid(unsafe_code)]

#[cfg(feature = "authority")]
pub mod authority;
mod connection;
mod credentials;
mod error;
mod files;
mod grpc_client;
mod grpc_server;
mod role;
mod security;

pub use connection::{Connection, Encrypted};
pub use credentials::{Change, Credentials};
pub use error::TlsError;
pub use files::{IncompleteTlsFiles, TlsFiles};
pub use grpc_server::{GrpcConnection, GrpcIncoming};
pub use role::{Caller, Role, Roles};
pub use security::Security;
