//! SQLite without a server, as a process of its own, and what it says of itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::requests::{INSERT, ROWS, SELECT, SETUP, TEXT};
use crate::latency::Latencies;
use crate::load::{Sample, Shape, per_second};
use crate::measured::Measured;
use crate::process::Process;

/// Beyond the load itself: making databases.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// SELECTs on all cores, one database.
    Select,
    /// INSERTs, a commit each, over so many databases; one thread a database, at most one a client.
    Insert { databases: usize },
    /// INSERTs into one database; each commit holds as many rows as there are clients.
    GroupedInsert,
    /// INSERTs, a commit each, over so many databases, none of them synced by itself: as many as there are clients share one write and sync of
    /// another file. A thread a core.
    SyncedTogether { databases: usize },
    /// Four SELECTs to an INSERT over so many databases; one thread a database, at most one a client.
    Mixed { databases: usize },
}

/// Runs once a round, in a new folder each time.
pub(crate) struct InProcess {
    program: PathBuf,
    folder: PathBuf,
    load: Load,
}

impl InProcess {
    pub(super) fn new(program: &Path, folder: &Path, load: Load) -> Self {
        Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            load,
        }
    }

    /// # Errors
    /// When the process fails.
    pub(super) async fn run(&self, shape: Shape) -> Result<Measured> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let (name, threads, databases, batch) = match self.load {
            Load::Select => ("select", shape.clients.min(cores), 1, 1),
            Load::Insert { databases } => ("insert", shape.clients.min(databases), databases, 1),
            Load::GroupedInsert => ("grouped-insert", 1, 1, shape.clients),
            Load::SyncedTogether { databases } => ("synced-together", cores, databases, shape.clients),
            Load::Mixed { databases } => ("mixed", shape.clients.min(databases), databases, 1),
        };
        let folder = new_folder(&self.folder)?;
        let setup = SETUP.join(";");
        let arguments = [
            ("--load", name.into()),
            ("--folder", folder.path().into()),
            ("--threads", threads.to_string().into()),
            ("--databases", databases.to_string().into()),
            ("--batch", batch.to_string().into()),
            ("--setup", setup.into()),
            ("--select", SELECT.into()),
            ("--keys", ROWS.to_string().into()),
            ("--insert", INSERT.into()),
            ("--text", TEXT.into()),
            ("--warm-up-ms", shape.warm_up.as_millis().to_string().into()),
            ("--length-ms", shape.length.as_millis().to_string().into()),
        ];
        let patience = PATIENCE + shape.warm_up + shape.length;
        let output = output(&self.program, &arguments, folder.path(), patience).await?;
        let own = OwnFigures::parse(&output).context("the baseline's output is malformed")?;
        Ok(Measured {
            sample: Sample {
                per_second: per_second(own.durations.len(), shape.length),
                latencies: Latencies::of(own.durations),
                calls: own.calls,
                failures: 0,
            },
            servers: own.processor,
            client: Duration::ZERO,
        })
    }
}

/// Opens each database below `tenants` once and asks it for a row: how long each took. Logs into `folder`.
///
/// # Errors
/// When the process fails.
pub(super) async fn open_each(program: &Path, tenants: &Path, folder: &Path) -> Result<Latencies> {
    let folder = new_folder(folder)?;
    let arguments = [
        ("--load", "open".into()),
        ("--folder", tenants.into()),
        ("--select", SELECT.into()),
        ("--keys", ROWS.to_string().into()),
    ];
    let output = output(program, &arguments, folder.path(), PATIENCE).await?;
    let own = OwnFigures::parse(&output).context("the baseline's output is malformed")?;
    Ok(Latencies::of(own.durations))
}

fn new_folder(folder: &Path) -> Result<TempDir> {
    let new = tempfile::Builder::new().prefix("sqlite-").tempdir_in(folder);
    new.with_context(|| format!("cannot make a folder in {}", folder.display()))
}

async fn output(program: &Path, pairs: &[(&str, OsString)], folder: &Path, patience: Duration) -> Result<String> {
    let mut arguments = vec![OsString::from("sqlite")];
    for (name, value) in pairs {
        arguments.extend([OsString::from(name), value.clone()]);
    }
    let mut process = Process::new(program, arguments, folder.join("sqlite.log"));
    process.start()?;
    process.finish(patience).await
}

/// What the process prints.
#[derive(Debug, PartialEq, Eq)]
struct OwnFigures {
    calls: u64,
    processor: Duration,
    durations: Vec<Duration>,
}

impl OwnFigures {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let calls = lines.next()?.strip_prefix("calls ")?.parse().ok()?;
        let nanos = lines.next()?.strip_prefix("cpu_nanos ")?.parse().ok()?;
        let durations = lines.map(|line| line.parse().ok().map(Duration::from_nanos));
        Some(Self {
            calls,
            processor: Duration::from_nanos(nanos),
            durations: durations.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_whole_or_not_at_all() {
        let figures = OwnFigures::parse("calls 3\ncpu_nanos 2000\n10\n20\n").unwrap();
        assert_eq!(figures.calls, 3);
        assert_eq!(figures.processor, Duration::from_micros(2));
        assert_eq!(figures.durations, [10, 20].map(Duration::from_nanos));
        for text in [
            "",
            "calls x\ncpu_nanos 1\n",
            "calls 1\n",
            "calls 1\ncpu_nanos 1\nError: disk full\n",
        ] {
            assert_eq!(OwnFigures::parse(text), None, "{text}");
        }
    }
}
