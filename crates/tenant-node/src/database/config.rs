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
    /// Most tenants open at once. At the cap the least recently used idle one is closed.
    pub max_open: usize,
    /// An open tenant without requests for this long is closed.
    pub idle_close: Duration,
    /// Threads that run SQL, for all tenants together. At least 1.
    pub threads: usize,
    /// Most jobs that wait for a database thread; more are refused as a shortage of the node.
    pub queued_jobs: usize,
    /// Most threads that one tenant may occupy at a moment. At least 1.
    pub threads_per_tenant: usize,
    /// Connections that an open tenant keeps ready between requests.
    pub idle_connections_per_tenant: usize,
    /// Most memory that SQLite may take in the whole process, in bytes; beyond it statements fail, the process lives.
    pub sqlite_heap_bytes: u64,
    /// Where the time comes from.
    pub clock: Clock,
}

impl DatabasesConfig {
    /// Settings for a node with the given data folder.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            max_open: 1_000,
            idle_close: Duration::from_secs(300),
            threads: 16,
            queued_jobs: 4_096,
            threads_per_tenant: 8,
            idle_connections_per_tenant: 4,
            sqlite_heap_bytes: 4 << 30,
            clock: Clock::default(),
        }
    }
}
