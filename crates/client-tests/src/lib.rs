//! Tenants' databases met through the SDKs that applications use: a running cluster, a door to each tenant, the SDKs'
//! packages, and the report of a client's checks.
//!
//! Nothing here knows Hrana: what an SDK sends passes unread. A client is a small program in `clients/`, or a test that
//! links the SDK; it prints or returns one line for each check, and a check that did not run fails like one that failed.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness: what goes wrong here is a failed test, told on stderr"
)]

mod door;
mod packages;

mod report;
mod site;

pub use door::Door;
pub use packages::{Installed, node_modules, python_packages};
pub use process_tests::run_bounded;
pub use report::Report;
pub use site::{Site, Tenant, Token};
