//! The folder of snapshot files, `<index>-<term>.snap`.
//!
//! A file appears under its final name only when complete and durable. The one that the log builds on stays, and the
//! one before it; a file that cannot be read is refused and left alone. What other members send is in `incoming`.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use snapshot_format::FileReader;

use super::incoming::RECEIVED;
use super::snapshot_file::begin_file;
use super::{LogPosition, SnapshotError, SnapshotHeader, open_snapshot_file};

const KEPT: usize = 2;
/// Files that are being written here.
const IN_PROGRESS: &str = "writing-";

/// One member's snapshot files. Clones are the same folder.
#[derive(Debug, Clone)]
pub struct SnapshotFolder {
    path: PathBuf,
    fingerprint: u64,
    unique: Arc<AtomicU64>,
}

impl SnapshotFolder {
    /// Opens or creates the folder, and clears away what an earlier run did not finish, except for what can be gone on
    /// with.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(path: &Path, fingerprint: u64) -> Result<Self, SnapshotError> {
        let folder = Self {
            path: path.to_owned(),
            fingerprint,
            unique: Arc::default(),
        };
        let cleared = (|| {
            fs::create_dir_all(path)?;
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(IN_PROGRESS) || name.starts_with(RECEIVED) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        })();
        cleared.map_err(io_error("open the snapshot folder"))?;
        folder.clear_partial_files(None)?;
        Ok(folder)
    }

    /// The folder of a running member, for reading: nothing is cleared away, and files may come and go at any time.
    #[must_use]
    pub fn of_running_member(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            fingerprint: 0,
            unique: Arc::default(),
        }
    }

    /// Positions of all snapshots, newest first, whether they can be read or not.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<LogPosition>, SnapshotError> {
        let listed = (|| {
            let mut found = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                found.extend(parse_name(&entry?.file_name().to_string_lossy()));
            }
            found.sort_unstable_by(|a, b| b.cmp(a));
            Ok(found)
        })();
        listed.map_err(io_error("list the snapshots"))
    }

    /// Writes a snapshot: to a temporary file, synced, then under its name.
    ///
    /// # Errors
    /// When the disk refuses, or `write` does.
    pub fn write(
        &self,
        header: &SnapshotHeader,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        let written = (|| {
            let temporary = Temporary::create(self.temporary_path(IN_PROGRESS))?;
            let mut writer = begin_file(BufWriter::new(&temporary.file), header)?;
            write(&mut writer)?;
            writer.finish()?;
            self.publish(temporary, header.position)
        })();
        written.map_err(io_error("write a snapshot"))
    }

    /// Opens a snapshot of this cluster. Its checksums are verified as it is read.
    ///
    /// # Errors
    /// When it is missing, damaged, or not what its name says.
    pub fn read(&self, position: LogPosition) -> Result<(SnapshotHeader, FileReader<BufReader<File>>), SnapshotError> {
        self.check(self.open_raw(position)?, position)
    }

    /// Opens the raw file, to be sent elsewhere. Stays readable though the file be removed meanwhile.
    ///
    /// # Errors
    /// When it is missing.
    pub fn open_raw(&self, position: LogPosition) -> Result<File, SnapshotError> {
        File::open(self.file_path(position)).map_err(io_error("read the snapshot"))
    }

    /// Removes what lies before `marker` and the snapshot before it. A newer one may just be on its way in.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn retain(&self, marker: LogPosition) -> Result<(), SnapshotError> {
        let old = self
            .list()?
            .into_iter()
            .filter(|position| *position <= marker)
            .skip(KEPT);
        for position in old {
            fs::remove_file(self.file_path(position)).map_err(io_error("remove an old snapshot"))?;
        }
        Ok(())
    }

    pub(super) fn check(
        &self,
        file: File,
        expected: LogPosition,
    ) -> Result<(SnapshotHeader, FileReader<BufReader<File>>), SnapshotError> {
        let (header, reader) = open_snapshot_file(BufReader::new(file))?;
        if header.fingerprint != self.fingerprint {
            return Err(SnapshotError::Foreign {
                found: header.fingerprint,
                expected: self.fingerprint,
            });
        }
        if header.position != expected {
            return Err(SnapshotError::Unexpected {
                found: header.position,
                expected,
            });
        }
        Ok((header, reader))
    }

    pub(super) fn publish(&self, mut temporary: Temporary, position: LogPosition) -> io::Result<()> {
        temporary.file.sync_all()?;
        fs::rename(&temporary.path, self.file_path(position))?;
        temporary.published = true;
        File::open(&self.path)?.sync_all()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn temporary_path(&self, prefix: &str) -> PathBuf {
        let unique = self.unique.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{prefix}{unique}"))
    }

    fn file_path(&self, position: LogPosition) -> PathBuf {
        self.path.join(format!("{:020}-{}.snap", position.index, position.term))
    }
}

/// Size in bytes and CRC-32 of a whole file, as announced to a receiver.
///
/// # Errors
/// When the file cannot be read.
pub fn measure(file: &mut File) -> io::Result<(u64, u32)> {
    let mut crc = crc32fast::Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 * 1024];
    file.seek(SeekFrom::Start(0))?;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            file.seek(SeekFrom::Start(0))?;
            return Ok((size, crc.finalize()));
        }
        crc.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
}

/// A file that vanishes unless it was published.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    pub(super) file: File,
    published: bool,
}

impl Temporary {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        Ok(Self::of(path, file))
    }

    pub(super) fn of(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file,
            published: false,
        }
    }

    /// Lets the file stay under the name that it has.
    pub(super) fn keep(mut self) {
        self.published = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // What stays behind is cleared at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn parse_name(name: &str) -> Option<LogPosition> {
    let (index, term) = name.strip_suffix(".snap")?.split_once('-')?;
    Some(LogPosition {
        index: index.parse().ok()?,
        term: term.parse().ok()?,
    })
}

pub(super) fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { doing, source }
}
