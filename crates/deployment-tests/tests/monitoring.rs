//! Rules, dashboards and runbooks, held against what the daemons really show and against a real Prometheus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

#[path = "monitoring/answers.rs"]
mod answers;
#[path = "monitoring/dashboards.rs"]
mod dashboards;
#[path = "monitoring/exposition.rs"]
mod exposition;
#[path = "monitoring/faults.rs"]
mod faults;
#[path = "monitoring/files.rs"]
mod files;
#[path = "monitoring/live.rs"]
mod live;
#[path = "monitoring/prometheus.rs"]
mod prometheus;
#[path = "monitoring/promql.rs"]
mod promql;
#[path = "monitoring/rules.rs"]
mod rules;
#[path = "monitoring/runbooks.rs"]
mod runbooks;
#[path = "monitoring/second_opinion.rs"]
mod second_opinion;
#[path = "monitoring/traffic.rs"]
mod traffic;
