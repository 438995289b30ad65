//! What the benchmark compares the tenant-node and its layers with, one subcommand each, started by `bench` as processes of their
//! own.
//!
//! Must not measure what it serves: the load generator and all figures of servers are the benchmark's. It is apart from
//! `bench` because that one may use neither SQLite nor the node's own code.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};

mod access;
mod bare_hyper;
mod decide;
mod layers;
mod library_clock;
mod limited;
mod sqlite;
mod tenants;

/// Baselines for the benchmark.
#[derive(Debug, Parser)]
#[command(name = "bench-baselines")]
struct Arguments {
    #[command(subcommand)]
    baseline: Baseline,
}

#[derive(Debug, Subcommand)]
enum Baseline {
    /// A server that reads each request and gives the same answer to all.
    BareHyper(bare_hyper::Arguments),
    /// Decisions about requests in this process, no network.
    Decide(decide::Arguments),
    /// The node's connections and layers around a handler that gives the same answer to all.
    Layers(layers::Arguments),
    /// The server that gives the same answer to all, behind limits for each tenant.
    Limited(limited::Arguments),
    /// SQLite in this process: threads that run statements, no network.
    Sqlite(sqlite::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().baseline {
        Baseline::BareHyper(arguments) => bare_hyper::run(&arguments),
        Baseline::Decide(arguments) => decide::run(&arguments),
        Baseline::Layers(arguments) => layers::run(&arguments),
        Baseline::Limited(arguments) => limited::run(&arguments),
        Baseline::Sqlite(arguments) => sqlite::run(&arguments),
    }
}
