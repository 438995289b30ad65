//! A data folder that one process owns, and files that are either old or new after a crash, never half.
//!
//! Everything here blocks; async code calls it through `spawn_blocking`. What the files mean is their owner's affair.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

const LOCK_FILE: &str = "LOCK";
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// A folder that no other process uses for as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock: the system releases it when the file closes, after kill -9 too.
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("the data folder {} is in use by {}", .path.display(), holder_text(*.holder_pid))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that wrote the lock file, where it can be read.
        holder_pid: Option<u32>,
    },
    /// It cannot be created or locked.
    #[error("cannot open the data folder {}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder_text(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("another process (pid {pid})"),
    )
}

impl DataDir {
    /// Creates the folder with its parents where missing (mode 0700) and locks it. Does not wait for a lock.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another process, or another `DataDir` of this one, holds it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        match lock(&path) {
            Ok(Lock::Ours(lock)) => Ok(Self { path, _lock: lock }),
            Ok(Lock::Theirs { holder_pid }) => Err(DataDirError::InUse { path, holder_pid }),
            Err(source) => Err(DataDirError::Io { path, source }),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something inside.
    #[must_use]
    pub fn join(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.path.join(inside)
    }
}

enum Lock {
    Ours(File),
    Theirs { holder_pid: Option<u32> },
}

fn lock(path: &Path) -> io::Result<Lock> {
    create_durably(path)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(path.join(LOCK_FILE))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For people who look; nothing decides by it, so a crash between the two calls does no harm.
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Lock::Ours(file))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let readable = file.read_to_string(&mut text).is_ok();
            Ok(Lock::Theirs {
                holder_pid: text.trim().parse().ok().filter(|_| readable),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Creates `path` and what is missing above it, each entry durable in its parent.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    create_durably(parent)?;
    match DirBuilder::new().mode(PRIVATE_DIR).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(parent),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A step of [`write_atomically`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStep {
    /// Writing the new content beside the old file.
    Write,
    /// Making the new content durable.
    Sync,
    /// Putting the new file in the place of the old.
    Rename,
    /// Making the rename durable. The new content is in place, and may be gone after a crash.
    SyncDir,
}

/// A file that could not be replaced. The old content is intact unless `step` is [`WriteStep::SyncDir`].
#[derive(Debug, thiserror::Error)]
#[error("cannot replace {} ({step:?})", .path.display())]
pub struct AtomicWriteError {
    /// The file.
    pub path: PathBuf,
    /// How far it came.
    pub step: WriteStep,
    /// What the system said; `ErrorKind::StorageFull` for a full disk.
    pub source: io::Error,
}

/// Replaces the content of `path` durably (mode 0600): after a crash the file has either the old or the new bytes.
///
/// The folder must exist. Writes to one path must not overlap: they would share the temporary file `.NAME.tmp`, whose
/// name is fixed so that what a crash left behind is overwritten by the next write.
///
/// # Errors
/// See [`AtomicWriteError`]. The failed call leaves no temporary file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), AtomicWriteError> {
    let failed = |step| {
        move |source| AtomicWriteError {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))
        .map_err(failed(WriteStep::Write))?;
    let parent = parent_of(path);
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(".tmp");
    let temporary = parent.join(temporary_name);

    let replaced = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(PRIVATE_FILE)
            .open(&temporary)
            .map_err(failed(WriteStep::Write))?;
        file.write_all(bytes).map_err(failed(WriteStep::Write))?;
        file.sync_all().map_err(failed(WriteStep::Sync))?;
        fs::rename(&temporary, path).map_err(failed(WriteStep::Rename))
    })();
    if replaced.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    replaced?;
    sync_dir(parent).map_err(failed(WriteStep::SyncDir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_created_with_its_parents_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path().join("a/b")).unwrap();
        assert_eq!(dir.path(), root.path().join("a/b"));
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_user_of_a_folder_is_refused_until_the_first_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::open(root.path()).unwrap();
        let refusal = DataDir::open(root.path()).unwrap_err();
        let pid = std::process::id();
        let expected = format!(
            "the data folder {} is in use by another process (pid {pid})",
            root.path().display()
        );
        assert_eq!(refusal.to_string(), expected);
        drop(first);
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error_that_names_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let refusal = DataDir::open(&path).unwrap_err();
            assert_eq!(
                refusal.to_string(),
                format!("cannot open the data folder {}", path.display())
            );
        }
    }

    #[test]
    fn an_atomic_write_replaces_the_content_and_leaves_nothing_beside() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("routes.json");
        // What a crash in the middle of an earlier, longer write left.
        fs::write(root.path().join(".routes.json.tmp"), "half of a long one").unwrap();
        for content in ["first", "", "second"] {
            write_atomically(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_atomic_write_says_how_far_it_came_and_cleans_up() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("missing/routes.json");
        assert_eq!(write_atomically(&missing, b"x").unwrap_err().step, WriteStep::Write);
        assert_eq!(
            write_atomically(Path::new("/"), b"x").unwrap_err().step,
            WriteStep::Write
        );

        let folder = root.path().join("routes.json");
        fs::create_dir(&folder).unwrap();
        assert_eq!(write_atomically(&folder, b"x").unwrap_err().step, WriteStep::Rename);
        assert!(!root.path().join(".routes.json.tmp").exists());
    }
}
