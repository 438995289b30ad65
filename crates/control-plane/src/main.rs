//! The control plane's daemon.

#[cfg(feature = "mutants")]
compile_error!("the feature `mutants` puts bugs in: it is for the simulation, never for a program that somebody runs");

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use control_plane::config::Options;
use control_plane::restore::{RestoreOptions, Restored, restore};
use control_plane::server::{Listeners, run};
use service_runtime::config::{self, ConfigFile};
use service_runtime::dry_run::DryRun;
use service_runtime::exit::exit_code;
use service_runtime::health::{self, HealthOptions};
use service_runtime::options::required;
use service_runtime::shutdown::cancel_on_signals;
use service_runtime::telemetry::{self, LogFormat};
use tokio_util::sync::CancellationToken;

/// A member of the Tenantry control plane: keeps the record of tenants, nodes and placements.
#[derive(Debug, Parser)]
#[command(name = "control-plane", version, args_conflicts_with_subcommands = true)]
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
    /// Ask the member of this machine whether it is ready; ends with 0 if so, otherwise with 1 and what it waits for
    Health(HealthOptions),
    /// Make an empty data folder that of a member of a restored cluster, from a snapshot file
    Restore(RestoreOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(start().await)
}

async fn start() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Task::Health(options)) = cli.task {
        return ask_health(&options);
    }
    telemetry::init(cli.log_format).context("cannot set up logging")?;
    if let Some(Task::Restore(options)) = cli.task {
        return restore_folder(options).await;
    }
    let options = config::load(&Cli::command(), cli.file.config.as_deref(), cli.options)?;
    if cli.dry_run.is_asked() {
        let effective = options.with_defaults();
        return Ok(cli.dry_run.answer(&effective, || effective.clone().check())?);
    }
    let config = options.check()?;
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
    let options = config::load(&Cli::command(), asked.file.config.as_deref(), given)?.with_defaults();
    let answer = health::ask(required("ops-listen", options.ops_listen)?, asked.live)?;
    Ok(writeln!(std::io::stdout(), "{answer}")?)
}

async fn restore_folder(options: RestoreOptions) -> anyhow::Result<()> {
    let keys = std::env::vars_os().map(|(key, _)| key);
    config::refuse_unknown_environment(&Cli::command(), config::SIBLING_KEYS, keys)?;
    let Restored {
        cluster,
        epoch,
        position,
        tenants,
        nodes,
        ..
    } = tokio::task::spawn_blocking(move || restore(&options)).await??;
    let line = format!(
        "restored cluster {cluster} into epoch {epoch}, at revision {}, with {tenants} tenants on {nodes} nodes",
        position.index
    );
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
