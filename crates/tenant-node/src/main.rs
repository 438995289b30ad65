//! The tenant-node's daemon.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser};
use service_runtime::config::{self, ConfigFile};
use service_runtime::exit::exit_code;
use service_runtime::shutdown::cancel_on_signals;
use service_runtime::telemetry::{self, LogFormat};
use tenant_node::config::Options;
use tenant_node::heartbeat::disk_space;
use tenant_node::server::{Listeners, run};
use tokio_util::sync::CancellationToken;

/// A Tenantry tenant-node: serves each tenant's SQLite database over HTTP.
#[derive(Debug, Parser)]
#[command(name = "tenant-node", version)]
struct Cli {
    #[command(flatten)]
    file: ConfigFile,
    /// How log lines look.
    #[arg(long, env = "TENANTRY_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(start().await)
}

async fn start() -> anyhow::Result<()> {
    let cli = Cli::parse();
    telemetry::init(cli.log_format).context("cannot set up logging")?;
    let options = config::load(&Cli::command(), cli.file.config.as_deref(), cli.options)?;
    if let Some(data_dir) = &options.data_dir {
        std::fs::create_dir_all(data_dir).with_context(|| format!("data-dir: cannot make {}", data_dir.display()))?;
    }
    let space = options
        .data_dir
        .as_deref()
        .map(disk_space)
        .transpose()
        .context("data-dir: cannot ask its file system")?;
    let config = options.check(space.map_or(0, |space| space.size))?;
    let listeners = Listeners::bind(&config).await?;
    let shutdown = CancellationToken::new();
    let _signals = cancel_on_signals(shutdown.clone()).context("cannot listen for signals")?;
    run(config, listeners, shutdown).await
}
