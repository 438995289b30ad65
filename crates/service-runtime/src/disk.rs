//! The room on a data folder's file system.

use std::io;
use std::path::Path;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy)]
pub struct DiskSpace {
    /// All of it.
    pub size: u64,
    /// What ordinary users may still take.
    pub free: u64,
}

/// The file system that `path` is on.
///
/// # Errors
/// When it cannot be asked.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(DiskSpace {
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}
