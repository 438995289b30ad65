//! The log as its users see it.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};

use parking_lot::Mutex;
use tenantry_types::TenantUid;

use crate::config::NodeLogConfig;
use crate::disk::{Disk, MachineDisk};
use crate::error::{AppendError, NeverDurable, OpenError};
use crate::figures::NodeLogFigures;
use crate::folder::{Folder, Made};
use crate::lsn::Lsn;
use crate::queue::Queue;
use crate::record::{CommitRecord, Summed};
use crate::recovery::{self, Recovery};
use crate::ring::Ring;
use crate::shared::{OnFailure, Shared};
use crate::tenant_files::{DatabasePath, TenantFiles};
use crate::{keeper, writer};

/// The log of a node. Dropping it stops it.
pub struct NodeLog {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    thread_ids: Vec<ThreadId>,
    /// Held until this is stopped: nobody else uses the folder.
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl NodeLog {
    /// Reads what is there, writes back the frames that WAL files lack, syncs these, and starts the log's two threads. Blocks; no
    /// database may be opened before it returns.
    ///
    /// `on_failure` is called once, with the reason, when the disk failed a sync. From then on nothing becomes durable and nobody
    /// who waits is answered.
    ///
    /// A tenant whose WAL file does not hold what was acknowledged is in [`Recovery::broken`], and has a mark by then that
    /// [`Quarantine::of`](crate::Quarantine::of) finds.
    ///
    /// # Errors
    /// [`OpenError`]: nothing that was acknowledged is left out silently.
    pub fn open(
        config: NodeLogConfig,
        database_path: DatabasePath,
        on_failure: OnFailure,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(MachineDisk), config, database_path, on_failure)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        config: NodeLogConfig,
        database_path: DatabasePath,
        on_failure: OnFailure,
    ) -> Result<(Self, Recovery), OpenError> {
        config.check()?;
        let most = config.most_segments();
        let path = config.folder;
        disk.make_folder(&path).map_err(io_error("make the folder", &path))?;
        let lock_path = path.join("lock");
        let lock = disk
            .lock(&lock_path)
            .map_err(io_error("lock", &lock_path))?
            .ok_or_else(|| OpenError::InUse(path.clone()))?;
        let files = TenantFiles::new(database_path);
        let folder = Folder::new(disk, path.clone(), config.segment_bytes, config.keep_free_bytes);
        let recovered = recovery::recover(&folder, &files)?;

        // From here on the old segments are not needed.
        let listing = folder.list().map_err(io_error("list", &path))?;
        let mut spares = folder
            .free(&listing.segments)
            .and_then(|_| folder.list())
            .and_then(|listing| folder.take_over(&listing, most))
            .map_err(io_error("free the segments in", &path))?;
        let mut next_fresh = listing.fresh.last().copied().unwrap_or(0);
        if spares.is_empty() {
            next_fresh += 1;
            match folder.make(next_fresh).map_err(io_error("make a segment in", &path))? {
                Made::Spare(spare) => spares.push(spare),
                Made::NoRoom(reason) => tracing::warn!(reason, "there is no room for a segment of the node's log"),
            }
        }
        let ring = Ring::new(most, spares, recovered.next_segment, next_fresh);
        let queue = Queue::new(config.segment_bytes, recovered.next_lsn);
        let shared = Arc::new(Shared::new(folder, files, on_failure, config.queue_bytes, queue, ring));
        let mut log = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            thread_ids: Vec::new(),
            lock: Mutex::new(Some(lock)),
        };
        for (name, run) in [
            ("node-log", writer::run as fn(&Arc<Shared>)),
            ("node-log-keeper", keeper::run),
        ] {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || run(&shared))
                .map_err(io_error("start a thread for", &path))?;
            log.thread_ids.push(thread.thread().id());
            log.threads.get_mut().push(thread);
        }
        Ok((log, recovered.report))
    }

    /// Queues a record and says its number. Costs one copy of the frames. Blocks while more bytes wait than the configuration
    /// allows.
    ///
    /// # Errors
    /// [`AppendError`] says whether the caller may sync the tenant's WAL file instead.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the frames have no further use for the caller"
    )]
    pub fn append(&self, record: CommitRecord) -> Result<Lsn, AppendError> {
        // Summed up here, by the thread of the caller and outside of the lock: the log thread is one for all tenants.
        let summed = Summed::new(&record).ok_or(AppendError::NoRoom)?;
        self.shared.append(&summed)
    }

    /// The last record that is on disk, with all before it. One atomic load.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.shared.waiters.durable()
    }

    /// Runs `then` once the record is durable: on the log's thread, or at once on the caller's if it is already. It must be cheap
    /// and must not block or panic, since all tenants' commits wait for it. Callbacks run in the order of their records. If the
    /// record never becomes durable, `then` is never run; it is dropped with the log.
    pub fn when_durable(&self, lsn: Lsn, then: Box<dyn FnOnce() + Send>) {
        self.shared.waiters.add(lsn, then);
    }

    /// The caller could not sync a file whose frames are in this log: what the system dropped then, a later sync does not tell. Acts as
    /// if the log's own disk had failed.
    pub fn fail(&self, reason: &str) {
        self.shared.fail(reason.to_owned());
    }

    /// Blocks until the record is durable. Not to be called from a callback of [`Self::when_durable`].
    ///
    /// # Errors
    /// [`NeverDurable`] when the log failed, or was stopped and had no such record.
    pub fn wait(&self, lsn: Lsn) -> Result<(), NeverDurable> {
        if self.shared.wait(lsn) {
            Ok(())
        } else {
            Err(NeverDurable(lsn))
        }
    }

    /// Says that all of the tenant's records up to `up_to` are in files that were synced, by a checkpoint or a sync of its WAL file:
    /// the log needs to keep none of them.
    pub fn covered(&self, tenant: TenantUid, up_to: Lsn) {
        self.shared.covered(tenant, up_to);
    }

    /// What the log tells about itself.
    #[must_use]
    pub fn figures(&self) -> NodeLogFigures {
        self.shared.figures()
    }

    /// Takes no further record, writes what is queued, syncs it, runs the callbacks that are due and ends the threads. May be called
    /// again. From a callback it does not wait.
    pub fn stop(&self) {
        self.shared.begin_to_stop();
        // A callback may drop the last handle: a thread does not wait for itself.
        if self.thread_ids.contains(&thread::current().id()) {
            return;
        }
        let mut threads = self.threads.lock();
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the node's log panicked");
            }
        }
        drop(threads);
        let lock = self.lock.lock().take();
        drop(lock);
    }
}

impl Drop for NodeLog {
    fn drop(&mut self) {
        self.stop();
    }
}

/// For `map_err`.
pub(crate) fn io_error(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = PathBuf::from(path);
    move |source| OpenError::Io { doing, path, source }
}
