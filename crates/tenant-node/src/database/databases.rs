//! The registry of open databases: opens on first use, closes the idle ones, never more than a cap.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use node_log::{NodeLog, NodeLogConfig, NodeLogFigures};
use parking_lot::Mutex;
use tenantry_layers::TenantMap;
use tenantry_types::TenantUid;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::descriptors::{Stock, divide};
use super::figures::{DatabaseCounters, DatabaseFigures};
use super::memory::NodeMemory;
use super::quarantine::Quarantines;
use super::schedule::{Account, DatabaseThreads, ThreadsConfig};
use super::tenant::{TenantDatabase, database_path, tenants_path, wal_path};
use super::{DatabaseError, DatabasesConfig, StartError, raw_sqlite};

/// The oldest SQLite without known ways to corrupt a write-ahead log, as `sqlite3_libversion_number` counts.
const REQUIRED_SQLITE: i32 = 3_051_003;
const REQUIRED_SQLITE_TEXT: &str = "3.51.3";

/// Files of the node's log, or more where they would become larger than they may be.
const LOG_SEGMENTS: u64 = 16;
const LARGEST_LOG_SEGMENT: u64 = 1 << 30;
/// What their size has to be a multiple of.
const LOG_PAGE: u64 = 4096;

/// After so long a job makes room for one that is due before it.
const SLICE: Duration = Duration::from_micros(250);
/// A job that has run for this long counts as a long one.
const LONG_AFTER: Duration = Duration::from_millis(10);
/// Results that may wait for their tasks on each core. Fewer give a tenant with few connections a larger share beside one with many; of
/// 2, 4, 8, 16 and 32, this gave the largest without costing throughput.
const UNDELIVERED_PER_CORE: usize = 2;
/// Jobs of one tenant that may wait for slow clients, beside those that run.
const AWAY_PER_TENANT: usize = 24;

/// All databases of this node. Cheap to clone.
#[derive(Clone)]
pub struct Databases {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    config: DatabasesConfig,
    pub(super) threads: DatabaseThreads,
    /// Tenants that may be open at once.
    most_open: usize,
    stock: Arc<Stock>,
    log: Arc<NodeLog>,
    quarantines: Arc<Quarantines>,
    open: Mutex<Open>,
    /// Kept for as long as the process lives, so that totals never go back.
    counters: Arc<TenantMap<DatabaseCounters>>,
    memory: Arc<NodeMemory>,
    released: Notify,
    /// Writes that wait for their turn on behalf of a group. Each holds a lease.
    pub(super) tasks: TaskTracker,
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
        if !raw_sqlite::count_memory() {
            // Another connection of this process was faster, as can happen among tests.
            tracing::error!("SQLite's memory is not counted: tenants' memory limits are not kept");
        }
        std::fs::create_dir_all(tenants_path(&config.data_dir)).map_err(|source| StartError::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        // So that the folder is found after a loss of power.
        std::fs::File::open(&config.data_dir)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| StartError::DataDir {
                path: config.data_dir.clone(),
                source,
            })?;
        let memory = NodeMemory::new(config.sqlite_heap_bytes);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let counters = Arc::<TenantMap<DatabaseCounters>>::default();
        let (charged, charged_memory) = (Arc::clone(&counters), Arc::clone(&memory));
        let charge = move |tenant: TenantUid, time: Duration| {
            // A thread that has to stand back may hold a shard's lock for long: for reading, which holds up no other thread.
            charged
                .get_or_insert_with(tenant, || DatabaseCounters::new(Arc::clone(&charged_memory)))
                .add_cpu(time);
        };
        let threads_config = ThreadsConfig {
            places: config.running_jobs,
            eager_places: cores,
            long_places: config.long_running_jobs,
            begun_per_tenant: config.jobs_per_tenant,
            away_per_tenant: AWAY_PER_TENANT,
            most_undelivered: UNDELIVERED_PER_CORE * cores,
            most_threads: config.begun_jobs,
            waiting: config.queued_jobs,
            patience: config.patience,
            slice: SLICE,
            long_after: LONG_AFTER,
        };
        let threads = DatabaseThreads::start(threads_config, Box::new(charge))?;
        let log = open_log(&config)?;
        // Behind the log, which makes marks.
        let quarantines = Quarantines::find(&config.data_dir).map_err(|source| StartError::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        let division = divide(config.descriptors, config.max_open);
        if division.open_tenants < config.max_open {
            tracing::warn!(
                wished = config.max_open,
                possible = division.open_tenants,
                descriptors = config.descriptors,
                "too few file descriptors for as many open tenants: raise the limit of open files, or lower max-open-tenants"
            );
        }
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                threads,
                most_open: division.open_tenants,
                stock: Stock::new(division.further_connections),
                log: Arc::new(log),
                quarantines: Arc::new(quarantines),
                open: Mutex::default(),
                counters,
                memory,
                released: Notify::new(),
                tasks: TaskTracker::new(),
            }),
        })
    }

    /// Opens the tenant's database where it is not open yet, and keeps it open while the lease lives. `weight` is its share of the
    /// node beside others.
    ///
    /// # Errors
    /// When it is damaged, in quarantine or cannot be opened, when too many databases are in use, or when the node is stopping.
    pub async fn lease(&self, uid: TenantUid, weight: u32) -> Result<TenantLease, DatabaseError> {
        let lease = self.shared.enter(Account { tenant: uid, weight })?;
        if lease.tenant().ready.get().is_none() {
            Box::pin(self.load(uid, lease.tenant())).await?;
        }
        Ok(lease)
    }

    /// Only the first one does it, the others wait for it.
    async fn load(&self, uid: TenantUid, tenant: &Arc<TenantDatabase>) -> Result<(), DatabaseError> {
        let load = || async {
            let (loading, quarantines) = (Arc::clone(tenant), Arc::clone(&self.shared.quarantines));
            let load = move || {
                quarantines.check(uid)?;
                loading.load()
            };
            self.shared.threads.run(tenant.account(), load).await?
        };
        tenant.ready.get_or_try_init(load).await?;
        Ok(())
    }

    /// What the tenant's database uses; `None` for a tenant that has none here. Of one that was never opened since the
    /// start, the file sizes, and what was done for it all the same.
    #[must_use]
    pub fn figures(&self, uid: TenantUid) -> Option<DatabaseFigures> {
        let counted = self.shared.counters.get(uid).map(|counters| counters.figures());
        if let Some(figures) = counted.filter(|figures| figures.database_bytes > 0) {
            return Some(figures);
        }
        let database = database_path(&self.shared.config.data_dir, uid);
        let Ok(file) = std::fs::metadata(&database) else {
            return counted;
        };
        Some(DatabaseFigures {
            database_bytes: file.len(),
            wal_bytes: std::fs::metadata(wal_path(&database)).map_or(0, |file| file.len()),
            ..counted.unwrap_or_default()
        })
    }

    /// CPU time on database threads for the tenant since the start, in microseconds.
    #[must_use]
    pub fn cpu_micros(&self, uid: TenantUid) -> u64 {
        self.shared
            .counters
            .get(uid)
            .map_or(0, |counters| counters.cpu_micros())
    }

    /// What the node's log has done so far.
    #[must_use]
    pub fn log_figures(&self) -> NodeLogFigures {
        self.shared.log.figures()
    }

    /// How many tenants are in quarantine: their databases are not opened until an operator has decided. Blocks.
    #[must_use]
    pub fn quarantined_tenants(&self) -> usize {
        self.shared.quarantines.count()
    }

    /// The tenants whose databases are open.
    #[must_use]
    pub fn open_tenants(&self) -> Vec<TenantUid> {
        self.shared.open.lock().tenants.keys().copied().collect()
    }

    /// Closes databases that nobody has used for the configured time, and more where SQLite's memory becomes short. Refuses jobs that
    /// have waited too long to begin. To be called about twice a second. Returns how many were closed.
    pub fn close_idle(&self, now: Instant) -> usize {
        self.shared.threads.refuse_late(Instant::now());
        let mut open = self.shared.open.lock();
        self.shared.close_spare_connections(&open, now);
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
        idle.len() + self.shared.close_for_memory(&mut open, now)
    }

    /// Where this registry takes the time from.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.config.clock.now()
    }

    /// Runs other blocking or long work of a tenant on a database thread.
    ///
    /// # Errors
    /// When the queue is full or the node is stopping.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        uid: TenantUid,
        weight: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.shared.threads.run(Account { tenant: uid, weight }, work).await
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
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let shared = Arc::clone(&self.shared);
        let stopped = tokio::task::spawn_blocking(move || {
            let tenants = std::mem::take(&mut shared.open.lock().tenants);
            drop(tenants);
            shared.threads.stop();
            shared.log.stop();
        });
        if stopped.await.is_err() {
            tracing::error!("closing the databases panicked");
        }
    }
}

/// Opens the log that all tenants share, after it has completed their own logs with what a loss of power took from these.
fn open_log(config: &DatabasesConfig) -> Result<NodeLog, StartError> {
    let data_dir = config.data_dir.clone();
    let segment_bytes = (config.log_bytes / LOG_SEGMENTS).min(LARGEST_LOG_SEGMENT);
    let settings = NodeLogConfig {
        segment_bytes: segment_bytes - segment_bytes % LOG_PAGE,
        most_bytes: config.log_bytes,
        ..NodeLogConfig::new(config.data_dir.join("log"))
    };
    let database_path = move |tenant| database_path(&data_dir, tenant);
    let on_failure = config.on_log_failure;
    let (log, recovery) =
        NodeLog::open(settings, Arc::new(database_path), Box::new(on_failure)).map_err(StartError::Log)?;
    if recovery.records > 0 {
        tracing::info!(
            ?recovery,
            "the node's log was read: its last process was not asked to stop"
        );
    }
    Ok(log)
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
    fn enter(self: &Arc<Self>, account: Account) -> Result<TenantLease, DatabaseError> {
        let uid = account.tenant;
        let mut open = self.open.lock();
        if open.stopping {
            return Err(DatabaseError::Stopping);
        }
        let tenant = match open.tenants.get(&uid) {
            Some(tenant) => {
                tenant.set_weight(account.weight);
                Arc::clone(tenant)
            }
            None => {
                if open.tenants.len() >= self.most_open
                    && !self.close_longest_unused(&mut open, self.config.clock.now())
                {
                    return Err(DatabaseError::Overloaded {
                        what: "place for another open database",
                        retry_after: Duration::from_secs(1),
                    });
                }
                let counters = self
                    .counters
                    .get_or_insert_with(uid, || DatabaseCounters::new(Arc::clone(&self.memory)));
                let tenant = Arc::new(TenantDatabase::new(
                    account,
                    database_path(&self.config.data_dir, uid),
                    counters,
                    self.config.jobs_per_tenant,
                    Arc::clone(&self.stock),
                    Some(Arc::clone(&self.log)),
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

    /// Leaves one connection to tenants that nobody has used for a moment.
    fn close_spare_connections(&self, open: &Open, now: Instant) {
        for tenant in open.tenants.values() {
            let idle = tenant.leases.load(SeqCst) == 0
                && now.saturating_duration_since(*tenant.last_used.lock()) >= self.config.spare_connections_close;
            if idle && tenant.has_spare_connections() {
                let tenant = Arc::clone(tenant);
                self.threads
                    .clean_up(tenant.account(), move || tenant.close_spare_connections());
            }
        }
    }

    /// Closes the tenant, of those that nobody uses, that was not used for longest for its weight. Whether there was one.
    fn close_longest_unused(&self, open: &mut Open, now: Instant) -> bool {
        let longest_unused = open
            .tenants
            .iter()
            .filter(|(_, tenant)| tenant.leases.load(SeqCst) == 0)
            .max_by_key(|(_, tenant)| tenant.weighed_idleness(now))
            .map(|(uid, _)| *uid);
        let closed = longest_unused.and_then(|uid| open.tenants.remove(&uid));
        let found = closed.is_some();
        self.close(closed);
        found
    }

    /// Closes tenants that nobody uses while all together hold more memory than three quarters of what SQLite may have.
    fn close_for_memory(&self, open: &mut Open, now: Instant) -> usize {
        let held = |tenant: &Arc<TenantDatabase>| tenant.counters.memory().held_bytes();
        let mut total: u64 = open.tenants.values().map(held).sum();
        let mut closed = 0;
        while total > self.config.sqlite_heap_bytes / 4 * 3 && self.close_longest_unused(open, now) {
            closed += 1;
            total = open.tenants.values().map(held).sum();
        }
        closed
    }

    /// Closes the connections of a tenant that nobody uses, on a database thread: SQLite then writes the log back.
    fn close(&self, tenant: Option<Arc<TenantDatabase>>) {
        if let Some(tenant) = tenant {
            self.threads.clean_up(tenant.account(), move || drop(tenant));
        }
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
