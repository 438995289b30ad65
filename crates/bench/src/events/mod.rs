//! What it costs to tell events: from a node's report to those who watch, to many at once, and in a burst.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::data_plane::Programs;
use crate::report::Report;
use crate::subject::Product;
use crate::suite::{self, Suite};

mod burst;
mod flapping;
mod reporter;
mod subscriber;
mod telling;

/// What to run and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
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
    /// The control plane's program [default: beside this one].
    #[arg(long)]
    control_plane: Option<PathBuf>,
    /// The tenant-node's program [default: beside this one].
    #[arg(long)]
    tenant_node: Option<PathBuf>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// From a node's report to one subscriber, and to many.
    Telling,
    /// Many events at once: what the members keep of them, and what a subscriber is told that reads none meanwhile.
    Burst,
    /// Many tenants of a real node that swing from hot to cool: the events that this makes.
    Flapping,
}

/// What every measurement needs.
struct Bench {
    report: Report,
    plan: Plan,
    folder: PathBuf,
    control_plane: Product,
    node: Programs,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    events: u64,
    subscribers: usize,
    burst: u64,
    flapping_tenants: usize,
    swings: u32,
}

impl Suite for Bench {
    type Measurement = Measurement;

    /// Boxes what it calls: the measurements' futures are large.
    async fn measure(&mut self, measurement: Measurement) -> Result<()> {
        match measurement {
            Measurement::Telling => Box::pin(telling::run(self)).await,
            Measurement::Burst => Box::pin(burst::run(self)).await,
            Measurement::Flapping => Box::pin(flapping::run(self)).await,
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
    let (report, folder) = suite::begin("Events", &arguments.folder)?;
    let mut bench = Bench {
        report,
        plan: if arguments.quick {
            Plan {
                events: 50,
                subscribers: 20,
                burst: 12_000,
                flapping_tenants: 50,
                swings: 2,
            }
        } else {
            Plan {
                events: 1_000,
                subscribers: 300,
                burst: 100_000,
                flapping_tenants: 1_000,
                swings: 4,
            }
        },
        folder: folder.clone(),
        node: Programs::of_node(arguments.tenant_node.as_deref(), arguments.control_plane.as_deref())?,
        control_plane: Product::Tenantry {
            program: suite::program(arguments.control_plane.as_deref(), "control-plane")?,
        },
    };
    suite::run(&mut bench, &arguments.only, &folder, arguments.output.as_deref()).await
}
