//! The Hrana service over real database files, driven by requests without sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on says so by panicking, in its helpers too"
)]
mod cursor;
mod differential;
mod grouped_writes;
mod harness;
mod hostile;
mod large_pipelines;
mod lifecycle;
mod quotas;
mod requests;
mod transactions;
