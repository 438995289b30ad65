//! The Helm chart, rendered by Helm 3 and Helm 4 for each file in its `ci` folder: valid, restricted, wired together, and with
//! options that the real programs accept.
//!
//! There is no Kubernetes here. What only a cluster can show is not tested.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests: what fails here fails the test"
)]

mod api_server;
mod carried_files;
mod certificates;
mod chart;
mod config_file;
mod custom_resources;
mod helm_program;
mod manifests;
mod operator_calls;
mod options;
mod references;
mod refusals;
mod restricted;
mod stopping;
mod validators;
mod values_table;
mod wiring;
mod zones;
