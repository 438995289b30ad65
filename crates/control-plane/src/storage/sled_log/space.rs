//! How much of the disk the log may use.

use std::io;
use std::path::Path;

use super::super::StoreError;

/// What is checked before writing and after compacting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Free space below which nothing is written: sled does not survive a full disk in working order.
    pub(super) reserve_bytes: u64,
    /// A log of this size or less is never copied.
    pub(super) wasteful_bytes: u64,
}

/// Beyond this multiple of its live content a large log is copied.
const WASTEFUL_TIMES: u64 = 4;
/// A fresh copy takes at most about this multiple of what is live.
const COPY_TIMES: u64 = 2;

impl Default for Limits {
    fn default() -> Self {
        Self {
            reserve_bytes: 32 * 1024 * 1024,
            wasteful_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Refuses when the disk is full but for the reserve.
    pub(super) fn check_space(&self, folder: &Path, doing: &'static str) -> Result<(), StoreError> {
        let free = free_bytes(folder).map_err(|source| StoreError::Io { doing, source })?;
        if free < self.reserve_bytes {
            return Err(StoreError::Io {
                doing,
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        Ok(())
    }

    /// Refuses when there is no room for a copy of `live_bytes`.
    pub(super) fn check_room(&self, folder: &Path, live_bytes: u64) -> Result<(), StoreError> {
        let room = Self {
            reserve_bytes: self.reserve_bytes.saturating_add(live_bytes.saturating_mul(COPY_TIMES)),
            ..*self
        };
        room.check_space(folder, "copy the log")
    }

    /// Whether copying would give back much.
    pub(super) fn is_wasteful(&self, size_bytes: u64, live_bytes: u64) -> bool {
        size_bytes > self.wasteful_bytes.max(live_bytes.saturating_mul(WASTEFUL_TIMES))
    }
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
