//! Whether a database file holds what the last commits in the log made of it. Asked where a WAL file has no valid header.
//!
//! SQLite takes such a WAL file for empty. After a checkpoint that is right: the file was about to begin anew, and whatever the log has
//! is in the database. If it is not, commits that were acknowledged are in the log alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::folder::Folder;
use crate::handle::io_error;
use crate::logged::{FrameReader, Logged};
use crate::record::array;
use crate::wal;

/// A page of the database and where the log has it.
struct Page<'a> {
    number: u32,
    logged: &'a Logged,
    /// Bytes of it in the frames of the commit.
    content: Range<usize>,
}

/// Compares each page that the last life of the WAL file left in the log with the one in the database.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn holds(folder: &Folder, database: &Path, commits: &[Logged]) -> Result<bool, OpenError> {
    let Some(last) = commits.last() else { return Ok(true) };
    let Some(file) = folder.disk().open(database).map_err(io_error("open", database))? else {
        return Ok(false);
    };
    let Some(page_bytes) = page_bytes(&*file).map_err(io_error("read", database))? else {
        return Ok(false);
    };
    let life: Vec<&Logged> = commits
        .iter()
        .filter(|logged| logged.commit.salts == last.commit.salts)
        .collect();
    let mut reader = FrameReader::new(folder);
    let Some(pages) = last_pages(&life, page_bytes, &mut reader)? else {
        return Ok(false);
    };
    let mut present = vec![0; page_bytes];
    for page in pages {
        let wanted = reader.part(page.logged, page.content)?;
        let offset = u64::from(page.number - 1) * page_bytes as u64;
        let length = file.read_at(&mut present, offset).map_err(io_error("read", database))?;
        if present[..length] != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the database's header says; `None` if it is none.
fn page_bytes(file: &dyn DiskFile) -> std::io::Result<Option<usize>> {
    let mut header = [0; 18];
    let length = file.read_at(&mut header, 0)?;
    let page_bytes = match array(&header[16..]).map_or(0, u16::from_be_bytes) {
        1 => 65_536,
        other => usize::from(other),
    };
    Ok((length == header.len() && page_bytes.is_power_of_two() && page_bytes >= 512).then_some(page_bytes))
}

/// The pages as the last commit left them, without those that a commit cut off; `None` if the commits do not consist of frames of such
/// pages.
fn last_pages<'a>(
    life: &[&'a Logged],
    page_bytes: usize,
    reader: &mut FrameReader<'_>,
) -> Result<Option<Vec<Page<'a>>>, OpenError> {
    let frame_bytes = wal::FRAME_HEADER + page_bytes;
    let mut by_offset: BTreeMap<u64, Page<'a>> = BTreeMap::new();
    let mut pages_in_all = u32::MAX;
    for &logged in life {
        // What SQLite gave up after it was logged gives way.
        by_offset.split_off(&logged.commit.offset);
        let frames = reader.frames(logged)?;
        if frames.is_empty() || !frames.len().is_multiple_of(frame_bytes) {
            return Ok(None);
        }
        let mut pages_now = 0;
        for (index, frame) in frames.chunks_exact(frame_bytes).enumerate() {
            let word = |at: usize| array(&frame[at..at + 4]).map_or(0, u32::from_be_bytes);
            let number = word(0);
            if number == 0 {
                return Ok(None);
            }
            pages_now = word(4);
            let begin = index * frame_bytes;
            let page = Page {
                number,
                logged,
                content: begin + wal::FRAME_HEADER..begin + frame_bytes,
            };
            by_offset.insert(logged.commit.offset.saturating_add(begin as u64), page);
        }
        // A last frame without the count of pages is that of a commit whose rest is not in the log.
        if pages_now != 0 && pages_now < pages_in_all {
            by_offset.retain(|_, page| page.number <= pages_now);
        }
        if pages_now != 0 {
            pages_in_all = pages_now;
        }
    }
    let by_number: BTreeMap<u32, Page<'a>> = by_offset.into_values().map(|page| (page.number, page)).collect();
    Ok(Some(by_number.into_values().collect()))
}
