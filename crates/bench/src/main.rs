//! Runs benchmarks. `cargo xtask bench` builds everything first and starts this.

use anyhow::{Context as _, bail};
use bench::{control_plane, data_plane, events, isolation, quotas};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures the real programs against others on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The control plane against etcd.
    ControlPlane(control_plane::Arguments),
    /// The tenant-node against bare hyper, SQLite in process and libsql-server.
    DataPlane(data_plane::Arguments),
    /// What hostile tenants do to their neighbours on a tenant-node.
    Isolation(isolation::Arguments),
    /// What keeping tenants within limits costs, beside governor and Envoy.
    Quotas(quotas::Arguments),
    /// What it costs to tell events to those who watch.
    Events(events::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let suite = Arguments::parse().suite;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    // Dropping the run ends every process that it started.
    tokio::select! {
        outcome = run(suite) => outcome,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn run(suite: Suite) -> anyhow::Result<()> {
    match suite {
        Suite::ControlPlane(arguments) => control_plane::run(arguments).await,
        Suite::DataPlane(arguments) => data_plane::run(arguments).await,
        Suite::Isolation(arguments) => isolation::run(arguments).await,
        Suite::Quotas(arguments) => quotas::run(arguments).await,
        Suite::Events(arguments) => events::run(arguments).await,
    }
}
