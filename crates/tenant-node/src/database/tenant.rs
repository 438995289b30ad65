//! One open tenant: its file, its idle connections, and who may use a database thread or write at the moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::{OnceCell, Semaphore};

use super::DatabaseError;
use super::connection::TenantConnection;
use super::figures::DatabaseCounters;

/// The database file of the tenant, below the node's data folder. Named by uid, so that no name ever touches a path.
pub(super) fn database_path(data_dir: &Path, uid: TenantUid) -> PathBuf {
    data_dir.join("tenants").join(uid.to_string()).join("db.sqlite")
}

pub(super) fn wal_path(database: &Path) -> PathBuf {
    database.with_extension("sqlite-wal")
}

/// What is shared by all who use one tenant's database.
pub(super) struct TenantDatabase {
    database: PathBuf,
    wal: PathBuf,
    idle: Mutex<Vec<TenantConnection>>,
    idle_limit: usize,
    /// Filled once the file was found sound; only the first user of a cold tenant does the work, the others wait for it.
    pub(super) ready: OnceCell<()>,
    /// One permit: SQLite has one writer. Fair, so that waiting writers take their turn without occupying a thread.
    pub(super) writer: Arc<Semaphore>,
    /// A permit per database thread that this tenant may occupy.
    pub(super) threads: Arc<Semaphore>,
    pub(super) counters: Arc<DatabaseCounters>,
    /// Leases held. Goes up only under the registry's lock.
    pub(super) leases: AtomicUsize,
    pub(super) last_used: Mutex<Instant>,
}

impl TenantDatabase {
    pub(super) fn new(
        database: PathBuf,
        counters: Arc<DatabaseCounters>,
        idle_limit: usize,
        threads: usize,
        now: Instant,
    ) -> Self {
        Self {
            wal: wal_path(&database),
            database,
            idle: Mutex::default(),
            idle_limit,
            ready: OnceCell::new(),
            writer: Arc::new(Semaphore::new(1)),
            threads: Arc::new(Semaphore::new(threads.max(1))),
            counters,
            leases: AtomicUsize::new(0),
            last_used: Mutex::new(now),
        }
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Makes the folder, opens the first connection and measures the file. Blocks.
    pub(super) fn load(&self) -> Result<(), DatabaseError> {
        if let Some(folder) = self.database.parent() {
            std::fs::create_dir_all(folder).map_err(DatabaseError::Folder)?;
        }
        let mut connection = self.connect()?;
        self.measure_sizes(&connection);
        connection.measure_memory();
        self.give_back(connection);
        Ok(())
    }

    /// An idle connection, or a new one. Blocks.
    pub(super) fn check_out(&self) -> Result<TenantConnection, DatabaseError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    /// Takes a clean connection back; closes it where enough are idle. Blocks.
    pub(super) fn give_back(&self, connection: TenantConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < self.idle_limit {
            idle.push(connection);
        } else {
            drop(idle);
            drop(connection);
        }
    }

    pub(super) fn measure_sizes(&self, connection: &TenantConnection) {
        match connection.measure_sizes(&self.wal) {
            Ok(sizes) => self.counters.set_sizes(sizes),
            Err(error) => tracing::debug!(%error, "the sizes of a database could not be read"),
        }
    }

    fn connect(&self) -> Result<TenantConnection, DatabaseError> {
        TenantConnection::open(&self.database, Arc::clone(&self.counters)).map_err(DatabaseError::opening)
    }
}
