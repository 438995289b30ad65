//! The registry of open databases: opens on first use, closes the idle ones, never more than a cap.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::Notify;

use super::figures::{DatabaseCounters, DatabaseFigures};
use super::tenant::{TenantDatabase, database_path, wal_path};
use super::threads::DatabaseThreads;
use super::{DatabaseError, DatabasesConfig, StartError};

/// The oldest SQLite without known ways to corrupt a write-ahead log, as `sqlite3_libversion_number` counts.
const REQUIRED_SQLITE: i32 = 3_051_003;
const REQUIRED_SQLITE_TEXT: &str = "3.51.3";

/// All databases of this node. Cheap to clone.
#[derive(Clone)]
pub struct Databases {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    config: DatabasesConfig,
    pub(super) threads: DatabaseThreads,
    open: Mutex<Open>,
    /// Kept for as long as the process lives, so that totals never go back.
    counters: Mutex<HashMap<TenantUid, Arc<DatabaseCounters>>>,
    released: Notify,
}

#[derive(Default)]
struct Open {
    tenants: HashMap<TenantUid, Arc<TenantDatabase>>,
    stopping: bool,
}

/// Keeps one tenant's database open.
pub struct TenantLease {
    tenant: Arc<TenantDatabase>,
    shared: Arc<Shared>,
}

impl Databases {
    /// Checks the SQLite library, makes the data folder and starts the database threads.
    ///
    /// # Errors
    /// When the node cannot start like this; the message says what to change.
    pub fn open(config: DatabasesConfig) -> Result<Self, StartError> {
        check_sqlite(rusqlite::version_number(), rusqlite::version())?;
        std::fs::create_dir_all(config.data_dir.join("tenants")).map_err(|source| StartError::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        rusqlite::Connection::open_in_memory()
            .and_then(|connection| {
                connection.pragma_update_and_check(
                    None,
                    "hard_heap_limit",
                    config.sqlite_heap_bytes.to_string(),
                    |_| Ok(()),
                )
            })
            .map_err(StartError::Settings)?;
        let threads = DatabaseThreads::start(config.threads, config.queued_jobs)?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                threads,
                open: Mutex::default(),
                counters: Mutex::default(),
                released: Notify::new(),
            }),
        })
    }

    /// Opens the tenant's database where it is not open yet, and keeps it open while the lease lives.
    ///
    /// # Errors
    /// When it is damaged or cannot be opened, when too many databases are in use, or when the node is stopping.
    pub async fn lease(&self, uid: TenantUid) -> Result<TenantLease, DatabaseError> {
        let lease = self.shared.enter(uid)?;
        let tenant = Arc::clone(lease.tenant());
        let load = || async {
            let loading = Arc::clone(&tenant);
            self.shared.threads.run(move || loading.load()).await?
        };
        tenant.ready.get_or_try_init(load).await?;
        Ok(lease)
    }

    /// What the tenant's database uses; `None` for a tenant that has none here. Of one that was never opened since the
    /// start, the file sizes only.
    #[must_use]
    pub fn figures(&self, uid: TenantUid) -> Option<DatabaseFigures> {
        let counters = self.shared.counters.lock().get(&uid).cloned();
        if let Some(counters) = counters {
            return Some(counters.figures());
        }
        let database = database_path(&self.shared.config.data_dir, uid);
        let database_bytes = std::fs::metadata(&database).ok()?.len();
        Some(DatabaseFigures {
            database_bytes,
            wal_bytes: std::fs::metadata(wal_path(&database)).map_or(0, |file| file.len()),
            ..DatabaseFigures::default()
        })
    }

    /// The tenants whose databases are open.
    #[must_use]
    pub fn open_tenants(&self) -> Vec<TenantUid> {
        self.shared.open.lock().tenants.keys().copied().collect()
    }

    /// Closes databases that nobody has used for the configured time. Returns how many.
    pub fn close_idle(&self, now: Instant) -> usize {
        let mut open = self.shared.open.lock();
        let idle: Vec<TenantUid> = open
            .tenants
            .iter()
            .filter(|(_, tenant)| {
                tenant.leases.load(SeqCst) == 0
                    && now.saturating_duration_since(*tenant.last_used.lock()) >= self.shared.config.idle_close
            })
            .map(|(uid, _)| *uid)
            .collect();
        for uid in &idle {
            self.shared.close(open.tenants.remove(uid));
        }
        idle.len()
    }

    /// Where this registry takes the time from.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.config.clock.now()
    }

    /// Runs other blocking or long work on a database thread.
    ///
    /// # Errors
    /// When the queue is full or the node is stopping.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.shared.threads.run(work).await
    }

    /// Takes no new leases, waits until those given out have ended, closes all databases and ends the threads. Close the
    /// streams first: they hold leases. Has no deadline of its own.
    pub async fn close_all(&self) {
        self.shared.open.lock().stopping = true;
        loop {
            let released = self.shared.released.notified();
            tokio::pin!(released);
            // Registered before looking, so that no release is missed.
            released.as_mut().enable();
            if !self.shared.is_leased() {
                break;
            }
            released.await;
        }
        let shared = Arc::clone(&self.shared);
        let stopped = tokio::task::spawn_blocking(move || {
            let tenants = std::mem::take(&mut shared.open.lock().tenants);
            drop(tenants);
            shared.threads.stop();
        });
        if stopped.await.is_err() {
            tracing::error!("closing the databases panicked");
        }
    }
}

fn check_sqlite(number: i32, text: &'static str) -> Result<(), StartError> {
    if number < REQUIRED_SQLITE {
        return Err(StartError::OutdatedSqlite {
            found: text,
            required: REQUIRED_SQLITE_TEXT,
        });
    }
    Ok(())
}

impl Shared {
    fn enter(self: &Arc<Self>, uid: TenantUid) -> Result<TenantLease, DatabaseError> {
        let mut open = self.open.lock();
        if open.stopping {
            return Err(DatabaseError::Stopping);
        }
        let tenant = match open.tenants.get(&uid) {
            Some(tenant) => Arc::clone(tenant),
            None => {
                if open.tenants.len() >= self.config.max_open {
                    let longest_unused = open
                        .tenants
                        .iter()
                        .filter(|(_, tenant)| tenant.leases.load(SeqCst) == 0)
                        .min_by_key(|(_, tenant)| *tenant.last_used.lock())
                        .map(|(uid, _)| *uid)
                        .ok_or(DatabaseError::Overloaded {
                            what: "place for another open database",
                            retry_after: Duration::from_secs(1),
                        })?;
                    self.close(open.tenants.remove(&longest_unused));
                }
                let tenant = Arc::new(TenantDatabase::new(
                    database_path(&self.config.data_dir, uid),
                    Arc::clone(self.counters.lock().entry(uid).or_default()),
                    self.config.idle_connections_per_tenant,
                    self.config.threads_per_tenant,
                    self.config.clock.now(),
                ));
                open.tenants.insert(uid, Arc::clone(&tenant));
                tenant
            }
        };
        tenant.leases.fetch_add(1, SeqCst);
        Ok(TenantLease {
            tenant,
            shared: Arc::clone(self),
        })
    }

    /// Closes the connections of a tenant that nobody uses, on a database thread: SQLite then writes the log back.
    fn close(&self, tenant: Option<Arc<TenantDatabase>>) {
        self.threads.clean_up(move || drop(tenant));
    }

    fn is_leased(&self) -> bool {
        self.open
            .lock()
            .tenants
            .values()
            .any(|tenant| tenant.leases.load(SeqCst) > 0)
    }
}

impl TenantLease {
    pub(super) const fn tenant(&self) -> &Arc<TenantDatabase> {
        &self.tenant
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Clone for TenantLease {
    fn clone(&self) -> Self {
        // The lease that is cloned keeps the tenant from closing meanwhile.
        self.tenant.leases.fetch_add(1, Relaxed);
        Self {
            tenant: Arc::clone(&self.tenant),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for TenantLease {
    fn drop(&mut self) {
        *self.tenant.last_used.lock() = self.shared.config.clock.now();
        if self.tenant.leases.fetch_sub(1, SeqCst) == 1 {
            self.shared.released.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused_with_both_versions() {
        let error = check_sqlite(3_051_002, "3.51.2").unwrap_err().to_string();
        assert!(error.contains("3.51.2") && error.contains("3.51.3"), "{error}");
        check_sqlite(rusqlite::version_number(), rusqlite::version()).unwrap();
    }
}
