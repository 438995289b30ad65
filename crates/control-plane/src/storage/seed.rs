//! The state that a restored cluster begins with: written by `restore`, taken over by the member's first start.
//!
//! A first start is needed all the same: it is then that the members learn each other's logs, without which a lost disk
//! would go unnoticed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{LogPosition, SnapshotError, SnapshotFolder, SnapshotHeader};

const FOLDER: &str = "seed";

/// The seed in a member's folder.
#[derive(Debug)]
pub struct Seed {
    snapshots: SnapshotFolder,
    /// Where the log will begin.
    pub position: LogPosition,
}

impl Seed {
    /// Where the seed of a folder is.
    #[must_use]
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FOLDER)
    }

    /// The seed of a folder whose cluster was restored.
    ///
    /// # Errors
    /// When it is missing, damaged, or of another cluster than `fingerprint`.
    pub fn open(folder: &Path, fingerprint: u64) -> Result<Self, SnapshotError> {
        let snapshots = SnapshotFolder::open(&Self::path(folder), fingerprint)?;
        let position = snapshots
            .list()?
            .first()
            .copied()
            .ok_or_else(|| SnapshotError::Damaged {
                what: "the state that was restored is not there".to_owned(),
            })?;
        Ok(Self { snapshots, position })
    }

    /// Reads it; checksums are verified as it is read.
    ///
    /// # Errors
    /// When it is damaged, or of another cluster.
    pub fn read(&self) -> Result<(SnapshotHeader, impl io::Read), SnapshotError> {
        self.snapshots.read(self.position)
    }

    /// Removes it, once the log has begun. There may be none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget(folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(Self::path(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
