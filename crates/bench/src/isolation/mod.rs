//! What hostile tenants do to their neighbours on a tenant-node: latencies of a well-behaved one with and without them, and how the node
//! is shared under load.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::data_plane::Programs;
use crate::report::Report;
use crate::suite::{self, Suite};

mod answers;
mod attack;
mod attacker;
mod attempts;
mod fairness;
mod hostile;
mod tenants;
mod victim;

/// What to run and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How often each attack and each load is measured [default: 3, with --quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Everything short: figures that only show that it works.
    #[arg(long)]
    quick: bool,
    /// Only this measurement; may be given more than once.
    #[arg(long)]
    only: Vec<Measurement>,
    /// Only attacks whose name contains this; may be given more than once.
    #[arg(long)]
    attack: Vec<String>,
    /// Also write the report to this file.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Where all programs keep their data: decides which disk is measured. Only what is made there is removed.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// The tenant-node's program [default: beside this one].
    #[arg(long)]
    tenant_node: Option<PathBuf>,
    /// The control plane's program [default: beside this one].
    #[arg(long)]
    control_plane: Option<PathBuf>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// A neighbour's latencies during attacks of every kind.
    Hostile,
    /// Who gets how much when one tenant has 500 connections.
    Fairness,
}

/// What every measurement needs.
struct Bench {
    report: Report,
    plan: Plan,
    folder: PathBuf,
    programs: Programs,
    /// Parts of the names of the attacks that are wanted; none for all.
    attacks: Vec<String>,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    warm_up: Duration,
    length: Duration,
}

impl Suite for Bench {
    type Measurement = Measurement;

    /// Boxes what it calls: the measurements' futures are large.
    async fn measure(&mut self, measurement: Measurement) -> Result<()> {
        match measurement {
            Measurement::Hostile => Box::pin(hostile::run(self)).await,
            Measurement::Fairness => Box::pin(fairness::run(self)).await,
        }
    }

    fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}

/// Measures, prints, and removes what it made.
///
/// # Errors
/// When a program cannot be found, or a measurement failed; the others are made all the same.
pub async fn run(arguments: Arguments) -> Result<()> {
    let (report, folder) = suite::begin("Isolation", &arguments.folder)?;
    let mut bench = Bench {
        report,
        plan: arguments.plan(),
        folder: folder.clone(),
        programs: Programs::of_node(arguments.tenant_node.as_deref(), arguments.control_plane.as_deref())?,
        attacks: arguments.attack,
    };
    suite::run(&mut bench, &arguments.only, &folder, arguments.output.as_deref()).await
}

impl Arguments {
    fn plan(&self) -> Plan {
        let (rounds, warm_up, length) = match self.quick {
            true => (1, Duration::from_millis(300), Duration::from_millis(1_500)),
            false => (3, Duration::from_millis(500), Duration::from_secs(4)),
        };
        Plan {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            warm_up,
            length,
        }
    }
}
