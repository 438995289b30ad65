//! A log store on a simulated disk, laid out as the one on sled. For tests and simulation.
//!
//! The disk outlives the store, as a real one does; it is shared so that a test can break it while a member uses it.

mod damage;
mod disk;
mod fault;
#[cfg(test)]
mod tests;

pub use damage::Damage;
pub use disk::MemoryDisk;
pub use fault::{DiskFault, DiskOperation, UnsyncedWrite};

use std::io;

use super::log_layout::{Layout, Plan};
use super::{AppendBatch, HardState, Identity, LoadedLog, LogPosition, LogStore, MembersAt, StoreError};

const OPENING: &str = "open the log";

/// A [`LogStore`] on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryLogStore {
    disk: MemoryDisk,
    identity: Identity,
    /// `None` after a failure.
    layout: Option<Layout>,
}

impl MemoryLogStore {
    /// Opens the log of `identity` on `disk`, or begins one on an empty disk. What can be read is made durable first:
    /// an earlier process may have ended before its last write was synced.
    ///
    /// # Errors
    /// `Foreign` when the disk belongs to another member, `Damaged` when a record does not check, `Io` when the disk
    /// refuses.
    pub fn open(disk: MemoryDisk, identity: Identity) -> Result<Self, StoreError> {
        let layout = open(&disk, identity)?;
        Ok(Self {
            disk,
            identity,
            layout: Some(layout),
        })
    }

    fn commit(
        &mut self,
        doing: &'static str,
        plan: impl FnOnce(&Layout, &MemoryDisk) -> Result<Plan, StoreError>,
    ) -> Result<(), StoreError> {
        let mut layout = self.layout.take().ok_or(StoreError::NeedsReopen)?;
        let plan = match plan(&layout, &self.disk) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.layout = Some(layout);
                return Err(refusal);
            }
        };
        self.disk.write(doing, plan.changes.clone(), plan.sequence())?;
        self.disk.platters().count_sync();
        layout.settle(&plan);
        self.layout = Some(layout);
        Ok(())
    }
}

fn open(disk: &MemoryDisk, identity: Identity) -> Result<Layout, StoreError> {
    check_read(disk, OPENING)?;
    let layout = Layout::read(&*disk.platters(), "the disk", identity)?;
    let mark = disk.platters().mark();
    match layout {
        Some(layout) if layout.sequence() < mark => Err(lost(layout.sequence(), mark)),
        Some(layout) => {
            disk.rewrite(OPENING)?;
            Ok(layout)
        }
        None if mark > 0 => Err(lost(0, mark)),
        None => {
            let (layout, plan) = Layout::begin(identity);
            disk.write("begin a log", plan.changes.clone(), plan.sequence())?;
            Ok(layout)
        }
    }
}

fn check_read(disk: &MemoryDisk, doing: &'static str) -> Result<(), StoreError> {
    if disk.begin(DiskOperation::Read) == DiskFault::ReadFails {
        let source = io::Error::other("read failed");
        return Err(StoreError::Io { doing, source });
    }
    Ok(())
}

fn lost(found: u64, mark: u64) -> StoreError {
    StoreError::Damaged {
        what: format!("it ends at change {found}, but change {mark} was durable"),
    }
}

impl LogStore for MemoryLogStore {
    fn load(&mut self) -> Result<LoadedLog, StoreError> {
        const DOING: &str = "read the log";
        let layout = self.layout.take().ok_or(StoreError::NeedsReopen)?;
        check_read(&self.disk, DOING)?;
        let loaded = layout.load(&*self.disk.platters());
        self.layout = Some(layout);
        loaded
    }

    fn append(&mut self, batch: &AppendBatch) -> Result<(), StoreError> {
        self.commit("append to the log", |layout, disk| {
            layout.append(&*disk.platters(), batch)
        })
    }

    fn compact(
        &mut self,
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        self.commit("compact the log", |layout, disk| {
            layout.compact(&*disk.platters(), snapshot, through, hard_state)
        })
    }

    fn install_snapshot(
        &mut self,
        snapshot: LogPosition,
        members: &MembersAt,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        self.commit("install a snapshot", |layout, _| {
            Ok(layout.install_snapshot(snapshot, members, hard_state))
        })
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.layout = None;
        self.layout = Some(open(&self.disk, self.identity)?);
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> u64 {
        self.disk.platters().size_bytes()
    }
}
