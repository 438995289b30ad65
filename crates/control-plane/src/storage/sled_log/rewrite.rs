//! Writing the log anew: a copy into a fresh folder that takes the old one's place.
//!
//! It serves two ends. It gives back space, since sled's file does not shrink. And it settles doubts: what a process
//! wrote without a successful sync can be read back as long as the page cache holds it, though the disk may not have
//! it, and a later sync of the same file need not notice. A copy is on fresh pages, all of them synced before it counts.
//!
//! The order of steps makes every interruption harmless: `sled.new` counts for nothing until it is whole and `sled` was
//! moved to `sled.old`, which goes only when the new one was opened and checked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::super::log_layout::{Changes, Tree as _};
use super::database::Database;

const DOING: &str = "write the log anew";
/// Values of one batch of the copy, in bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Where the log is.
pub(super) fn current(folder: &Path) -> PathBuf {
    folder.join("sled")
}

fn fresh(folder: &Path) -> PathBuf {
    folder.join("sled.new")
}

fn replaced(folder: &Path) -> PathBuf {
    folder.join("sled.old")
}

/// Finishes or forgets what an interrupted [`copy`] and [`swap`] left behind. Deletes nothing but unfinished copies.
pub(super) fn settle(folder: &Path) -> Result<(), StoreError> {
    let settled = (|| {
        if !current(folder).exists() && replaced(folder).exists() && fresh(folder).exists() {
            fs::rename(fresh(folder), current(folder))?;
            sync_folder(folder)?;
        }
        if current(folder).exists() {
            remove(&fresh(folder))?;
        }
        Ok(())
    })();
    settled.map_err(io_error)
}

/// Removes what the log that is now open and checked has replaced.
pub(super) fn forget_replaced(folder: &Path) -> Result<(), StoreError> {
    remove(&replaced(folder)).map_err(io_error)
}

/// Copies everything into a fresh folder, durably.
pub(super) fn copy(from: &Database, folder: &Path) -> Result<(), StoreError> {
    let path = fresh(folder);
    remove(&path).map_err(io_error)?;
    let to = Database::open(&path)?;
    let copied = copy_values(from, &to);
    to.close()?;
    copied?;
    sync_all_files(&path).map_err(io_error)?;
    sync_folder(folder).map_err(io_error)
}

fn copy_values(from: &Database, to: &Database) -> Result<(), StoreError> {
    let mut batch = Changes::default();
    let mut bytes = 0;
    from.for_each(&mut |key, value| {
        bytes += key.len() + value.len();
        batch.0.insert(key.to_vec(), Some(value.to_vec()));
        if bytes >= BATCH_BYTES {
            bytes = 0;
            to.write(DOING, &std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    to.write(DOING, &batch)
}

/// Puts the copy in the log's place. Both must be closed.
pub(super) fn swap(folder: &Path) -> Result<(), StoreError> {
    let swapped = (|| {
        remove(&replaced(folder))?;
        fs::rename(current(folder), replaced(folder))?;
        sync_folder(folder)?;
        fs::rename(fresh(folder), current(folder))?;
        sync_folder(folder)
    })();
    swapped.map_err(io_error)
}

/// Syncs every file below a folder, and the folders.
pub(super) fn sync_all_files(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all_files(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(path)
}

pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn io_error(source: io::Error) -> StoreError {
    StoreError::Io { doing: DOING, source }
}
