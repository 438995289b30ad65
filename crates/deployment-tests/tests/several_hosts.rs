//! Three members, two nodes and a client, each on a host of its own, while the network between them is broken in one way after
//! the other. Every row and every change that was acknowledged has to be there afterwards, and tenants are served throughout.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests: what fails here fails the test; the table is for people"
)]

#[path = "several_hosts/cases.rs"]
mod cases;
#[path = "several_hosts/changes.rs"]
mod changes;
#[path = "several_hosts/delay.rs"]
mod delay;
#[path = "several_hosts/faults.rs"]
mod faults;
#[path = "several_hosts/hosts.rs"]
mod hosts;
#[path = "several_hosts/leader_watch.rs"]
mod leader_watch;
#[path = "several_hosts/rounds.rs"]
mod rounds;
#[path = "several_hosts/rows.rs"]
mod rows;
#[path = "several_hosts/site.rs"]
mod site;
#[path = "several_hosts/table.rs"]
mod table;
