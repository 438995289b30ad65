//! How the commits of one tenant become durable: by a record in the node's log where it takes them, else by a sync of the tenant's own
//! write-ahead log. Either way nobody is answered before: [`TenantDurability::settled`].
//!
//! SQLite lets others see a commit before the node's log is synced, so a read may show what is not durable yet. Its answer waits like that
//! of the write.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use node_log::{AppendError, CommitRecord, Lsn, NeverDurable, NodeLog};
use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::oneshot;

use super::connection::KEPT_WAL_BYTES;
use super::figures::{CommittedSizes, DatabaseCounters};
use super::raw_sqlite::wal_vfs::{Commit, Kept, WalKeeper};
use super::schedule::{about_to_block, while_waiting};
use super::wal_format::{DatabaseSizes, HEADER_BYTES, WalHeader};

/// A longer commit is cheaper to sync where it is than to write twice.
const LARGEST_RECORD_BYTES: u64 = 256 << 10;

/// What all connections of an open tenant share.
pub(super) struct TenantDurability {
    tenant: TenantUid,
    log: Option<Arc<NodeLog>>,
    counters: Arc<DatabaseCounters>,
    /// Up to where the tenant's own log is durable, or will be with the last record; `None` while that is not known. Changed by whoever has
    /// the tenant's turn to write.
    position: Mutex<Option<Position>>,
    /// The tenant's last record in the node's log. Set before anybody can see what it holds.
    last_record: AtomicU64,
    /// As [`Self::last_record`], once everybody can see it: what a checkpoint that begins now can have copied.
    visible_record: AtomicU64,
    commits: AtomicU64,
    /// Whether a commit left the sizes to be measured.
    unmeasured: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    salts: [u8; 8],
    /// Up to where it is durable.
    end: u64,
    /// Up to where a record in the node's log reaches, if one does.
    logged_end: u64,
}

/// What is to be logged of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// All of it, from there on.
    Whole {
        begin: u64,
    },
    /// The same, in the place of what was logged before: it has to be logged.
    WholeReplacement {
        begin: u64,
    },
    /// As much as takes the place of what was logged before; the tenant's own log is synced for the rest.
    Replacement {
        begin: u64,
        end: u64,
    },
}

impl TenantDurability {
    pub(super) fn new(tenant: TenantUid, log: Option<Arc<NodeLog>>, counters: Arc<DatabaseCounters>) -> Self {
        Self {
            tenant,
            log,
            counters,
            position: Mutex::new(None),
            last_record: AtomicU64::new(0),
            visible_record: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            unmeasured: AtomicBool::new(false),
        }
    }

    /// The last record whose commit everybody can see.
    pub(super) fn visible_record(&self) -> Lsn {
        Lsn::new(self.visible_record.load(SeqCst))
    }

    /// A file of the tenant could not be synced. What was written to it may be gone, and no later sync will tell.
    pub(super) fn disk_failed(&self, reason: &str) {
        if let Some(log) = &self.log {
            log.fail(reason);
        }
    }

    /// Returns when everything is durable that anybody could have seen before the call.
    pub(super) async fn settled(&self) {
        let Some((log, record)) = self.unsettled() else { return };
        let (durable, told) = oneshot::channel();
        log.when_durable(
            record,
            Box::new(move || {
                // Whoever has left needs no answer.
                let _ = durable.send(());
            }),
        );
        if told.await.is_err() {
            // The log has failed, which ends the process; nothing is acknowledged on the way.
            std::future::pending().await
        }
    }

    /// As [`Self::settled`], for a database thread. Blocks.
    ///
    /// # Errors
    /// When it never will be.
    pub(super) fn settle(&self) -> Result<(), NeverDurable> {
        match self.unsettled() {
            Some((log, record)) => while_waiting(|| log.wait(record)),
            None => Ok(()),
        }
    }

    /// Runs `then` when everything is durable that was committed before the call: at once, or on the thread of the log.
    pub(super) fn when_settled(&self, then: impl FnOnce() + Send + 'static) {
        match self.unsettled() {
            Some((log, record)) => log.when_durable(record, Box::new(then)),
            None => then(),
        }
    }

    /// All records up to this one are in files that were synced since.
    pub(super) fn copied_back(&self, up_to: Lsn) {
        if let Some(log) = &self.log
            && up_to > Lsn::default()
        {
            log.covered(self.tenant, up_to);
        }
    }

    /// Whether the last commit left the sizes to be measured. The answer is given once.
    pub(super) fn takes_unmeasured(&self) -> bool {
        self.unmeasured.swap(false, SeqCst)
    }

    fn unsettled(&self) -> Option<(&Arc<NodeLog>, Lsn)> {
        let log = self.log.as_ref()?;
        let record = Lsn::new(self.last_record.load(SeqCst));
        (record > log.durable()).then_some((log, record))
    }

    /// What is to be logged of a commit.
    fn plan(&self, commit: &Commit<'_>) -> Plan {
        let known = (*self.position.lock()).filter(|position| position.salts == commit.header.salts);
        let (durable_end, logged_end) = match known {
            Some(position) => (position.end, position.logged_end),
            // The tenant's log has begun anew with this commit.
            None if commit.first_written == HEADER_BYTES => (HEADER_BYTES, HEADER_BYTES),
            None => return Plan::Nothing,
        };
        if commit.first_written > durable_end {
            return Plan::Nothing;
        }
        let begin = commit.first_written;
        let is_small = commit.end.saturating_sub(begin) <= LARGEST_RECORD_BYTES;
        // If so, SQLite gave a commit up after it was logged. At a loss of power its record would be written over this one.
        let replaces = begin < logged_end;
        match (is_small, replaces) {
            (true, false) => Plan::Whole { begin },
            (true, true) => Plan::WholeReplacement { begin },
            (false, false) => Plan::Nothing,
            (false, true) => Plan::Replacement {
                begin,
                end: logged_end.min(commit.end),
            },
        }
    }

    fn record(&self, commit: &Commit<'_>, begin: u64, end: u64) -> Option<CommitRecord> {
        Some(CommitRecord {
            tenant: self.tenant,
            salts: commit.header.salts,
            offset: begin,
            frames: commit.frames(begin, end)?,
        })
    }

    fn append(&self, record: CommitRecord) -> Result<(), AppendError> {
        let log = self.log.as_ref().ok_or(AppendError::NoRoom)?;
        let lsn = log.append(record)?;
        self.last_record.store(lsn.get(), SeqCst);
        Ok(())
    }

    fn log_whole(&self, commit: &Commit<'_>, begin: u64) -> Result<(), AppendError> {
        let record = self.record(commit, begin, commit.end).ok_or(AppendError::NoRoom)?;
        self.note_sizes(commit, &record.frames);
        self.append(record)?;
        *self.position.lock() = Some(Position {
            salts: commit.header.salts,
            end: commit.end,
            logged_end: commit.end,
        });
        Ok(())
    }

    /// Lets the tenant's own log be synced.
    fn leave(&self) -> Kept {
        self.unmeasured.store(true, SeqCst);
        about_to_block();
        Kept::Nowhere
    }

    fn note_sizes(&self, commit: &Commit<'_>, frames: &[u8]) {
        match DatabaseSizes::of_commit(frames, &commit.header) {
            Some(sizes) => {
                let page_bytes = u64::from(commit.header.page_bytes);
                let known_wal_bytes = match commit.first_written {
                    HEADER_BYTES => self.counters.wal_bytes().min(KEPT_WAL_BYTES),
                    _ => self.counters.wal_bytes(),
                };
                self.counters.committed(CommittedSizes {
                    database_bytes: u64::from(sizes.pages) * page_bytes,
                    wal_bytes: known_wal_bytes.max(commit.end),
                    free_bytes: sizes.free_pages.map(|pages| u64::from(pages) * page_bytes),
                });
            }
            None => self.unmeasured.store(true, SeqCst),
        }
    }
}

/// Lets an answer wait, piece by piece, until what it shows is durable.
#[derive(Clone, Default)]
pub struct Settlement(Option<Arc<TenantDurability>>);

impl Settlement {
    pub(super) const fn of(durability: Arc<TenantDurability>) -> Self {
        Self(Some(durability))
    }

    /// Returns when everything is durable that the tenant's database could have shown before the call. For database threads: blocks.
    ///
    /// # Errors
    /// When it never will be: the disk has failed.
    pub fn wait(&self) -> Result<(), NeverDurable> {
        self.0.as_ref().map_or(Ok(()), |durability| durability.settle())
    }
}

impl WalKeeper for TenantDurability {
    fn committing(&self, commit: &Commit<'_>) -> Kept {
        self.commits.fetch_add(1, SeqCst);
        match self.plan(commit) {
            Plan::Nothing => self.leave(),
            Plan::Whole { begin } => match self.log_whole(commit, begin) {
                Ok(()) => Kept::ByKeeper,
                Err(AppendError::NoRoom | AppendError::Stopped) => self.leave(),
                Err(AppendError::Failed) => Kept::Failed,
            },
            Plan::WholeReplacement { begin } => self.log_whole(commit, begin).map_or(Kept::Failed, |()| Kept::ByKeeper),
            Plan::Replacement { begin, end } => {
                let record = self.record(commit, begin, end).ok_or(AppendError::NoRoom);
                match record.and_then(|record| self.append(record)) {
                    Ok(()) => self.leave(),
                    Err(_) => Kept::Failed,
                }
            }
        }
    }

    fn synced(&self, header: &WalHeader, end: u64) {
        self.commits.fetch_add(1, SeqCst);
        let mut position = self.position.lock();
        let known = position.filter(|position| position.salts == header.salts);
        *position = Some(Position {
            salts: header.salts,
            end,
            logged_end: known.map_or(HEADER_BYTES, |position| position.logged_end),
        });
    }

    fn visible(&self) {
        self.visible_record.store(self.last_record.load(SeqCst), SeqCst);
    }

    fn commits(&self) -> u64 {
        self.commits.load(SeqCst)
    }

    fn sync_failed(&self, code: c_int) {
        self.disk_failed(&format!(
            "the write-ahead log of tenant {} cannot be synced (SQLite's code {code})",
            self.tenant
        ));
    }
}
