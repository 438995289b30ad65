//! Settings of the database layer.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the time comes from; tests pass their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl Default for Clock {
    /// The machine's monotonic clock.
    fn default() -> Self {
        Self::new(Instant::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Settings of [`super::Databases`].
#[derive(Debug, Clone)]
pub struct DatabasesConfig {
    /// The node's data folder; databases live in `tenants/<uid>/db.sqlite` below it.
    pub data_dir: PathBuf,
    /// Most tenants open at once; fewer where `descriptors` do not suffice. At the cap the idle one is closed that was not used for
    /// longest, weighed by tier.
    pub max_open: usize,
    /// File descriptors for databases.
    pub descriptors: usize,
    /// An open tenant without requests for this long is closed.
    pub idle_close: Duration,
    /// Jobs that run SQL at a moment, for all tenants together. At least 1.
    pub running_jobs: usize,
    /// Of these, jobs that have been running for a while, or are expected to. At least 1.
    pub long_running_jobs: usize,
    /// Most jobs that wait to begin; more are refused as a shortage of the node.
    pub queued_jobs: usize,
    /// Most jobs of one tenant that have begun and not ended. At least 1.
    pub jobs_per_tenant: usize,
    /// Most jobs of all tenants that have begun and not ended: those that run, that have made room for others, and that wait for a slow
    /// client. Each has a thread.
    pub begun_jobs: usize,
    /// A job that has waited this long to begin is refused.
    pub patience: Duration,
    /// A tenant without requests for this long keeps one connection of those that it had.
    pub spare_connections_close: Duration,
    /// Most memory that SQLite may take in the whole process, in bytes; beyond it statements fail, the process lives.
    pub sqlite_heap_bytes: u64,
    /// Most bytes of the log that all tenants share.
    pub log_bytes: u64,
    /// What is done when the disk has failed to sync that log: nothing is acknowledged any more, so the process should end.
    pub on_log_failure: fn(String),
    /// Where the time comes from.
    pub clock: Clock,
}

/// A failed sync tells nothing about what is on the disk, and cannot be repeated: the next start finds out.
#[expect(clippy::needless_pass_by_value, reason = "the log gives its reason away")]
fn abort(reason: String) {
    tracing::error!(
        reason,
        "the node's log failed; the process ends, so that nothing is acknowledged that may be lost"
    );
    std::process::abort();
}

impl DatabasesConfig {
    /// Settings for a node with the given data folder.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            max_open: 1_000,
            descriptors: 8_192,
            idle_close: Duration::from_secs(300),
            running_jobs: 16,
            long_running_jobs: 4,
            queued_jobs: 4_096,
            jobs_per_tenant: 8,
            begun_jobs: 512,
            patience: Duration::from_secs(10),
            spare_connections_close: Duration::from_secs(5),
            sqlite_heap_bytes: 4 << 30,
            log_bytes: 16 << 20,
            on_log_failure: abort,
            clock: Clock::default(),
        }
    }
}
