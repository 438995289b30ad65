//! Where the registry keeps ledgers: on disk, or wherever a simulation of disks wants them.
//!
//! A store is asked for one tenant's ledger at a time. It must not decide anything: what a record means is `engine`'s.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tenantry_types::TenantUid;
use tokio::sync::Semaphore;

use super::ledger::{LedgerFiles, LedgerRecord, ReadLedgerError, WriteLedgerError};

/// Ledgers that are read or written at the same time. The kernel commits neighbours together.
const AT_A_TIME: usize = 16;

/// A read or a write that is under way. It goes on when nobody waits for it any more.
pub type LedgerFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Keeps one record for each tenant.
pub trait LedgerStore: Send + Sync + 'static {
    /// The record of that tenant; `None` when it never had one.
    fn read(&self, tenant: TenantUid) -> LedgerFuture<Result<Option<LedgerRecord>, ReadLedgerError>>;

    /// Replaces the record of its tenant. Whatever happens after this succeeded, that record is read next, and until then
    /// it or the one before.
    fn write(&self, record: LedgerRecord) -> LedgerFuture<Result<(), WriteLedgerError>>;
}

/// The files of [`LedgerFiles`], on blocking threads, some at a time; the others wait their turn.
#[derive(Debug)]
pub(super) struct LedgersOnDisk {
    files: LedgerFiles,
    turns: Arc<Semaphore>,
}

impl LedgersOnDisk {
    pub(super) fn new(files: LedgerFiles) -> Self {
        Self {
            files,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    fn in_turn<T: Send + 'static, E: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
        unable: impl FnOnce(PathBuf, io::Error) -> E + Send + 'static,
    ) -> LedgerFuture<Result<T, E>> {
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            // Nobody closes it, and without a turn the disk only has more to do.
            let turn = turns.acquire_owned().await.ok();
            // The turn ends with the work, not when the task that waits for it comes to hear of that: it may be behind many others.
            let work = move || {
                let _turn = turn;
                work()
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(outcome) => outcome,
                Err(no_thread) => Err(unable(path, io::Error::other(no_thread))),
            }
        })
    }
}

impl LedgerStore for LedgersOnDisk {
    fn read(&self, tenant: TenantUid) -> LedgerFuture<Result<Option<LedgerRecord>, ReadLedgerError>> {
        let files = self.files.clone();
        let unable = |path, source| ReadLedgerError::Io { path, source };
        self.in_turn(self.files.path(tenant), move || files.read(tenant), unable)
    }

    fn write(&self, record: LedgerRecord) -> LedgerFuture<Result<(), WriteLedgerError>> {
        let files = self.files.clone();
        let unable = |path, source| WriteLedgerError { path, source };
        self.in_turn(self.files.path(record.tenant), move || files.write(&record), unable)
    }
}
