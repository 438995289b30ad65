//! Log output and the end of a process that panicked.
//!
//! Logs go to standard error, filtered by `TENANTRY_LOG` (default `info`; syntax of `tracing_subscriber::EnvFilter`, such
//! as `info,control_plane::raft=debug`). Metrics are not this module's: a daemon hands its own text to [`crate::ops`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::env;
use std::io::{self, IsTerminal};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::thread;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The environment key of the log filter.
pub const LOG_FILTER_KEY: &str = "TENANTRY_LOG";

/// How a log line looks. Fits an options struct: `#[arg(long, env = "TENANTRY_LOG_FORMAT")] log_format: Option<LogFormat>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not Unicode.
    #[error("{LOG_FILTER_KEY} is not valid Unicode")]
    NotUnicode,
    /// The filter does not parse.
    #[error("{LOG_FILTER_KEY} is not a log filter: `{filter}`")]
    Filter {
        /// What the key held.
        filter: String,
        /// Where it is wrong.
        source: ParseError,
    },
    /// [`init`] ran before in this process.
    #[error("logging was set up twice")]
    Twice(#[source] TryInitError),
}

/// Starts logging for the whole process and makes a panic on any thread fatal to it. Called once, first thing in `main`.
///
/// # Errors
/// When the filter in the environment is malformed, or a subscriber is set already.
pub fn init(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = match env::var(LOG_FILTER_KEY) {
        Ok(text) => parse_filter(&text)?,
        Err(env::VarError::NotPresent) => parse_filter("")?,
        Err(env::VarError::NotUnicode(_)) => return Err(TelemetryError::NotUnicode),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(TelemetryError::Twice)?;
    abort_on_panic();
    Ok(())
}

fn parse_filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let text = if text.trim().is_empty() { "info" } else { text };
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| TelemetryError::Filter {
            filter: text.to_owned(),
            source,
        })
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs foreign code that panics where it should answer an error, such as on a damaged file. A panic of this thread
/// meanwhile is logged and answered, and does not end the process. What the code was working on must not be used again.
///
/// # Errors
/// With the panic's payload.
pub fn contain<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    let before = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    outcome
}

/// Logs a panic and aborts. A process that lost a thread and lives on answers probes and does no work.
pub fn abort_on_panic() {
    let print_to_stderr = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if tracing::dispatcher::has_been_set() {
            log_panic(panic);
        } else {
            print_to_stderr(panic);
        }
        if !CONTAINED.get() {
            std::process::abort();
        }
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        thread = thread.name(),
        location,
        backtrace,
        "panicked: {}",
        panic.payload_as_str().unwrap_or("(not a text)"),
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn an_empty_filter_means_info_and_a_malformed_one_is_refused() {
        assert_eq!(parse_filter(" ").unwrap().to_string(), "info");
        assert_eq!(
            parse_filter("warn,control_plane::raft=debug").unwrap().to_string(),
            "control_plane::raft=debug,warn"
        );
        let refusal = parse_filter("control_plane=loud").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "TENANTRY_LOG is not a log filter: `control_plane=loud`"
        );
    }

    /// Set in the copy of the test below that plays the panicking process.
    const PANICS_KEY: &str = "TENANTRY_TEST_PANICS";

    #[test]
    fn a_panic_on_any_thread_is_logged_and_aborts_the_process_unless_it_is_contained() {
        if env::var_os(PANICS_KEY).is_some() {
            init(LogFormat::Json).unwrap();
            assert!(contain(|| panic!("a damaged file")).is_err());
            let _ = thread::Builder::new()
                .name("raft".to_owned())
                .spawn(|| panic!("log is torn"))
                .unwrap()
                .join();
            return;
        }
        let name = "telemetry::tests::a_panic_on_any_thread_is_logged_and_aborts_the_process_unless_it_is_contained";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(PANICS_KEY, "1")
            .env_remove(LOG_FILTER_KEY)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&child.stderr);
        assert!(log.contains("a damaged file"), "{log}");
        assert_eq!(child.status.signal(), Some(6), "SIGABRT expected: {log}");
        let line = log
            .lines()
            .find(|line| line.contains("log is torn"))
            .unwrap_or_else(|| panic!("not logged: {log}"));
        assert!(
            line.contains(r#""level":"ERROR""#) && line.contains(r#""thread":"raft""#),
            "{line}"
        );
        assert!(line.contains("telemetry.rs:"), "the place is named: {line}");
    }
}
