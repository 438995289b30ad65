//! The mark of a tenant whose WAL file does not hold what was acknowledged: a file beside its database that outlives the log.
//!
//! It is durable before the log begins anew, and has every commit of the tenant that the log had: SQLite would quietly take the WAL file
//! up to the place that does not hold, and write over what is behind it. As long as the mark is there nobody opens the database. Only an
//! operator takes it away.
//!
//! ```text
//! "tenantry quarantine 1\n", a line that says why, an empty line, what to do; all of it text up to the first zero byte
//! u64  number of commits
//! each: u64 LSN, salts (8), u64 offset in the WAL file, u32 length of the frames, frames
//! u32  CRC-32 of everything before
//! ```
//!
//! Numbers are little-endian.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use tenantry_types::TenantUid;

use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::folder::Folder;
use crate::handle::io_error;
use crate::logged::{FrameReader, Logged};

const NAME: &str = "QUARANTINED";
const NEW: &str = "QUARANTINED-new";
const MAGIC: &str = "tenantry quarantine 1\n";
/// The reason of a mark is among as many bytes at its beginning.
const BEGINNING: u64 = 4096;
const CRC: usize = 4;

const INSTRUCTIONS: &str = "\
The database beside this file is not opened by anybody while this file is here. Other tenants are served.
Behind this text are the tenant's commits that the node's log had, each with its place in the WAL file.

To go on:
1. Keep a copy of this folder. SQLite ignores a WAL file from the place that does not hold, and writes over it.
2. Put a backup of the database in its place and remove the files with -wal and -shm. Or leave them as they are: then
   what SQLite can read of them is what is left, and the commits behind that place are given up.
3. Move this file out of the folder. The next request opens the database; the node need not be started again.
";

/// A tenant's WAL file does not hold what was acknowledged, even after its frames were written back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the WAL file {} of tenant {tenant} breaks off at byte {offset}, and commits up to byte {end} were acknowledged: {what}",
    .file.display()
)]
pub struct BrokenWal {
    /// Whose it is.
    pub tenant: TenantUid,
    /// The WAL file.
    pub file: PathBuf,
    /// The first byte that does not hold.
    pub offset: u64,
    /// Where the last commit in the log ends, in bytes.
    pub end: u64,
    /// What is wrong.
    pub what: &'static str,
    /// The file that keeps the tenant's commits, and its database from being opened.
    pub mark: PathBuf,
}

/// A tenant's mark, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The file. Without it the database may be opened.
    pub mark: PathBuf,
    /// Why, for an operator.
    pub why: String,
}

impl Quarantine {
    /// Looks for the mark of the tenant with that database file. One that cannot be understood is one, too. Blocks.
    ///
    /// # Errors
    /// When it cannot be told whether there is one.
    pub fn of(database: &Path) -> io::Result<Option<Self>> {
        let mark = mark_path(database);
        let file = match File::open(&mark) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut beginning = Vec::new();
        file.take(BEGINNING).read_to_end(&mut beginning)?;
        let why = why(&beginning);
        Ok(Some(Self { mark, why }))
    }
}

fn why(beginning: &[u8]) -> String {
    let line = beginning
        .strip_prefix(MAGIC.as_bytes())
        .and_then(|text| text.split(|byte| matches!(byte, b'\n' | 0)).next())
        .filter(|line| !line.is_empty());
    line.map_or_else(
        || "the mark does not say why".to_owned(),
        |line| String::from_utf8_lossy(line).into_owned(),
    )
}

pub(crate) fn mark_path(database: &Path) -> PathBuf {
    database.with_file_name(NAME)
}

/// Writes the mark, durably. One that is there and says something else is set aside beside it.
///
/// # Errors
/// [`OpenError::Io`]; then the log must not begin anew.
pub(crate) fn write(folder: &Folder, broken: &BrokenWal, commits: &[Logged]) -> Result<(), OpenError> {
    let disk = folder.disk();
    let mark = &broken.mark;
    let new = mark.with_file_name(NEW);
    let written = fill(folder, &new, broken, commits)?;
    set_aside(disk, mark, written)
        .and_then(|()| disk.rename(&new, mark))
        .and_then(|()| mark.parent().map_or(Ok(()), |folder| disk.sync_folder(folder)))
        .map_err(io_error("keep the commits of a broken WAL file in", mark))
}

/// What two files with the same content have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    length: u64,
    crc: [u8; CRC],
}

fn fill(folder: &Folder, path: &Path, broken: &BrokenWal, commits: &[Logged]) -> Result<Content, OpenError> {
    let mut frames = FrameReader::new(folder);
    let refused = || io_error("write", path);
    let file = folder.disk().create(path).map_err(refused())?;
    let mut writer = Writer {
        file,
        length: 0,
        hasher: Hasher::new(),
    };
    let mut piece = format!("{MAGIC}{broken}\n\n{INSTRUCTIONS}\0").into_bytes();
    piece.extend_from_slice(&(commits.len() as u64).to_le_bytes());
    writer.add(&piece).map_err(refused())?;
    for logged in commits {
        let commit = &logged.commit;
        let frames = frames.frames(logged)?;
        // A record in the log has its length in as many bits.
        let length = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        piece.clear();
        piece.extend_from_slice(&commit.lsn.get().to_le_bytes());
        piece.extend_from_slice(&commit.salts);
        piece.extend_from_slice(&commit.offset.to_le_bytes());
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(&frames);
        writer.add(&piece).map_err(refused())?;
    }
    writer.finish().map_err(refused())
}

/// Writes one piece behind the other, and sums up.
struct Writer {
    file: Box<dyn DiskFile>,
    length: u64,
    hasher: Hasher,
}

impl Writer {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.length)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> io::Result<Content> {
        let crc = self.hasher.finalize().to_le_bytes();
        self.file.write_at(&crc, self.length)?;
        self.file.sync()?;
        Ok(Content {
            length: self.length + CRC as u64,
            crc,
        })
    }
}

/// Nothing that a mark keeps is written over. The same content is there if an earlier start wrote it and came no further.
fn set_aside(disk: &dyn Disk, mark: &Path, written: Content) -> io::Result<()> {
    let Some(file) = disk.open(mark)? else { return Ok(()) };
    let length = file.length()?;
    let mut crc = [0; CRC];
    let read = file.read_at(&mut crc, length.saturating_sub(CRC as u64))?;
    if read == CRC && (Content { length, crc }) == written {
        return Ok(());
    }
    for number in 1_u32.. {
        let aside = mark.with_file_name(format!("{NAME}-{number}"));
        if disk.open(&aside)?.is_none() {
            return disk.rename(mark, &aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
