//! How the commits of one tenant become durable: by a record in the node's log where it takes them, else by a sync of the tenant's own
//! write-ahead log. Either way nobody is answered before: [`TenantDurability::settled`].
//!
//! SQLite lets others see a commit before the node's log is synced, so a read may show what is not durable yet. Its answer waits like that
//! of the write.

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
const LARGEST_RECORD_BYTES: u64 = 1 << 20;

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
    /// Whether a commit left the sizes to be measured.
    unmeasured: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    salts: [u8; 8],
    end: u64,
}

impl TenantDurability {
    pub(super) fn new(tenant: TenantUid, log: Option<Arc<NodeLog>>, counters: Arc<DatabaseCounters>) -> Self {
        Self {
            tenant,
            log,
            counters,
            position: Mutex::new(None),
            last_record: AtomicU64::new(0),
            unmeasured: AtomicBool::new(false),
        }
    }

    /// The tenant's last record in the node's log.
    pub(super) fn last_record(&self) -> Lsn {
        Lsn::new(self.last_record.load(SeqCst))
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
        let record = self.last_record();
        (record > log.durable()).then_some((log, record))
    }

    /// The commit as a record, if it can be one.
    fn record(&self, commit: &Commit<'_>) -> Option<CommitRecord> {
        let known = (*self.position.lock()).filter(|position| position.salts == commit.header.salts);
        let begin = match known {
            // What a transaction that failed has left behind is written over.
            Some(position) => position.end.min(commit.first_written),
            // The log has begun anew with this commit.
            None if commit.first_written == HEADER_BYTES => HEADER_BYTES,
            None => return None,
        };
        let follows = known.is_none_or(|position| commit.first_written <= position.end);
        let bytes = commit.end.checked_sub(begin)?;
        if !follows || bytes > LARGEST_RECORD_BYTES {
            return None;
        }
        let mut frames = vec![0; usize::try_from(bytes).ok()?];
        commit.read(begin, &mut frames).then_some(CommitRecord {
            tenant: self.tenant,
            salts: commit.header.salts,
            offset: begin,
            frames,
        })
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
        let appended = self.log.as_ref().and_then(|log| {
            let record = self.record(commit)?;
            self.note_sizes(commit, &record.frames);
            Some(log.append(record))
        });
        match appended {
            Some(Ok(lsn)) => {
                *self.position.lock() = Some(Position {
                    salts: commit.header.salts,
                    end: commit.end,
                });
                self.last_record.store(lsn.get(), SeqCst);
                Kept::ByKeeper
            }
            Some(Err(AppendError::Failed)) => Kept::Failed,
            Some(Err(AppendError::NoRoom | AppendError::Stopped)) | None => {
                self.unmeasured.store(true, SeqCst);
                about_to_block();
                Kept::NotKept
            }
        }
    }

    fn synced(&self, header: &WalHeader, end: u64) {
        *self.position.lock() = Some(Position {
            salts: header.salts,
            end,
        });
        self.copied_back(self.last_record());
    }
}
