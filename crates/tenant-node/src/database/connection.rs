//! One SQLite connection of a tenant: opened with our settings, fenced against hostile SQL, returned to its first state.

use std::cell::Cell;
use std::ffi::CStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::access_policy::{Phase, Verdict, analyzes, decide};
use super::descriptors::ConnectionSlot;
use super::figures::{DatabaseCounters, FileSizes};
use super::functions::{self, ShouldStop};
use super::raw_sqlite::wal_vfs::{self, TELLS_CHECKPOINTS, WalKeeper};
use super::schedule::{give_way, time_away};
use super::session::Cancellation;
use super::storage_limit::{self, Applied, PAGE_BYTES, StorageLimit};

/// Between two looks at the clock a statement runs this many virtual-machine instructions: some tens of microseconds.
const INSTRUCTIONS_PER_CHECK: i32 = 1_000;

/// SQLite's file layer for databases that one process alone opens: connections find each other's locks in memory, where the ordinary one
/// makes two system calls for each transaction and keeps a file more open. Another process finds the database locked.
#[cfg(unix)]
const FILE_LAYER: &CStr = c"unix-excl";
#[cfg(not(unix))]
const FILE_LAYER: &CStr = c"win32";

/// Compiled statements kept per connection.
const STATEMENT_CACHE: usize = 64;

/// Page cache of one connection, in KiB. SQLite takes it as it is needed.
const CACHE_KIB: u32 = 2_048;

/// Longest wait for a lock inside SQLite. Writers wait outside of it, so this is for recovery and VACUUM.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A write-ahead log that was long once is cut back to this size when it begins anew.
pub(super) const KEPT_WAL_BYTES: u64 = 16 << 20;

const LOST_LIKE: &str = "out of memory: PRAGMA case_sensitive_like could not be carried out to its end";

const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, 32 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 4 << 20),
    (Limit::SQLITE_LIMIT_COLUMN, 1_000),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 250),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 200),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
    // VACUUM attaches a database of its own; tenants' ATTACH is refused by the authorizer.
    (Limit::SQLITE_LIMIT_ATTACHED, 1),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 32),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Why a statement was stopped from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    QueryTime,
    Cancelled,
}

/// What the callbacks inside SQLite look at. Shared with them; used by one thread at a moment.
struct Fence {
    started: Instant,
    phase: Mutex<Phase>,
    /// Nanoseconds after `started`, of the time that the job has a place among the running ones; zero for none.
    deadline: AtomicU64,
    cancellation: Mutex<Option<Cancellation>>,
    stopped: Mutex<Option<Stopped>>,
    refusal: Mutex<Option<String>>,
    tainted: AtomicBool,
    /// Milliseconds, as SQLite was told last.
    busy_timeout: AtomicU64,
    saw_pragma: AtomicBool,
    saw_analysis: AtomicBool,
    /// Whether LIKE may have become SQLite's own again.
    saw_like_pragma: AtomicBool,
    /// Whether it has, and could not be changed back: nothing may run until it is.
    lost_like: AtomicBool,
}

impl Fence {
    fn authorize(&self, context: AuthContext<'_>) -> Authorization {
        if let AuthAction::Pragma { pragma_name, .. } = context.action {
            self.saw_pragma.store(true, Relaxed);
            if pragma_name.eq_ignore_ascii_case("case_sensitive_like") {
                self.saw_like_pragma.store(true, Relaxed);
            }
        }
        if analyzes(&context.action) {
            self.saw_analysis.store(true, Relaxed);
        }
        let phase = *self.phase.lock();
        let verdict = if self.lost_like.load(Relaxed) && phase != Phase::Internal {
            Verdict::Deny(LOST_LIKE.to_owned())
        } else {
            decide(&context.action, phase)
        };
        match verdict {
            Verdict::Allow => Authorization::Allow,
            Verdict::AllowAndTaint => {
                self.tainted.store(true, Relaxed);
                Authorization::Allow
            }
            Verdict::Deny(words) => {
                *self.refusal.lock() = Some(words);
                Authorization::Deny
            }
        }
    }

    /// Whether the running statement has to stop. Lets others run first where they are due.
    fn should_stop(&self) -> bool {
        give_way(Instant::now());
        if self
            .cancellation
            .lock()
            .as_ref()
            .is_some_and(Cancellation::is_cancelled)
        {
            *self.stopped.lock() = Some(Stopped::Cancelled);
            return true;
        }
        let deadline = self.deadline.load(Relaxed);
        let over = deadline != 0 && self.running_time() >= Duration::from_nanos(deadline);
        if over {
            *self.stopped.lock() = Some(Stopped::QueryTime);
        }
        over
    }

    /// Time since the connection was opened, without what this job has waited for others.
    fn running_time(&self) -> Duration {
        self.started.elapsed().saturating_sub(time_away())
    }
}

/// An open connection of one tenant. Every method blocks: for database threads only.
pub(super) struct TenantConnection {
    sqlite: Connection,
    fence: Arc<Fence>,
    should_stop: ShouldStop,
    counters: Arc<DatabaseCounters>,
    /// The limit of the database's size that holds.
    storage_limit: Cell<Option<StorageLimit>>,
    /// Last, so that it goes when the files are closed.
    slot: ConnectionSlot,
}

impl TenantConnection {
    /// Opens the database file, making it where it does not exist.
    ///
    /// `wal_pages` is told how long the write-ahead log is after each commit; `keeper` makes commits durable.
    pub(super) fn open(
        path: &Path,
        counters: Arc<DatabaseCounters>,
        wal_pages: Arc<AtomicU32>,
        keeper: Arc<dyn WalKeeper>,
        slot: ConnectionSlot,
    ) -> rusqlite::Result<Self> {
        let hooked = Arc::clone(&keeper);
        wal_vfs::opening(keeper, || Self::open_kept(path, counters, wal_pages, hooked, slot))
    }

    fn open_kept(
        path: &Path,
        counters: Arc<DatabaseCounters>,
        wal_pages: Arc<AtomicU32>,
        keeper: Arc<dyn WalKeeper>,
        slot: ConnectionSlot,
    ) -> rusqlite::Result<Self> {
        // Without SQLITE_OPEN_URI a file name is never read as options.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let layer = wal_vfs::name(FILE_LAYER).ok_or_else(|| missing_layer(FILE_LAYER))?;
        let mut sqlite = Connection::open_with_flags_and_vfs(path, flags, layer)?;
        sqlite.busy_timeout(BUSY_TIMEOUT)?;
        sqlite.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        // Both count for a new file only; on any other, auto_vacuum would wait for the writer.
        if sqlite.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))? == 0 {
            sqlite.execute_batch(&format!(
                "PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL"
            ))?;
        }
        sqlite.execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {TELLS_CHECKPOINTS}; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; \
             PRAGMA foreign_keys=ON; PRAGMA cache_size=-{CACHE_KIB}; PRAGMA cell_size_check=ON; \
             PRAGMA journal_size_limit={KEPT_WAL_BYTES}"
        ))?;
        // Reads the header and the schema, so that a damaged file is found here.
        sqlite.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        for (limit, value) in LIMITS {
            sqlite.set_limit(*limit, *value)?;
        }
        let fence = Arc::new(Fence {
            started: Instant::now(),
            phase: Mutex::new(Phase::Internal),
            deadline: AtomicU64::new(0),
            cancellation: Mutex::new(None),
            stopped: Mutex::new(None),
            refusal: Mutex::new(None),
            tainted: AtomicBool::new(false),
            busy_timeout: AtomicU64::new(millis(BUSY_TIMEOUT)),
            saw_pragma: AtomicBool::new(false),
            saw_analysis: AtomicBool::new(false),
            saw_like_pragma: AtomicBool::new(false),
            lost_like: AtomicBool::new(false),
        });
        let authorizing = Arc::clone(&fence);
        sqlite.authorizer(Some(move |context: AuthContext<'_>| authorizing.authorize(context)))?;
        let watching = Arc::clone(&fence);
        sqlite.progress_handler(INSTRUCTIONS_PER_CHECK, Some(move || watching.should_stop()))?;
        let pausing = Arc::clone(&fence);
        let should_stop: ShouldStop = Arc::new(move || pausing.should_stop());
        functions::install(&sqlite, &should_stop)?;
        // Takes the place of SQLite's automatic checkpoint, which would hold up the commit that happens to cause it.
        sqlite.wal_hook(Some(move |_wal: &mut rusqlite::hooks::Wal, pages| {
            wal_pages.store(u32::try_from(pages).unwrap_or(0), Relaxed);
            keeper.visible();
            Ok(())
        }))?;
        counters.connection_opened();
        Ok(Self {
            sqlite,
            fence,
            should_stop,
            counters,
            storage_limit: Cell::new(None),
            slot,
        })
    }

    pub(super) fn sqlite(&self) -> &Connection {
        &self.sqlite
    }

    /// Runs a statement of the node's own.
    pub(super) fn run_internal(&self, sql: &str) -> rusqlite::Result<()> {
        self.enter(Phase::Internal);
        self.sqlite.prepare_cached(sql)?.raw_execute().map(|_| ())
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.fence.phase.lock() = phase;
    }

    /// Arms the fence for one statement of the tenant.
    pub(super) fn begin_statement(&self, query_time: Duration, cancellation: &Cancellation) {
        if self.fence.lost_like.load(Relaxed) {
            self.put_like_back();
        }
        let deadline = self.fence.running_time().saturating_add(query_time);
        self.fence
            .deadline
            .store(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        *self.fence.cancellation.lock() = Some(cancellation.clone());
        let busy_timeout = query_time.min(BUSY_TIMEOUT);
        // It seldom changes, and setting it is a call into SQLite for each statement.
        if self.fence.busy_timeout.swap(millis(busy_timeout), Relaxed) != millis(busy_timeout)
            && let Err(error) = self.sqlite.busy_timeout(busy_timeout)
        {
            tracing::warn!(%error, "the busy timeout of a connection could not be set");
        }
        *self.fence.stopped.lock() = None;
        *self.fence.refusal.lock() = None;
        self.fence.saw_pragma.store(false, Relaxed);
        self.fence.saw_analysis.store(false, Relaxed);
        self.enter(Phase::Preparing);
    }

    /// Disarms the fence: what follows is the node's own SQL.
    pub(super) fn end_statement(&self) {
        self.enter(Phase::Internal);
        self.fence.deadline.store(0, Relaxed);
        *self.fence.cancellation.lock() = None;
        if self.fence.saw_like_pragma.swap(false, Relaxed) {
            self.put_like_back();
        }
    }

    /// SQLite's own LIKE asks nobody whether it may go on.
    fn put_like_back(&self) {
        let outcome = functions::reinstall_like(&self.sqlite, &self.should_stop);
        if let Err(error) = &outcome {
            tracing::debug!(%error, "LIKE could not be put back on a connection, which runs nothing until it is");
        }
        self.fence.lost_like.store(outcome.is_err(), Relaxed);
    }

    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.fence.stopped.lock().take()
    }

    pub(super) fn refusal(&self) -> Option<String> {
        self.fence.refusal.lock().take()
    }

    /// Whether the statement that was compiled last is a pragma. SQLite carries some of them out while compiling, so they
    /// must not come from the statement cache.
    pub(super) fn saw_pragma(&self) -> bool {
        self.fence.saw_pragma.load(Relaxed)
    }

    /// Whether the statement that was compiled last gathers statistics, which is a write whatever SQLite calls it.
    pub(super) fn saw_analysis(&self) -> bool {
        self.fence.saw_analysis.load(Relaxed)
    }

    /// Whether compiled statements may be kept. A pragma of the connection can decide how SQLite compiles, and change by itself at the
    /// end of a transaction without telling what was compiled before (`defer_foreign_keys`).
    pub(super) fn keeps_statements(&self) -> bool {
        !self.fence.tainted.load(Relaxed)
    }

    /// Whether the next user could not tell it from a new connection.
    pub(super) fn is_clean(&self) -> bool {
        self.sqlite.is_autocommit() && !self.fence.tainted.load(Relaxed)
    }

    /// Whether its file descriptors are scarce.
    pub(super) fn is_wanted_elsewhere(&self) -> bool {
        self.slot.is_wanted_elsewhere()
    }

    /// Lets the database grow no further than that. Comes before each statement that writes.
    pub(super) fn limit_storage(&self, limit: StorageLimit) -> rusqlite::Result<()> {
        if self.storage_limit.get() != Some(limit) {
            let applied = storage_limit::apply(&self.sqlite, limit)?;
            // Inside a transaction the size was that of its snapshot, or one that can be rolled back.
            let holds = applied == Applied::AsAsked && self.sqlite.is_autocommit();
            self.storage_limit.set(holds.then_some(limit));
        }
        Ok(())
    }

    /// Undoes what is open. Returns whether the connection may serve another stream.
    pub(super) fn reset(&mut self) -> bool {
        self.end_statement();
        if !self.sqlite.is_autocommit()
            && let Err(error) = self.sqlite.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a rollback failed; the connection is thrown away");
            return false;
        }
        self.is_clean()
    }

    /// Sizes as this connection sees them, inside its own transaction too.
    pub(super) fn measure_sizes(&self, wal: &Path) -> rusqlite::Result<FileSizes> {
        let number = |sql: &str| -> rusqlite::Result<u64> {
            let value: i64 = self.sqlite.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(u64::try_from(value).unwrap_or(0))
        };
        Ok(FileSizes {
            database_bytes: number("PRAGMA page_count")? * PAGE_BYTES,
            free_bytes: number("PRAGMA freelist_count")? * PAGE_BYTES,
            wal_bytes: std::fs::metadata(wal).map_or(0, |file| file.len()),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn missing_layer(layer: &CStr) -> rusqlite::Error {
    let message = format!("SQLite has no file layer {}", layer.to_string_lossy());
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR), Some(message))
}

impl Drop for TenantConnection {
    fn drop(&mut self) {
        self.counters.connection_closed();
    }
}
