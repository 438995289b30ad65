//! Reads one segment: which commits it holds, and whether it ends where it may. Pure bytes, no files.

use std::ops::Range;

use tenantry_types::TenantUid;

use crate::batch::PAGE;
use crate::lsn::Lsn;
use crate::record::{self, Content};
use crate::segment::{FIRST_RECORD, SegmentHeader};

/// A commit, and where its frames are in the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) lsn: Lsn,
    pub(crate) tenant: TenantUid,
    pub(crate) salts: [u8; 8],
    pub(crate) offset: u64,
    pub(crate) frames: Range<usize>,
}

impl Commit {
    /// Where its last frame ends in the WAL file.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.frames.len() as u64)
    }
}

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) commits: Vec<Commit>,
    /// The number that the next record has.
    pub(crate) next: Lsn,
    /// Whether something that is no record stands where the log ends: a write that a crash tore.
    pub(crate) torn: bool,
}

/// A place that does not hold what was durable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) what: String,
}

/// Whether a later segment was begun, which is done only when the one before is complete and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Earlier,
    Last,
}

/// Reads a whole segment file.
///
/// In the last segment the first thing that is no record ends the log: it was not acknowledged, unless a batch behind it proves that
/// it was written durably.
///
/// # Errors
/// [`Damage`], with the first place that is wrong.
pub(crate) fn scan(bytes: &[u8], header: SegmentHeader, standing: Standing) -> Result<Scanned, Damage> {
    let key = header.key();
    let mut commits = Vec::new();
    let mut next = header.first;
    let mut position = start_of_records();
    loop {
        let Some(found) = record::read(key, bytes.get(position..).unwrap_or_default()) else {
            let page = position.next_multiple_of(PAGE);
            let padding = bytes.get(position..page).unwrap_or_default();
            if page > position && padding.len() == page - position && padding.iter().all(|byte| *byte == 0) {
                position = page;
                continue;
            }
            if standing == Standing::Earlier {
                return Err(damage(
                    position,
                    format!(
                        "record {next} should be here or the mark of the segment's end, since a later segment exists"
                    ),
                ));
            }
            if let Some(later) = later_batch(bytes, header, page.max(position + 1), next) {
                return Err(damage(
                    position,
                    format!("record {next} should be here, since a later batch was written at byte {later}"),
                ));
            }
            let torn = bytes.get(position..).unwrap_or_default().iter().any(|byte| *byte != 0);
            return Ok(Scanned { commits, next, torn });
        };
        match found.content {
            Content::Commit {
                tenant,
                salts,
                offset,
                frames,
            } => {
                if found.lsn != next {
                    return Err(damage(
                        position,
                        format!("record {} is here, and {next} was expected", found.lsn),
                    ));
                }
                let end = position + found.length;
                commits.push(Commit {
                    lsn: found.lsn,
                    tenant,
                    salts,
                    offset,
                    frames: end - frames.len()..end,
                });
                next = Lsn::new(next.get().saturating_add(1));
                position = end;
            }
            Content::End => {
                if found.lsn.get().saturating_add(1) != next.get() {
                    return Err(damage(
                        position,
                        format!(
                            "the mark of the segment's end names record {}, and {next} is the next",
                            found.lsn
                        ),
                    ));
                }
                return Ok(Scanned {
                    commits,
                    next,
                    torn: false,
                });
            }
        }
    }
}

/// Where a batch begins behind `from` that has records from `next` on.
fn later_batch(bytes: &[u8], header: SegmentHeader, from: usize, next: Lsn) -> Option<usize> {
    (from.next_multiple_of(PAGE)..bytes.len()).step_by(PAGE).find(|&page| {
        record::read(header.key(), &bytes[page..]).is_some_and(|found| found.begins_batch && found.lsn >= next)
    })
}

fn start_of_records() -> usize {
    usize::try_from(FIRST_RECORD).unwrap_or(PAGE)
}

fn damage(position: usize, what: String) -> Damage {
    Damage {
        offset: position as u64,
        what,
    }
}
