//! A simulated disk: what was written, what of it would survive a power cut, and what goes wrong.
//!
//! It decides nothing: each fault, each write that survives a crash, and each damage is drawn by the caller. It keeps
//! no time either; a slow disk is a decider that takes its time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::StoreError;
use super::super::log_layout::{Changes, Tree, Visit};
use super::damage::{Damage, harm};
use super::fault::{DiskFault, DiskOperation, UnsyncedWrite};
use crate::mutants::{Mutant, mutated};

/// What a full disk keeps back, in bytes: as sled's store, this one is refused before the disk is really full.
pub(super) const RESERVE_BYTES: u64 = 64 * 1024;

/// A simulated disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    platters: Arc<Mutex<Platters>>,
    decider: Arc<Mutex<Decider>>,
}

pub(super) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
pub(super) struct Platters {
    /// What reading shows.
    cached: Values,
    /// What survives any crash.
    durable: Values,
    /// Writes since then, oldest first; synced ones wait here behind one that is not.
    waiting: VecDeque<Write>,
    mark: u64,
    durable_mark: u64,
    free_bytes: Option<u64>,
    syncs: u64,
}

#[derive(Debug)]
struct Write {
    changes: Changes,
    state: WriteState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteState {
    Synced,
    Unsynced(UnsyncedWrite),
}

enum Decider {
    Always(DiskFault),
    Ask(Box<dyn FnMut(DiskOperation) -> DiskFault + Send>),
}

impl Default for Decider {
    fn default() -> Self {
        Self::Always(DiskFault::None)
    }
}

impl fmt::Debug for Decider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(fault) => fault.fmt(out),
            Self::Ask(_) => out.write_str("Ask"),
        }
    }
}

impl MemoryDisk {
    /// Sets how the disk behaves from now on.
    pub fn set_fault(&self, fault: DiskFault) {
        *lock(&self.decider) = Decider::Always(fault);
    }

    /// Asks before each operation what becomes of it. The answer may take its time, as a slow disk does.
    pub fn set_decider(&self, decide: impl FnMut(DiskOperation) -> DiskFault + Send + 'static) {
        *lock(&self.decider) = Decider::Ask(Box::new(decide));
    }

    /// Says how much room is left; what is written from now on uses it up. `None`: plenty.
    ///
    /// Below a reserve of 64 KiB the disk counts as full.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        lock(&self.platters).free_bytes = free;
    }

    /// Cuts the power: everything that was not synced is lost. The store on it must be dropped or reopened.
    pub fn crash(&self) {
        self.crash_keeping(|_| false);
    }

    /// Cuts the power. `survives` is asked, oldest first, for each write that was not synced. A write survives whole
    /// or not at all.
    pub fn crash_keeping(&self, mut survives: impl FnMut(UnsyncedWrite) -> bool) {
        let mut platters = lock(&self.platters);
        let mut cut = false;
        for write in std::mem::take(&mut platters.waiting) {
            let kept = match write.state {
                WriteState::Synced => true,
                WriteState::Unsynced(UnsyncedWrite::Doubtful) => survives(UnsyncedWrite::Doubtful),
                WriteState::Unsynced(UnsyncedWrite::Dirty) => {
                    cut = cut || !survives(UnsyncedWrite::Dirty);
                    !cut
                }
            };
            if kept {
                put(&mut platters.durable, write.changes);
            }
        }
        platters.cached = platters.durable.clone();
        platters.mark = platters.durable_mark;
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        lock(&self.platters).cached.len()
    }

    /// Damages a record at rest. `false`: there is none, or it reads as before.
    pub fn damage(&self, damage: Damage) -> bool {
        let mut platters = lock(&self.platters);
        let before = platters.cached.clone();
        harm(&mut platters.cached, damage);
        if platters.cached == before {
            return false;
        }
        // What is damaged is damaged for good.
        platters.waiting.clear();
        platters.durable = platters.cached.clone();
        true
    }

    /// How many batches of entries, compactions and installed snapshots were synced; opening does not count.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        lock(&self.platters).syncs
    }

    /// How many writes a crash could still take back.
    #[must_use]
    pub fn unsynced_writes(&self) -> usize {
        let platters = lock(&self.platters);
        let unsynced = |write: &&Write| write.state != WriteState::Synced;
        platters.waiting.iter().filter(unsynced).count()
    }

    pub(super) fn begin(&self, operation: DiskOperation) -> DiskFault {
        match &mut *lock(&self.decider) {
            Decider::Always(fault) => *fault,
            Decider::Ask(decide) => decide(operation),
        }
    }

    pub(super) fn platters(&self) -> MutexGuard<'_, Platters> {
        lock(&self.platters)
    }

    /// Writes a batch and syncs it.
    pub(super) fn write(&self, doing: &'static str, changes: Changes, mark: u64) -> Result<(), StoreError> {
        let bytes = changes.bytes();
        let fault = self.begin(DiskOperation::Write { bytes });
        let mut platters = self.platters();
        platters.refuse(doing, fault, bytes)?;
        put(&mut platters.cached, changes.clone());
        let dirty = WriteState::Unsynced(UnsyncedWrite::Dirty);
        platters.waiting.push_back(Write { changes, state: dirty });
        platters.sync(doing, fault, mark)
    }

    /// Writes everything that can be read to a fresh place and syncs it; then nothing is in doubt any more.
    pub(super) fn rewrite(&self, doing: &'static str) -> Result<(), StoreError> {
        let bytes = self.platters().size_bytes();
        let fault = self.begin(DiskOperation::Rewrite { bytes });
        let mut platters = self.platters();
        platters.refuse(doing, fault, 0)?;
        match fault {
            DiskFault::SyncFails => return Err(failed(doing, "sync failed")),
            DiskFault::SyncLies => {}
            _ => {
                if !platters.waiting.is_empty() {
                    platters.waiting.clear();
                    platters.durable = platters.cached.clone();
                }
                platters.durable_mark = platters.mark;
            }
        }
        if fault == DiskFault::AnswerLost {
            return Err(failed(doing, "the answer was lost"));
        }
        Ok(())
    }
}

impl Platters {
    /// The sequence of the last write that was answered as durable.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    pub(super) fn count_sync(&mut self) {
        self.syncs += 1;
    }

    pub(super) fn size_bytes(&self) -> u64 {
        let sizes = self.cached.iter().map(|(key, value)| key.len() + value.len());
        sizes.sum::<usize>() as u64
    }

    fn refuse(&mut self, doing: &'static str, fault: DiskFault, bytes: u64) -> Result<(), StoreError> {
        let full = self
            .free_bytes
            .is_some_and(|free| free < RESERVE_BYTES.saturating_add(bytes));
        if full || fault == DiskFault::Full {
            let source = io::ErrorKind::StorageFull.into();
            return Err(StoreError::Io { doing, source });
        }
        if fault == DiskFault::WriteFails {
            return Err(failed(doing, "write failed"));
        }
        self.free_bytes = self.free_bytes.map(|free| free - bytes);
        Ok(())
    }

    fn sync(&mut self, doing: &'static str, fault: DiskFault, mark: u64) -> Result<(), StoreError> {
        let dirty = WriteState::Unsynced(UnsyncedWrite::Dirty);
        match fault {
            DiskFault::SyncFails => {
                self.turn(dirty, WriteState::Unsynced(UnsyncedWrite::Doubtful));
                return Err(failed(doing, "sync failed"));
            }
            DiskFault::SyncLies => {}
            _ if mutated(Mutant::AcknowledgedBeforeFlush) => {}
            _ => {
                self.turn(dirty, WriteState::Synced);
                while let Some(write) = self.waiting.pop_front_if(|write| write.state == WriteState::Synced) {
                    put(&mut self.durable, write.changes);
                }
            }
        }
        if fault == DiskFault::AnswerLost {
            return Err(failed(doing, "the answer was lost"));
        }
        self.mark = mark;
        Ok(())
    }

    fn turn(&mut self, from: WriteState, into: WriteState) {
        for write in self.waiting.iter_mut().filter(|write| write.state == from) {
            write.state = into;
        }
    }
}

impl Tree for Platters {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.cached.get(key).cloned())
    }

    fn for_each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.cached.iter().try_for_each(|(key, value)| visit(key, value))
    }
}

fn put(values: &mut Values, changes: Changes) {
    for (key, value) in changes.0 {
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
    }
}

fn failed(doing: &'static str, what: &'static str) -> StoreError {
    StoreError::Io {
        doing,
        source: io::Error::other(what),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
