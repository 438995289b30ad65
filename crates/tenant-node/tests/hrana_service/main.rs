//! The Hrana service over real database files, driven by requests without sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test says what went wrong by panicking"
)]

mod differential;
mod harness;
mod hostile;
mod lifecycle;
mod quotas;
mod requests;
mod transactions;
