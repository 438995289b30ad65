//! Real clusters for tests: three members, and two nodes unless the test needs none, as processes on loopback, in a folder of their own.
//!
//! Nothing here links a crate of ours: the programs are met as their users meet them, by flags, signals, HTTP and
//! `tenantctl`. A [`Cluster`] ends only the processes that it started, when it is dropped, on a panic too, and then shows
//! the ends of their logs. Everything blocks, and every wait has a bound.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness: what goes wrong here is a failed test, told on stderr"
)]

mod bounded_command;
mod cluster;
mod daemon;
mod http;
mod http2_connection;
mod kept_connection;
mod membership;
mod operator;
mod ports;
mod programs;
mod prometheus;
mod skip;
mod wait;
mod writer;

pub use bounded_command::run_bounded;
pub use cluster::{
    Cluster, MEMBERS, NODE_DISK, NODES, certificate_flags, create_certificates, execute, first_error, pipeline, scalar,
};
pub use daemon::Daemon;
pub use http::{Answer, get, get_with, post, send_raw};
pub use http2_connection::Http2Connection;
pub use kept_connection::{KeptAnswer, KeptConnection, KeptError};
pub use operator::Operator;
pub use ports::free_ports;
pub use programs::{command, program};
pub use prometheus::Prometheus;
pub use skip::skip;
pub use wait::{until, value_of};
pub use writer::{Promises, Writer};
