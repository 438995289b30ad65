//! One open tenant: its file, its idle connections, and who may write at the moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use node_log::NodeLog;
use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::{OnceCell, Semaphore};

use super::connection::TenantConnection;
use super::descriptors::{ConnectionSlot, Stock};
use super::durability::TenantDurability;
use super::figures::DatabaseCounters;
use super::memory::Entered;
use super::schedule::Account;
use super::storage_limit::LatestLimit;
use super::write_group::WriteQueue;
use super::{DatabaseError, StatementError, checkpoint};

/// The folder of the tenants' folders, below the node's data folder.
pub(super) fn tenants_path(data_dir: &Path) -> PathBuf {
    data_dir.join("tenants")
}

/// The database file of the tenant, below the node's data folder. Named by uid, so that no name ever touches a path.
pub(super) fn database_path(data_dir: &Path, uid: TenantUid) -> PathBuf {
    tenants_path(data_dir).join(uid.to_string()).join("db.sqlite")
}

pub(super) fn wal_path(database: &Path) -> PathBuf {
    database.with_extension("sqlite-wal")
}

/// What is shared by all who use one tenant's database.
pub(super) struct TenantDatabase {
    uid: TenantUid,
    weight: AtomicU32,
    database: PathBuf,
    wal: PathBuf,
    /// Pages of the write-ahead log after the last commit.
    wal_pages: Arc<AtomicU32>,
    /// Whether a job copies the log back, or is about to.
    checkpointing: AtomicBool,
    /// Not before the log has so many pages again: a reader kept the last attempt from its end.
    next_checkpoint_pages: AtomicU32,
    #[expect(
        clippy::vec_box,
        reason = "they stay in their boxes when they change hands, which they do with each job"
    )]
    idle: Mutex<Vec<Box<TenantConnection>>>,
    idle_limit: usize,
    /// Whether the connection is open that every open tenant is sure of.
    has_first_connection: Arc<AtomicBool>,
    stock: Arc<Stock>,
    /// Filled once the file was found sound; only the first user of a cold tenant does the work, the others wait for it.
    pub(super) ready: OnceCell<()>,
    /// One permit: SQLite has one writer. Fair, so that waiting writers take their turn without occupying a thread.
    pub(super) writer: Arc<Semaphore>,
    storage_limit: Mutex<LatestLimit>,
    /// Writes that wait for the next group.
    pub(super) writes: WriteQueue,
    pub(super) counters: Arc<DatabaseCounters>,
    pub(super) durability: Arc<TenantDurability>,
    /// Leases held. Goes up only under the registry's lock.
    pub(super) leases: AtomicUsize,
    pub(super) last_used: Mutex<Instant>,
}

impl TenantDatabase {
    pub(super) fn new(
        account: Account,
        database: PathBuf,
        counters: Arc<DatabaseCounters>,
        idle_limit: usize,
        stock: Arc<Stock>,
        log: Option<Arc<NodeLog>>,
        now: Instant,
    ) -> Self {
        Self {
            uid: account.tenant,
            weight: AtomicU32::new(account.weight),
            wal: wal_path(&database),
            database,
            wal_pages: Arc::default(),
            checkpointing: AtomicBool::new(false),
            next_checkpoint_pages: AtomicU32::new(0),
            idle: Mutex::default(),
            idle_limit,
            has_first_connection: Arc::default(),
            stock,
            ready: OnceCell::new(),
            writer: Arc::new(Semaphore::new(1)),
            storage_limit: Mutex::default(),
            writes: WriteQueue::default(),
            durability: Arc::new(TenantDurability::new(account.tenant, log, Arc::clone(&counters))),
            counters,
            leases: AtomicUsize::new(0),
            last_used: Mutex::new(now),
        }
    }

    /// On whose account its jobs run.
    pub(super) fn account(&self) -> Account {
        Account {
            tenant: self.uid,
            weight: self.weight.load(Relaxed),
        }
    }

    /// Its tier may have changed.
    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight.max(1), Relaxed);
    }

    /// How long nobody has used it, divided by its weight: whoever comes first in this closes first.
    pub(super) fn weighed_idleness(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.last_used.lock()) / self.weight.load(Relaxed).max(1)
    }

    /// Puts the memory that SQLite takes on this thread on the tenant's account.
    pub(super) fn account_memory(&self) -> Entered {
        self.counters.memory().enter()
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Makes the folder, opens the first connection and measures the file. Blocks.
    pub(super) fn load(&self) -> Result<(), DatabaseError> {
        let _memory = self.account_memory();
        if let Some(folder) = self.database.parent() {
            std::fs::create_dir_all(folder).map_err(DatabaseError::Folder)?;
            if !self.database.exists() {
                sync_parent(folder).map_err(DatabaseError::Folder)?;
            }
        }
        let left_behind = self.sync_what_is_there().map_err(DatabaseError::Log)?;
        let connection = self.connect()?;
        if left_behind {
            // Then the log begins anew, and its first commit can go into the node's log.
            self.checkpoint(&connection);
        }
        self.measure_sizes(&connection);
        self.give_back(connection);
        Ok(())
    }

    /// An idle connection, or a new one. Blocks.
    pub(super) fn check_out(&self) -> Result<Box<TenantConnection>, DatabaseError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    /// Takes a clean connection back; closes it where enough are idle. Blocks.
    pub(super) fn give_back(&self, connection: Box<TenantConnection>) {
        let mut idle = self.idle.lock();
        if idle.is_empty() || (idle.len() < self.idle_limit && !connection.is_wanted_elsewhere()) {
            idle.push(connection);
        } else {
            drop(idle);
            drop(connection);
        }
    }

    /// Whether connections stand idle that a tenant without requests should not keep.
    pub(super) fn has_spare_connections(&self) -> bool {
        self.idle.lock().len() > 1
    }

    /// Closes all idle connections but one. Blocks.
    pub(super) fn close_spare_connections(&self) {
        let _memory = self.account_memory();
        let mut idle = self.idle.lock();
        let kept = idle.len().min(1);
        let spare = idle.split_off(kept);
        drop(idle);
        drop(spare);
    }

    /// Closes all idle connections. Blocks: the last one writes the log back.
    pub(super) fn close_connections(&self) {
        let _memory = self.account_memory();
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    pub(super) fn measure_sizes(&self, connection: &TenantConnection) {
        match connection.measure_sizes(&self.wal) {
            Ok(sizes) => self.counters.set_sizes(sizes),
            Err(error) => tracing::debug!(%error, "the sizes of a database could not be read"),
        }
    }

    /// What the log needs after the last commit.
    pub(super) fn checkpoint_due(&self) -> checkpoint::Due {
        let pages = self.wal_pages.load(Relaxed);
        if pages < self.next_checkpoint_pages.load(Relaxed) {
            return checkpoint::Due::Nothing;
        }
        checkpoint::due(pages)
    }

    /// Whether the caller is the one who has the log copied back in the background, and has to call [`Self::checkpoint_in_background`].
    pub(super) fn claims_background_checkpoint(&self) -> bool {
        self.checkpoint_due() != checkpoint::Due::Nothing && !self.checkpointing.swap(true, Relaxed)
    }

    /// Blocks.
    pub(super) fn checkpoint_in_background(&self) {
        let _memory = self.account_memory();
        match self.check_out() {
            Ok(connection) => {
                self.checkpoint(&connection);
                self.measure_sizes(&connection);
                self.give_back(connection);
            }
            Err(error) => tracing::debug!(%error, "no connection for a checkpoint; a later commit asks again"),
        }
        self.checkpointing.store(false, Relaxed);
    }

    /// Comes before each statement that writes, whose turn it is. Blocks.
    ///
    /// # Errors
    /// When the log is as long as it may be: readers keep it from beginning anew, or an open transaction writes on and on.
    pub(super) fn prepare_write(
        &self,
        connection: &TenantConnection,
        database_bytes: u64,
    ) -> Result<(), StatementError> {
        let limit_bytes = checkpoint::limit_bytes(database_bytes);
        let wal_bytes = match connection.sqlite().is_autocommit() {
            true => checkpoint::bytes(self.wal_pages.load(Relaxed)),
            false => std::fs::metadata(&self.wal).map_or(0, |file| file.len()),
        };
        if wal_bytes > limit_bytes {
            // The reader may be gone by now, and no commit will ask for it.
            self.next_checkpoint_pages.store(0, Relaxed);
            return Err(StatementError::LogFull { wal_bytes, limit_bytes });
        }
        let limit = self.storage_limit.lock().set(database_bytes);
        connection
            .limit_storage(limit)
            .map_err(|error| StatementError::from_sqlite(&error))
    }

    /// Comes after the commit of a transaction that wrote, before the next writer. Blocks.
    pub(super) fn after_commit(&self, connection: &TenantConnection) {
        if self.checkpoint_due() == checkpoint::Due::InTurn {
            self.checkpoint(connection);
        }
        if self.durability.takes_unmeasured() {
            self.measure_sizes(connection);
        }
    }

    /// Copies the log back as far as it goes. Blocks.
    pub(super) fn checkpoint(&self, connection: &TenantConnection) {
        let record = self.durability.visible_record();
        let next = match checkpoint::run(connection.sqlite()) {
            Ok(checkpoint::Reached::End) => {
                self.durability.copied_back(record);
                0
            }
            Ok(checkpoint::Reached::NotTheEnd) => self.wal_pages.load(Relaxed).saturating_add(checkpoint::RETRY_PAGES),
            Err(error) => {
                tracing::warn!(tenant = %self.uid, %error, "a write-ahead log could not be copied back");
                self.wal_pages.load(Relaxed).saturating_add(checkpoint::RETRY_PAGES)
            }
        };
        self.next_checkpoint_pages.store(next, Relaxed);
        if next == 0 {
            // The next writer begins the log anew, unless a reader is in it.
            self.wal_pages.store(0, Relaxed);
        }
    }

    /// A log that is there before its tenant is opened was left by a process that was killed. What it holds is about to be shown, so it is
    /// synced. Whether there is one.
    fn sync_what_is_there(&self) -> std::io::Result<bool> {
        let file = match std::fs::File::open(&self.wal) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() == 0 {
            return Ok(false);
        }
        file.sync_data().inspect_err(|error| {
            self.durability
                .disk_failed(&format!("cannot sync {}: {error}", self.wal.display()));
        })?;
        Ok(true)
    }

    fn connect(&self) -> Result<Box<TenantConnection>, DatabaseError> {
        let slot = ConnectionSlot::take(&self.has_first_connection, &self.stock).ok_or(DatabaseError::Overloaded {
            what: "file descriptor for another connection",
            retry_after: Duration::from_secs(1),
        })?;
        TenantConnection::open(
            &self.database,
            Arc::clone(&self.counters),
            Arc::clone(&self.wal_pages),
            Arc::<TenantDurability>::clone(&self.durability),
            slot,
        )
        .map(Box::new)
        .map_err(DatabaseError::opening)
    }
}

/// Makes sure that a new folder is found after a loss of power.
fn sync_parent(folder: &Path) -> std::io::Result<()> {
    folder
        .parent()
        .map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

impl Drop for TenantDatabase {
    fn drop(&mut self) {
        self.close_connections();
    }
}

#[cfg(test)]
#[path = "tenant_tests.rs"]
mod tests;
