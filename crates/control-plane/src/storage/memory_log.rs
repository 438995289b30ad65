//! A log store on a simulated disk: it can fill up, fail, and lose what was not synced. For tests and simulation.
//!
//! The disk outlives the store, as a real one does; it is shared so that a test can break it while a member uses it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log_store::{check_append, check_compact};
use super::{AppendBatch, HardState, Identity, LoadedLog, LogPosition, LogStore, MembersAt, StoreError};
use crate::mutants::{Mutant, mutated};

/// What the disk does to the next writes, until told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskFault {
    /// Works.
    #[default]
    None,
    /// Full: refuses without writing anything.
    Full,
    /// Writes, then reports an error instead of a sync: the data may or may not survive.
    SyncFails,
    /// Reports success, but keeps nothing across a crash. What a store must never build on.
    SyncLies,
}

/// A simulated disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Platters>>);

#[derive(Debug, Default)]
struct Platters {
    owner: Option<Identity>,
    cached: LoadedLog,
    durable: LoadedLog,
    fault: DiskFault,
    syncs: u64,
}

impl MemoryDisk {
    /// Sets how the disk behaves from now on.
    pub fn set_fault(&self, fault: DiskFault) {
        self.lock().fault = fault;
    }

    /// Loses everything that was not synced, as a power cut does.
    pub fn crash(&self) {
        let mut platters = self.lock();
        platters.cached = platters.durable.clone();
    }

    /// How many writes were synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn lock(&self) -> MutexGuard<'_, Platters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`LogStore`] on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryLogStore {
    disk: MemoryDisk,
    failed: bool,
}

impl MemoryLogStore {
    /// Opens the log of `identity` on `disk`.
    ///
    /// # Errors
    /// When the disk belongs to another member.
    pub fn open(disk: MemoryDisk, identity: Identity) -> Result<Self, StoreError> {
        {
            let mut platters = disk.lock();
            let owner = *platters.owner.get_or_insert(identity);
            identity.check("the disk", owner.to_text().as_bytes())?;
        }
        Ok(Self { disk, failed: false })
    }

    fn write(
        &mut self,
        doing: &'static str,
        check: impl FnOnce(&LoadedLog) -> Result<(), StoreError>,
        change: impl FnOnce(&mut LoadedLog),
    ) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::NeedsReopen);
        }
        let mut platters = self.disk.lock();
        check(&platters.cached)?;
        let fault = platters.fault;
        if fault == DiskFault::Full {
            self.failed = true;
            let source = io::ErrorKind::StorageFull.into();
            return Err(StoreError::Io { doing, source });
        }
        change(&mut platters.cached);
        match fault {
            DiskFault::SyncFails => {
                self.failed = true;
                let source = io::Error::other("sync failed");
                return Err(StoreError::Io { doing, source });
            }
            DiskFault::SyncLies => {}
            DiskFault::None | DiskFault::Full if mutated(Mutant::AcknowledgedBeforeFlush) => {}
            DiskFault::None | DiskFault::Full => platters.durable = platters.cached.clone(),
        }
        platters.syncs += 1;
        Ok(())
    }
}

impl LogStore for MemoryLogStore {
    fn load(&mut self) -> Result<LoadedLog, StoreError> {
        if self.failed {
            return Err(StoreError::NeedsReopen);
        }
        let mut log = self.disk.lock().cached.clone();
        if mutated(Mutant::LastEntryLost) {
            log.entries.pop();
        }
        Ok(log)
    }

    fn append(&mut self, batch: &AppendBatch) -> Result<(), StoreError> {
        self.write(
            "append to the log",
            |log| check_append(&batch.entries, log.compacted.index, log.last().index),
            |log| {
                if let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) {
                    let (first, last) = (first.position.index, last.position.index);
                    let stale = if mutated(Mutant::StoreKeepsStaleTail) {
                        log.entries
                            .iter()
                            .filter(|entry| entry.position.index > last)
                            .cloned()
                            .collect()
                    } else {
                        Vec::new()
                    };
                    log.entries.retain(|entry| entry.position.index < first);
                    log.entries.extend(batch.entries.iter().cloned().chain(stale));
                }
                if !(batch.entries.is_empty() && mutated(Mutant::VoteNotWritten)) {
                    log.hard_state = batch.hard_state.unwrap_or(log.hard_state);
                }
                if let Some(members) = &batch.members {
                    log.members = members.clone();
                }
            },
        )
    }

    fn compact(
        &mut self,
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        self.write(
            "compact the log",
            |log| check_compact(snapshot, through, log.last().index),
            |log| {
                log.snapshot = snapshot;
                log.hard_state = hard_state;
                if through.index > log.compacted.index {
                    let more = u64::from(mutated(Mutant::CompactsOneTooMany));
                    log.compacted = through;
                    log.entries.retain(|entry| entry.position.index > through.index + more);
                }
            },
        )
    }

    fn install_snapshot(
        &mut self,
        snapshot: LogPosition,
        members: &MembersAt,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        self.write(
            "install a snapshot",
            |_| Ok(()),
            |log| {
                let old = std::mem::take(&mut log.entries);
                *log = LoadedLog {
                    hard_state,
                    members: members.clone(),
                    snapshot,
                    compacted: snapshot,
                    entries: if mutated(Mutant::InstallKeepsOldLog) {
                        old
                    } else {
                        Vec::new()
                    },
                };
            },
        )
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let mut platters = self.disk.lock();
        if platters.fault == DiskFault::Full {
            let source = io::ErrorKind::StorageFull.into();
            return Err(StoreError::Io {
                doing: "open the log",
                source,
            });
        }
        // What is read from here on is acted upon: it must survive the next crash, though its sync failed.
        platters.durable = platters.cached.clone();
        drop(platters);
        self.failed = false;
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> u64 {
        let log = &self.disk.lock().cached;
        log.entries
            .iter()
            .map(|entry| u64::try_from(entry.data.len() + entry.context.len()).unwrap_or(0) + 17)
            .sum()
    }
}
