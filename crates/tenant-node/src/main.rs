//! The tenant-node's daemon.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use service_runtime::config::{self, ConfigFile};
use service_runtime::dry_run::DryRun;
use service_runtime::exit::exit_code;
use service_runtime::health::{self, HealthOptions};
use service_runtime::options::required;
use service_runtime::shutdown::cancel_on_signals;
use service_runtime::telemetry::{self, LogFormat};
use tenant_node::config::{Machine, Options};
use tenant_node::server::{Listeners, run};
use tokio_util::sync::CancellationToken;

/// What one thread allocates another one frees, for each request: its connection's task and the database thread that runs its SQL.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Tenantry tenant-node: serves each tenant's SQLite database over HTTP.
#[derive(Debug, Parser)]
#[command(name = "tenant-node", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    file: ConfigFile,
    /// How log lines look.
    #[arg(long, env = "TENANTRY_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    dry_run: DryRun,
    #[command(flatten)]
    options: Options,
}

/// What else the program can do than run.
#[derive(Debug, Subcommand)]
enum Task {
    /// Ask the node of this machine whether it is ready; ends with 0 if so, otherwise with 1 and what it waits for
    Health(HealthOptions),
}

fn main() -> ExitCode {
    tenant_node::thread_slices::keep_waits_short();
    exit_code(start())
}

#[tokio::main]
async fn start() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Task::Health(options)) = cli.task {
        return ask_health(&options);
    }
    telemetry::init(cli.log_format).context("cannot set up logging")?;
    let options = config::load(&Cli::command(), cli.file.config.as_deref(), cli.options)?;
    // Without a data folder the check fails, and nothing depends on the disk's size.
    let machine = match options.data_dir.as_deref() {
        Some(data_dir) => Machine::with_data_dir(data_dir).context("data-dir: cannot ask its file system")?,
        None => Machine::with_disk(0),
    };
    if cli.dry_run.is_asked() {
        let effective = options.with_defaults(machine);
        return Ok(cli
            .dry_run
            .answer(&effective, || effective.clone().check(machine.disk_size))?);
    }
    let config = options.check(machine.disk_size)?;
    let listeners = Listeners::bind(&config).await?;
    let shutdown = CancellationToken::new();
    let _signals = cancel_on_signals(shutdown.clone()).context("cannot listen for signals")?;
    run(config, listeners, shutdown).await
}

fn ask_health(asked: &HealthOptions) -> anyhow::Result<()> {
    let given = Options {
        ops_listen: asked.ops_listen,
        ..Options::default()
    };
    let options = config::load(&Cli::command(), asked.file.config.as_deref(), given)?;
    // The ops port's address does not depend on the disk.
    let options = options.with_defaults(Machine::with_disk(0));
    let answer = health::ask(required("ops-listen", options.ops_listen)?, asked.live)?;
    Ok(writeln!(std::io::stdout(), "{answer}")?)
}
