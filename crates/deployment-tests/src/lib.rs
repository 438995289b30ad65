//! What `deploy/` holds, met with the tools that its users have: Helm, Docker, Prometheus, and the programs themselves.
//!
//! A tool that is missing here is installed below `target/deployment-tests` where that is possible; otherwise its tests skip and
//! say why. Uses no crate of ours but the harness that starts the programs.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness: what goes wrong here is a failed test, told on stderr"
)]

mod folders;
mod python_tools;

pub use folders::{deploy, shared_folder};
pub use python_tools::python_tools;
