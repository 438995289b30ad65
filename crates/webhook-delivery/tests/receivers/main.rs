//! Attempts against receivers on loopback, most of them hostile, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

mod addresses;
mod answers;
mod support;
mod tls;
