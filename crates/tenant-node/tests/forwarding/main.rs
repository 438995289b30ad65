//! Requests that arrive at the wrong node: real sockets, real listeners and the layers down to `route`, above a handler that
//! the test chooses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

mod early_answers;
mod failures;
mod harness;
mod hosts;
mod staleness;
mod stopping;
mod streaming;
mod tokens;
