//! The folder of snapshot files, `<index>-<term>.snap`.
//!
//! A file appears under its final name only when complete and durable. The one that the log builds on stays, and the
//! one before it; a file that cannot be read is refused and left alone.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot_file::refused;
use super::{LogPosition, SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter};
use crate::mutants::{Mutant, mutated};

const KEPT: usize = 2;
const IN_PROGRESS: &str = "incoming-";

/// One member's snapshot files. Clones are the same folder.
#[derive(Debug, Clone)]
pub struct SnapshotFolder {
    path: PathBuf,
    fingerprint: u64,
    unique: Arc<AtomicU64>,
}

impl SnapshotFolder {
    /// Opens or creates the folder, and clears away what an earlier run did not finish.
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
                if entry.file_name().to_string_lossy().starts_with(IN_PROGRESS) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        })();
        cleared.map_err(io_error("open the snapshot folder"))?;
        Ok(folder)
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
            let temporary = Temporary::create(self.temporary_path())?;
            let mut writer = SnapshotWriter::new(BufWriter::new(&temporary.file), header)?;
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
    pub fn read(
        &self,
        position: LogPosition,
    ) -> Result<(SnapshotHeader, SnapshotReader<BufReader<File>>), SnapshotError> {
        self.check(File::open(self.file_path(position)).map_err(refused)?, position)
    }

    /// Opens the raw file, to be sent elsewhere. Stays readable though the file be removed meanwhile.
    ///
    /// # Errors
    /// When it is missing.
    pub fn open_raw(&self, position: LogPosition) -> Result<File, SnapshotError> {
        File::open(self.file_path(position)).map_err(refused)
    }

    /// Begins to receive a file of `size_bytes` that another member sends.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn receive(&self, size_bytes: u64, crc32: u32) -> Result<IncomingSnapshot, SnapshotError> {
        Ok(IncomingSnapshot {
            temporary: Temporary::create(self.temporary_path()).map_err(io_error("receive a snapshot"))?,
            announced_bytes: size_bytes,
            announced_crc32: crc32,
            received_bytes: 0,
            crc32: crc32fast::Hasher::new(),
            header: None,
        })
    }

    /// Checks a received file in full and syncs it; it is adopted later.
    ///
    /// # Errors
    /// When it is not a complete snapshot of this cluster at `position`.
    pub fn verify(&self, incoming: &mut IncomingSnapshot, position: LogPosition) -> Result<(), SnapshotError> {
        if mutated(Mutant::SnapshotNotVerified) {
            return Ok(());
        }
        incoming.check_complete()?;
        let prepared = (|| {
            incoming.temporary.file.sync_all()?;
            let mut file = File::open(&incoming.temporary.path)?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        })();
        let file = prepared.map_err(io_error("receive a snapshot"))?;
        let (header, reader) = self.check(file, position)?;
        reader.verify()?;
        incoming.header = Some(header);
        Ok(())
    }

    /// Gives a verified file its name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn adopt(&self, incoming: IncomingSnapshot, position: LogPosition) -> Result<(), SnapshotError> {
        self.publish(incoming.temporary, position)
            .map_err(io_error("install a snapshot"))
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

    fn check(
        &self,
        file: File,
        expected: LogPosition,
    ) -> Result<(SnapshotHeader, SnapshotReader<BufReader<File>>), SnapshotError> {
        let (header, reader) = SnapshotReader::new(BufReader::new(file))?;
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

    fn publish(&self, mut temporary: Temporary, position: LogPosition) -> io::Result<()> {
        temporary.file.sync_all()?;
        fs::rename(&temporary.path, self.file_path(position))?;
        temporary.published = true;
        File::open(&self.path)?.sync_all()
    }

    fn temporary_path(&self) -> PathBuf {
        let unique = self.unique.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{IN_PROGRESS}{unique}"))
    }

    fn file_path(&self, position: LogPosition) -> PathBuf {
        self.path.join(format!("{:020}-{}.snap", position.index, position.term))
    }
}

/// A file that another member is sending. Dropped unless adopted.
#[derive(Debug)]
pub struct IncomingSnapshot {
    temporary: Temporary,
    announced_bytes: u64,
    announced_crc32: u32,
    received_bytes: u64,
    crc32: crc32fast::Hasher,
    /// Once it was verified.
    header: Option<SnapshotHeader>,
}

impl IncomingSnapshot {
    /// What the file says of itself; `None` until it was verified.
    #[must_use]
    pub fn header(&self) -> Option<&SnapshotHeader> {
        self.header.as_ref()
    }

    /// Adds the piece that begins at `offset` bytes.
    ///
    /// # Errors
    /// When pieces are missing or there is more than announced, or the disk refuses.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        let end = self.received_bytes.saturating_add(bytes.len() as u64);
        if offset != self.received_bytes || end > self.announced_bytes {
            return Err(SnapshotError::Damaged {
                what: format!("a piece at {offset} after {} bytes", self.received_bytes),
            });
        }
        self.temporary
            .file
            .write_all(bytes)
            .map_err(io_error("receive a snapshot"))?;
        self.crc32.update(bytes);
        self.received_bytes = end;
        Ok(())
    }

    fn check_complete(&self) -> Result<(), SnapshotError> {
        if self.received_bytes != self.announced_bytes || self.crc32.clone().finalize() != self.announced_crc32 {
            return Err(SnapshotError::Damaged {
                what: "it did not arrive whole".into(),
            });
        }
        Ok(())
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
struct Temporary {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Temporary {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        Ok(Self {
            path,
            file,
            published: false,
        })
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

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { doing, source }
}
