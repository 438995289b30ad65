//! What one write and one sync put on disk.

use crate::folder::Spare;
use crate::lsn::Lsn;
use crate::record::{self, Place, Summed};
use crate::segment::{SegmentHeader, SegmentKey};

/// Batches begin at multiples of this and are padded to it: a page that holds acknowledged records is never written again, and no
/// write needs the old content of a page.
pub(crate) const PAGE: usize = 4096;
/// A batch takes no further record beyond this.
pub(crate) const MOST_BATCH: usize = 4 << 20;

/// Rounds up to whole pages.
pub(crate) const fn whole_pages(position: u64) -> u64 {
    position.next_multiple_of(PAGE as u64)
}

/// Records that are written together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Made first: the segment that the batch begins.
    pub(crate) begins: Option<(SegmentHeader, Spare)>,
    pub(crate) segment: u64,
    pub(crate) key: SegmentKey,
    /// Where in the segment, in bytes.
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// How many commits.
    pub(crate) records: u64,
    /// Bytes of its commits.
    pub(crate) weight: usize,
    pub(crate) last: Lsn,
}

impl Batch {
    /// Where the next record would begin.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    pub(crate) fn push(&mut self, record: &Summed<'_>, lsn: Lsn) {
        record.write(self.place(lsn), &mut self.bytes);
        self.records += 1;
        self.last = lsn;
    }

    pub(crate) fn push_end(&mut self, last: Lsn) {
        record::write_end(self.place(last), &mut self.bytes);
        self.last = last;
    }

    fn place(&self, lsn: Lsn) -> Place {
        Place {
            segment: self.key,
            lsn,
            begins_batch: self.bytes.is_empty(),
        }
    }

    pub(crate) fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(PAGE), 0);
    }
}
