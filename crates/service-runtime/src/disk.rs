//! The room on a data folder's file system.

use std::io;
use std::path::Path;

use rustix::fs::StatVfs;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What is taken and what may be: all of it but for what is kept back from ordinary users, which they can never use. `free` is
    /// a share of this, as `df` has it.
    pub size: u64,
    /// What ordinary users may still take.
    pub free: u64,
}

impl DiskSpace {
    fn of(stat: &StatVfs) -> Self {
        let kept_back = stat.f_bfree.saturating_sub(stat.f_bavail);
        Self {
            size: stat.f_blocks.saturating_sub(kept_back).saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        }
    }
}

/// The file system that `path` is on.
///
/// # Errors
/// When it cannot be asked.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    rustix::fs::statvfs(path)
        .map(|stat| DiskSpace::of(&stat))
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_nobody_may_take_belong_to_no_size() {
        let stat = StatVfs {
            f_bsize: 4_096,
            f_frsize: 1_024,
            f_blocks: 1_000,
            f_bfree: 700,
            f_bavail: 100,
            f_files: 0,
            f_ffree: 0,
            f_favail: 0,
            f_fsid: 0,
            f_flag: rustix::fs::StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        // 300 are taken, 100 may be.
        assert_eq!(
            DiskSpace::of(&stat),
            DiskSpace {
                size: 400 << 10,
                free: 100 << 10
            }
        );
    }
}
