//! Project tasks, run as `cargo xtask TASK`. One file per task; `dev` holds what `up`, `down` and `status` share.
//!
//! This program must not depend on the crates it builds and starts: it has to work while they do not compile.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

mod bench;
mod check_layers;
mod dev;
mod down;
mod fmt;
mod simulate;
mod status;
mod test;
mod up;
mod workspace;

/// Tasks of this project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build and start three control-plane members and two tenant nodes on loopback, with a demo tenant.
    ///
    /// Runs until Ctrl-C, unless detached. Started again on the same data, it continues where it stopped; if only some
    /// of the processes run, it starts the missing ones.
    Up {
        /// Leave everything running in the background; `down` stops it.
        #[arg(long)]
        detach: bool,
        #[command(flatten)]
        data: DataFolder,
    },
    /// Stop what `up` started.
    Down {
        #[command(flatten)]
        data: DataFolder,
    },
    /// Show the processes that `up` started: pid, readiness, uptime. Fails unless all are ready.
    Status {
        #[command(flatten)]
        data: DataFolder,
    },
    /// Run everything that this machine can check: formatting, lints, layers, all tests; say what was skipped and why.
    Test,
    /// What the continuous integration runs: the same as `test`.
    Ci,
    /// Check that crates depend on each other only along the arrows of the design, and name nothing they must not know.
    CheckLayers,
    /// Simulate seeded clusters of control-plane members on all cores, or with `quota` the quota engine, or with `events` what nodes
    /// tell of tenants' conditions; stops at the first
    /// violation and says how to see it again.
    Simulate(simulate::Arguments),
    /// Measure release builds against others on this machine; options after the name go to the benchmark (`--help`).
    Bench {
        /// What to measure.
        suite: BenchSuite,
        /// For the benchmark: --quick, --rounds N, --only NAME, --output FILE and more.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Format all code.
    Fmt,
}

#[derive(Debug, clap::Args)]
struct DataFolder {
    /// Folder of the data, logs and process list; a relative path is taken from the root of the workspace.
    #[arg(long = "data", value_name = "DIR", default_value = ".tenantry/dev")]
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BenchSuite {
    /// The control plane against etcd.
    ControlPlane,
    /// The tenant-node against bare hyper, SQLite in process and libsql-server.
    DataPlane,
    /// What hostile tenants do to their neighbours on a tenant-node.
    Isolation,
    /// What keeping tenants within limits costs, beside governor and Envoy.
    Quotas,
    /// What it costs to tell events to those who watch.
    Events,
}

impl BenchSuite {
    const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::DataPlane => "data-plane",
            Self::Isolation => "isolation",
            Self::Quotas => "quotas",
            Self::Events => "events",
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Up { detach, data } => up::run(&workspace::resolve(&data.path), up::Mode::new(detach)),
        Task::Down { data } => down::run(&workspace::resolve(&data.path)),
        Task::Status { data } => status::run(&workspace::resolve(&data.path)),
        Task::Test | Task::Ci => test::run(),
        Task::CheckLayers => check_layers::run(),
        Task::Simulate(arguments) => simulate::run(&arguments),
        Task::Bench { suite, arguments } => bench::run(suite.name(), &arguments),
        Task::Fmt => fmt::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
