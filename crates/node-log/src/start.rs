//! The file `start`: where the log begins. It is replaced when the log is opened, after everything older is safe in tenants' files.
//!
//! Segments below its number are not read: they were written back and synced, and SQLite may have put other frames in their place
//! since. That is why it must not be lost while there are segments.
//!
//! ```text
//!  0  [u8; 8]  magic
//!  8  u64      number of the first segment
//! 16  u64      LSN of the first record
//! 24  u32      CRC-32 of everything before
//! ```

use std::io;
use std::path::PathBuf;

use crate::folder::Folder;
use crate::lsn::Lsn;
use crate::record::array;

const MAGIC: [u8; 8] = *b"tnodestt";
const LENGTH: usize = 28;
const NAME: &str = "start";
const NEW: &str = "start-new";

/// Where the log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) segment: u64,
    pub(crate) lsn: Lsn,
}

pub(crate) fn path(folder: &Folder) -> PathBuf {
    folder.path().join(NAME)
}

/// `Ok(None)` if there is no such file, and an error in the middle if it is damaged.
pub(crate) fn read(folder: &Folder) -> io::Result<Option<Result<Start, &'static str>>> {
    let Some(file) = folder.disk().open(&path(folder))? else {
        return Ok(None);
    };
    let mut bytes = [0; LENGTH + 1];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(Some(parse(&bytes[..length]).ok_or("it is not what was written")))
}

fn parse(bytes: &[u8]) -> Option<Start> {
    if bytes.len() != LENGTH
        || bytes[..8] != MAGIC
        || crc32fast::hash(&bytes[..24]) != u32::from_le_bytes(array(&bytes[24..])?)
    {
        return None;
    }
    Some(Start {
        segment: u64::from_le_bytes(array(&bytes[8..16])?),
        lsn: Lsn::new(u64::from_le_bytes(array(&bytes[16..24])?)),
    })
}

/// Replaces the file, durably.
pub(crate) fn write(folder: &Folder, start: Start) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&start.segment.to_le_bytes());
    bytes.extend_from_slice(&start.lsn.get().to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let new = folder.path().join(NEW);
    let file = folder.disk().create(&new)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    folder.disk().rename(&new, &path(folder))?;
    folder.disk().sync_folder(folder.path())
}
