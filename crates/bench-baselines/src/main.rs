//! What the benchmark compares the tenant-node with, one subcommand each, started by `bench` as processes of their own.
//!
//! Must not measure what it serves: the load generator and all figures of servers are the benchmark's. It is apart from
//! `bench` because that one may use neither SQLite nor the node's own code.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};

mod bare_hyper;
mod layers;
mod sqlite;

/// Baselines for the benchmark of the data plane.
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
    /// The node's connections and layers around a handler that gives the same answer to all.
    Layers(layers::Arguments),
    /// SQLite in this process: threads that run statements, no network.
    Sqlite(sqlite::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().baseline {
        Baseline::BareHyper(arguments) => bare_hyper::run(&arguments),
        Baseline::Layers(arguments) => layers::run(&arguments),
        Baseline::Sqlite(arguments) => sqlite::run(&arguments),
    }
}
