//! The Hrana service over real database files, driven by requests without sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking, in its helpers too"
)]

mod differential;
mod harness;
mod hostile;
mod lifecycle;
mod quotas;
mod requests;
mod transactions;
