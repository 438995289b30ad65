//! The tenant-node against bare hyper, SQLite in process and libsql-server: what is measured, in which order, and how long.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::load::Shape;
use crate::report::Report;
use crate::suite::{self, Suite};
use requests::Work;

pub(crate) mod answer;
pub(crate) mod baseline;
pub(crate) mod client;
pub(crate) mod contest;
mod first_request;
mod in_process;
mod layers;
mod memory;
pub(crate) mod node;
pub(crate) mod requests;
mod statements;
mod tenants;

/// What to run and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How often each load is measured on the node and on every baseline, in turn [default: 3, with --quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Connections of the SELECTs and INSERTs on one tenant; may be given more than once [default: 1, 16 and 64].
    #[arg(long)]
    connections: Vec<NonZeroUsize>,
    /// Everything small: about two minutes, and figures that only show that it works.
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
    /// The program of the baselines [default: beside this one].
    #[arg(long)]
    baselines: Option<PathBuf>,
    /// libsql-server's program [default: none].
    #[arg(long, env = "TENANTRY_BENCH_SQLD")]
    libsql_server: Option<PathBuf>,
    /// Run without baselines.
    #[arg(long)]
    no_baseline: bool,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Point SELECTs by primary key, at 1, 16 and 64 connections.
    Select,
    /// Durable INSERTs of one row, at 1, 16 and 64 connections.
    Insert,
    /// A hundred tenants at 64 connections: mixed, and INSERTs alone.
    Tenants,
    /// The first request to a closed tenant.
    FirstRequest,
    /// Memory and descriptors per registered and per open tenant.
    Memory,
    /// The node's connections and layers around an empty handler.
    Layers,
}

/// What every measurement needs.
struct Bench {
    report: Report,
    plan: Plan,
    folder: PathBuf,
    programs: Programs,
    /// For the measurements of one tenant.
    connections: Vec<usize>,
}

/// What is started.
pub(crate) struct Programs {
    pub(crate) tenant_node: PathBuf,
    pub(crate) control_plane: PathBuf,
    /// `None`: there are no baselines.
    pub(crate) baselines: Option<PathBuf>,
    /// `None`: not at hand.
    pub(crate) libsql: Option<PathBuf>,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    warm_up: Duration,
    length: Duration,
    cold_tenants: usize,
    registered_tenants: u64,
    open_tenants: usize,
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

impl Programs {
    /// A node and its control plane, with nothing to compare them with; those that are not named are beside this program.
    ///
    /// # Errors
    /// When one is not there.
    pub(crate) fn of_node(tenant_node: Option<&Path>, control_plane: Option<&Path>) -> Result<Self> {
        Ok(Self {
            tenant_node: suite::program(tenant_node, "tenant-node")?,
            control_plane: suite::program(control_plane, "control-plane")?,
            baselines: None,
            libsql: None,
        })
    }
}

impl Suite for Bench {
    type Measurement = Measurement;

    /// Boxes what it calls: the measurements' futures are large.
    async fn measure(&mut self, measurement: Measurement) -> Result<()> {
        match measurement {
            Measurement::Select => Box::pin(statements::run(self, Work::Select)).await,
            Measurement::Insert => Box::pin(statements::run(self, Work::Insert)).await,
            Measurement::Tenants => Box::pin(tenants::run(self)).await,
            Measurement::FirstRequest => Box::pin(first_request::run(self)).await,
            Measurement::Layers => Box::pin(layers::run(self)).await,
            Measurement::Memory => Box::pin(memory::run(self)).await,
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
    let (mut report, folder) = suite::begin("Data plane", &arguments.folder)?;
    let programs = arguments.programs()?;
    report.say(match (&programs.baselines, &programs.libsql) {
        (None, _) => "baselines: none, not asked for",
        (Some(_), None) => "baselines: bare hyper, SQLite in process; no libsql-server: TENANTRY_BENCH_SQLD names none",
        (Some(_), Some(_)) => "baselines: bare hyper, SQLite in process, libsql-server",
    });
    let mut bench = Bench {
        report,
        plan: arguments.plan(),
        folder: folder.clone(),
        programs,
        connections: match arguments.connections.as_slice() {
            [] => vec![1, 16, 64],
            given => given.iter().map(|count| count.get()).collect(),
        },
    };
    suite::run(&mut bench, &arguments.only, &folder, arguments.output.as_deref()).await
}

impl Arguments {
    fn programs(&self) -> Result<Programs> {
        let baselines = match self.no_baseline {
            true => None,
            false => Some(suite::program(self.baselines.as_deref(), "bench-baselines")?),
        };
        Ok(Programs {
            libsql: self.libsql_server.clone().filter(|_| baselines.is_some()),
            baselines,
            ..Programs::of_node(self.tenant_node.as_deref(), self.control_plane.as_deref())?
        })
    }

    fn plan(&self) -> Plan {
        let plan = if self.quick {
            Plan {
                rounds: 1,
                warm_up: Duration::from_millis(300),
                length: Duration::from_millis(1_500),
                cold_tenants: 100,
                registered_tenants: 2_000,
                open_tenants: 200,
            }
        } else {
            Plan {
                rounds: 3,
                warm_up: Duration::from_secs(1),
                length: Duration::from_secs(4),
                cold_tenants: 1_000,
                registered_tenants: 10_000,
                open_tenants: 1_000,
            }
        };
        Plan {
            rounds: self.rounds.unwrap_or(plan.rounds).max(1),
            ..plan
        }
    }
}
