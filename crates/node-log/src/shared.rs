//! What the appending threads, the log thread and the keeper share, and how each wakes the others.
//!
//! One mutex holds the queue and the ring. Nothing blocks while it is held, and no callback runs.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tenantry_types::TenantUid;

use crate::batch::Batch;
use crate::error::AppendError;
use crate::figures::{Counters, NodeLogFigures, add};
use crate::folder::{Folder, Spare};
use crate::lsn::Lsn;
use crate::queue::Queue;
use crate::record::Summed;
use crate::ring::Ring;
use crate::tenant_files::TenantFiles;
use crate::waiters::Waiters;

/// Called once with the reason when the disk failed a sync: nothing is acknowledged any more. Runs on the log's or the keeper's
/// thread.
pub type OnFailure = Box<dyn FnOnce(String) + Send>;

/// How long after a failed attempt to make a segment, or to open a WAL file, the next one is made at the earliest.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// What all threads of a log share.
pub(crate) struct Shared {
    pub(crate) folder: Folder,
    pub(crate) files: TenantFiles,
    pub(crate) waiters: Waiters,
    pub(crate) counters: Counters,
    queue_bytes: usize,
    pub(crate) state: Mutex<State>,
    on_failure: Mutex<Option<OnFailure>>,
    /// Appenders wait for room in the queue.
    room: Condvar,
    /// The log thread waits for batches.
    work: Condvar,
    /// The keeper waits for something to do.
    pub(crate) chores: Condvar,
    /// Blocking callers wait for durable records.
    settled: Condvar,
}

pub(crate) struct State {
    pub(crate) queue: Queue,
    pub(crate) ring: Ring,
    pub(crate) phase: Phase,
    /// Set while the log thread waits, so that nobody else pays for waking it.
    writer_sleeps: bool,
    pub(crate) blocked_appenders: usize,
    blocked_waiters: usize,
    /// The last attempt to make a segment found no room; an append from then on may ask for another.
    pub(crate) make_again_at: Option<Instant>,
    /// A WAL file could not be opened; from then on it may be tried again.
    pub(crate) sync_again_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// What is queued is still written.
    Stopping,
    Stopped,
    Failed,
}

impl Shared {
    pub(crate) fn new(
        folder: Folder,
        files: TenantFiles,
        on_failure: OnFailure,
        queue_bytes: usize,
        queue: Queue,
        ring: Ring,
    ) -> Self {
        Self {
            folder,
            files,
            waiters: Waiters::new(queue.last()),
            counters: Counters::default(),
            queue_bytes,
            state: Mutex::new(State {
                queue,
                ring,
                phase: Phase::Running,
                writer_sleeps: false,
                blocked_appenders: 0,
                blocked_waiters: 0,
                make_again_at: None,
                sync_again_at: None,
            }),
            on_failure: Mutex::new(Some(on_failure)),
            room: Condvar::new(),
            work: Condvar::new(),
            chores: Condvar::new(),
            settled: Condvar::new(),
        }
    }

    /// Queues a record.
    pub(crate) fn append(&self, record: &Summed<'_>) -> Result<Lsn, AppendError> {
        let mut guard = self.state.lock();
        loop {
            match guard.phase {
                Phase::Running => {}
                Phase::Stopping | Phase::Stopped => return Err(AppendError::Stopped),
                Phase::Failed => return Err(AppendError::Failed),
            }
            if guard.queue.waiting() < self.queue_bytes {
                break;
            }
            guard.blocked_appenders += 1;
            self.room.wait(&mut guard);
            guard.blocked_appenders -= 1;
        }
        let state = &mut *guard;
        let Some(lsn) = state.queue.push(record, &mut state.ring) else {
            add(&self.counters.refused, 1);
            if state.make_again_at.is_some_and(|at| Instant::now() >= at) {
                state.make_again_at = None;
                self.chores.notify_one();
            }
            return Err(AppendError::NoRoom);
        };
        let wakes = std::mem::take(&mut state.writer_sleeps);
        drop(guard);
        if wakes {
            self.work.notify_one();
        }
        Ok(lsn)
    }

    /// Waits for the next batch; `None` when there will be none.
    pub(crate) fn next_batch(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        loop {
            if state.phase == Phase::Failed {
                return None;
            }
            if let Some(batch) = state.queue.take() {
                return Some(batch);
            }
            if state.phase == Phase::Stopping {
                state.phase = Phase::Stopped;
                self.wake_everybody();
                return None;
            }
            state.writer_sleeps = true;
            self.work.wait(&mut state);
            state.writer_sleeps = false;
        }
    }

    /// The batch is on disk. False if the log failed meanwhile: then nothing more becomes durable.
    pub(crate) fn written(&self, batch: Batch) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.phase == Phase::Failed {
            return false;
        }
        self.waiters.advance(batch.last);
        let begins_segment = batch.begins.is_some();
        state.queue.done(batch);
        if self.settle(state) || begins_segment {
            self.chores.notify_one();
        }
        if state.blocked_appenders > 0 && state.queue.waiting() < self.queue_bytes {
            self.room.notify_all();
        }
        if state.blocked_waiters > 0 {
            self.settled.notify_all();
        }
        true
    }

    /// What the tenant wrote up to `up_to` is safe in files of its own.
    pub(crate) fn covered(&self, tenant: TenantUid, up_to: Lsn) {
        let mut guard = self.state.lock();
        guard.ring.covered(tenant, up_to);
        if self.settle(&mut guard) {
            self.chores.notify_one();
        }
    }

    /// Frees segments; true if there is something for the keeper.
    fn settle(&self, state: &mut State) -> bool {
        let before = state.ring.live();
        let freed = state.ring.settle(self.waiters.durable());
        add(&self.counters.segments_freed, (before - state.ring.live()) as u64);
        freed
    }

    /// Waits until the record is durable; false if it never will be.
    pub(crate) fn wait(&self, lsn: Lsn) -> bool {
        if lsn <= self.waiters.durable() {
            return true;
        }
        let mut state = self.state.lock();
        loop {
            if lsn <= self.waiters.durable() {
                return true;
            }
            if matches!(state.phase, Phase::Stopped | Phase::Failed) {
                return false;
            }
            state.blocked_waiters += 1;
            self.settled.wait(&mut state);
            state.blocked_waiters -= 1;
        }
    }

    /// The disk failed.
    pub(crate) fn fail(&self, reason: String) {
        {
            let mut state = self.state.lock();
            state.phase = Phase::Failed;
            self.wake_everybody();
        }
        let on_failure = self.on_failure.lock().take();
        if let Some(on_failure) = on_failure {
            tracing::error!(reason, "the node's log failed; nothing is acknowledged any more");
            on_failure(reason);
        }
    }

    /// No further record is taken; what is queued is written.
    pub(crate) fn begin_to_stop(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Running {
            state.phase = Phase::Stopping;
        }
        self.wake_everybody();
    }

    fn wake_everybody(&self) {
        self.room.notify_all();
        self.work.notify_all();
        self.chores.notify_all();
        self.settled.notify_all();
    }

    pub(crate) fn add_spares(&self, spares: impl IntoIterator<Item = Spare>) {
        self.state.lock().ring.add_spares(spares);
    }

    pub(crate) fn figures(&self) -> NodeLogFigures {
        let state = self.state.lock();
        NodeLogFigures {
            queued_bytes: state.queue.waiting(),
            live_segments: state.ring.live(),
            free_segments: state.ring.free(),
            unavailable: state.phase != Phase::Running || (state.make_again_at.is_some() && state.ring.is_out()),
            ..self.counters.totals()
        }
    }
}
