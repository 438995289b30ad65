//! The control plane against etcd: what is measured, in which order, and with how much patience.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::pip_program::{ETCD, Found};
use crate::report::Report;
use crate::subject::{Product, Timing};
use crate::suite::{self, Suite};
use filled::Filled;

mod comparison;
mod failover;
mod fan_out;
mod filled;
mod footprint;
mod reads;
mod snapshot;
mod writer;
mod writes;

/// What to run and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How often each pair is measured, ours and the baseline in turn [default: 3, with --quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// How often the leader is killed [default: 30, with --quick 3].
    #[arg(long)]
    kills: Option<usize>,
    /// Tenants for the snapshot, the footprint and the restart [default: 100000, with --quick 5000].
    #[arg(long)]
    tenants: Option<u64>,
    /// Everything small: under two minutes, and figures that only show that it works.
    #[arg(long)]
    quick: bool,
    /// Only this measurement; may be given more than once.
    #[arg(long)]
    only: Vec<Measurement>,
    /// Also write the report to this file.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Where all members keep their data: decides which disk is measured. Only what is made there is removed.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// The control plane's program [default: beside this one].
    #[arg(long)]
    control_plane: Option<PathBuf>,
    /// etcd's program [default: the one in the path, else the package of pip is installed below the folder].
    #[arg(long, env = "BENCH_ETCD")]
    etcd: Option<PathBuf>,
    /// Run without the baseline.
    #[arg(long)]
    no_baseline: bool,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Acknowledged writes a second, at 1, 64 and 256 clients.
    Writes,
    /// Linearizable reads a second, at 64 clients.
    Reads,
    /// The leader is killed: time until the next acknowledged write.
    Failover,
    /// Memory per tenant, and restart to ready with many tenants.
    Footprint,
    /// Time, size and stalls of a snapshot of many tenants.
    Snapshot,
    /// Watchers of the routing table: one change to the last of them, and all at once.
    FanOut,
}

/// What every measurement needs.
struct Bench {
    report: Report,
    plan: Plan,
    folder: PathBuf,
    ours: Product,
    /// etcd's program; `None`: there is no baseline.
    etcd: Option<PathBuf>,
    /// Made when first needed.
    filled: Option<Filled>,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    warm_up: Duration,
    length: Duration,
    kills: usize,
    tenants: u64,
    watchers: usize,
    watched_tenants: u64,
    changes: usize,
}

impl Bench {
    /// etcd with these timings, if there is one.
    fn baseline(&self, timing: Timing) -> Option<Product> {
        let program = self.etcd.clone()?;
        Some(Product::Etcd { program, timing })
    }

    /// The group with many tenants. One that a measurement failed on is not used again.
    async fn filled(&mut self) -> Result<&mut Filled> {
        let filled = match self.filled.take() {
            Some(filled) => filled,
            None => Filled::new(&self.ours, &self.folder, self.plan).await?,
        };
        Ok(self.filled.insert(filled))
    }
}

impl Suite for Bench {
    type Measurement = Measurement;

    /// Boxes what it calls: the measurements' futures are large.
    async fn measure(&mut self, measurement: Measurement) -> Result<()> {
        match measurement {
            Measurement::Writes => Box::pin(writes::run(self)).await,
            Measurement::Reads => Box::pin(reads::run(self)).await,
            Measurement::Failover => Box::pin(failover::run(self)).await,
            Measurement::Footprint => Box::pin(footprint::run(self)).await,
            Measurement::Snapshot => Box::pin(snapshot::run(self)).await,
            Measurement::FanOut => {
                // Idle or not, its members would share the cores.
                self.filled = None;
                Box::pin(fan_out::run(self)).await
            }
        }
    }

    fn recover(&mut self) {
        self.filled = None;
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
    let (mut report, folder) = suite::begin("Control plane", &arguments.folder)?;
    let program = suite::program(arguments.control_plane.as_deref(), "control-plane")?;
    let etcd = if arguments.no_baseline {
        Found::Missing("not asked for".to_owned())
    } else {
        ETCD.find(arguments.etcd.as_deref(), &folder)
    };
    let etcd = match etcd {
        Found::Program { program, version } => {
            report.say(format_args!("baseline: {version}, 3 members, same disk"));
            Some(program)
        }
        Found::Missing(reason) => {
            report.say(format_args!("baseline: none, {reason}"));
            None
        }
    };
    let mut bench = Bench {
        report,
        plan: arguments.plan(),
        folder: folder.clone(),
        ours: Product::Tenantry { program },
        etcd,
        filled: None,
    };
    suite::run(&mut bench, &arguments.only, &folder, arguments.output.as_deref()).await
}

impl Arguments {
    fn plan(&self) -> Plan {
        let plan = if self.quick {
            Plan {
                rounds: 1,
                warm_up: Duration::from_millis(500),
                length: Duration::from_millis(1_500),
                kills: 3,
                tenants: 5_000,
                watchers: 300,
                watched_tenants: 500,
                changes: 20,
            }
        } else {
            Plan {
                rounds: 3,
                warm_up: Duration::from_secs(1),
                length: Duration::from_secs(4),
                kills: 30,
                tenants: 100_000,
                watchers: 300,
                watched_tenants: 10_000,
                changes: 200,
            }
        };
        Plan {
            rounds: self.rounds.unwrap_or(plan.rounds).max(1),
            kills: self.kills.unwrap_or(plan.kills).max(1),
            tenants: self.tenants.unwrap_or(plan.tenants).max(1),
            ..plan
        }
    }
}
