//! What is done with a log that a former life left: read all of it, write back what WAL files lack, begin anew behind it.
//!
//! One segment is in memory at a time. Nothing is skipped silently. What one tenant's files do not hold keeps nobody else from being
//! served; errors of the disk and damage of the log itself do.

use std::path::PathBuf;

use crate::error::OpenError;
use crate::folder::{Folder, Listing};
use crate::handle::io_error;
use crate::lsn::Lsn;
use crate::quarantine::BrokenWal;
use crate::redo::Redo;
use crate::scan::{self, Standing};
use crate::segment::{self, SegmentHeader};
use crate::start::{self, Start};
use crate::tenant_files::TenantFiles;

/// What was found when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Records in the log.
    pub records: u64,
    /// Those of them whose WAL file is gone or has begun anew: their frames are in the database.
    pub obsolete_records: u64,
    /// Tenants with records in the log.
    pub tenants: u64,
    /// Frames that a WAL file lacked.
    pub frames_written_back: u64,
    /// Bytes written into WAL files for them.
    pub bytes_written_back: u64,
    /// WAL files that were proved and synced.
    pub wals_synced: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Whether the log ended in a write that a crash tore. Nothing of it was acknowledged.
    pub torn: bool,
    /// Tenants whose WAL files do not hold what was acknowledged. Each has a mark now, and must not be opened as long as it has.
    pub broken: Vec<BrokenWal>,
}

/// A log that can go on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) report: Recovery,
    pub(crate) next_segment: u64,
    pub(crate) next_lsn: Lsn,
}

/// Reads the folder. When this returns, no segment in it is needed.
pub(crate) fn recover(folder: &Folder, files: &TenantFiles) -> Result<Recovered, OpenError> {
    let listing = folder.list().map_err(io_error("list", folder.path()))?;
    let from = beginning(folder, &listing)?;
    let mut redo = Redo::new(folder, files);
    let mut next = from;
    let numbers = needed(folder, &listing, from)?;
    let mut bytes = Vec::new();
    for &number in &numbers {
        let standing = if Some(&number) == numbers.last() {
            Standing::Last
        } else {
            Standing::Earlier
        };
        let header = read_segment(folder, number, &mut bytes)?;
        check_beginning(folder, next, header)?;
        let scanned = scan::scan(&bytes, header, standing)
            .map_err(|damage| damaged(folder, folder.segment_path(number), damage.offset, damage.what))?;
        redo.segment(number, &bytes, scanned.commits)?;
        if scanned.torn {
            redo.torn();
        }
        next = Start {
            segment: number + 1,
            lsn: scanned.next,
        };
    }
    let report = redo.finish()?;
    let highest = listing.segments.last().max(listing.freed.last()).copied().unwrap_or(0);
    let next_segment = from.segment.max(highest.saturating_add(1));
    let start = Start {
        segment: next_segment,
        lsn: next.lsn,
    };
    start::write(folder, start).map_err(io_error("write", &start::path(folder)))?;
    Ok(Recovered {
        report,
        next_segment,
        next_lsn: next.lsn,
    })
}

fn beginning(folder: &Folder, listing: &Listing) -> Result<Start, OpenError> {
    let path = start::path(folder);
    match start::read(folder).map_err(io_error("read", &path))? {
        Some(Ok(start)) => Ok(start),
        Some(Err(what)) => Err(damaged(folder, path, 0, what.to_owned())),
        None if listing.segments.is_empty() && listing.freed.is_empty() => Ok(Start {
            segment: 1,
            lsn: Lsn::new(1),
        }),
        None => Err(damaged(
            folder,
            path,
            0,
            "it is missing, though there are segments".to_owned(),
        )),
    }
}

/// The numbers of the segments to be read. All from the oldest that was needed when the newest was begun must be there, but those
/// that were freed since.
fn needed(folder: &Folder, listing: &Listing, from: Start) -> Result<Vec<u64>, OpenError> {
    let Some(&last) = listing.segments.last().filter(|&&last| last >= from.segment) else {
        return match listing.freed.last() {
            Some(&freed) if freed >= from.segment => Err(damaged(
                folder,
                folder.segment_path(freed + 1),
                0,
                "it is missing: a segment is freed only when there is a later one".to_owned(),
            )),
            _ => Ok(Vec::new()),
        };
    };
    let newest = read_header(folder, last)?;
    let first = (from.segment.max(newest.oldest)..=last)
        .find(|number| listing.freed.binary_search(number).is_err())
        .unwrap_or(last);
    match (first..=last).find(|number| listing.segments.binary_search(number).is_err()) {
        Some(missing) => Err(damaged(
            folder,
            folder.segment_path(missing),
            0,
            "it is missing".to_owned(),
        )),
        None => Ok((first..=last).collect()),
    }
}

/// Of the first segment that is left only its number is known, unless it is where the log begins. Any other goes on where the one
/// before ended.
fn check_beginning(folder: &Folder, expected: Start, header: SegmentHeader) -> Result<(), OpenError> {
    if header.number != expected.segment || header.first == expected.lsn {
        return Ok(());
    }
    let what = format!(
        "it begins with record {}, and {} was expected",
        header.first, expected.lsn
    );
    Err(damaged(folder, folder.segment_path(header.number), 0, what))
}

fn read_header(folder: &Folder, number: u64) -> Result<SegmentHeader, OpenError> {
    let path = folder.segment_path(number);
    let mut bytes = [0; segment::LENGTH];
    let file = folder.disk().open(&path).map_err(io_error("open", &path))?;
    let length = match file {
        Some(file) => file.read_at(&mut bytes, 0).map_err(io_error("read", &path))?,
        None => 0,
    };
    header(folder, number, &bytes[..length])
}

fn read_segment(folder: &Folder, number: u64, bytes: &mut Vec<u8>) -> Result<SegmentHeader, OpenError> {
    let path = folder.segment_path(number);
    let file = folder
        .disk()
        .open(&path)
        .and_then(|file| file.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .map_err(io_error("open", &path))?;
    let length = file.length().map_err(io_error("read", &path))?;
    bytes.resize(usize::try_from(length).unwrap_or(0), 0);
    let read = file.read_at(bytes, 0).map_err(io_error("read", &path))?;
    bytes.truncate(read);
    header(folder, number, bytes)
}

fn header(folder: &Folder, number: u64, bytes: &[u8]) -> Result<SegmentHeader, OpenError> {
    let path = folder.segment_path(number);
    let header = SegmentHeader::read(bytes).map_err(|what| damaged(folder, path.clone(), 0, what))?;
    if header.number != number {
        let what = format!("its header says that it is segment {}", header.number);
        return Err(damaged(folder, path, 0, what));
    }
    Ok(header)
}

fn damaged(folder: &Folder, file: PathBuf, offset: u64, what: String) -> OpenError {
    OpenError::Damaged {
        folder: folder.path().to_owned(),
        file,
        offset,
        what,
    }
}
