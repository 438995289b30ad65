//! What waits to be written: each record gets its number and its place when it is appended. Pure: no files, no locks.

use std::collections::VecDeque;

use crate::batch::{Batch, MOST_BATCH, PAGE, whole_pages};
use crate::folder::Spare;
use crate::lsn::Lsn;
use crate::record::Summed;
use crate::ring::Ring;
use crate::segment::{FIRST_RECORD, SegmentHeader, SegmentKey};

/// Buffers kept for later batches: one is written while another is filled.
const MOST_BUFFERS: usize = 2;

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    segment_bytes: u64,
    next: Lsn,
    tail: Option<Tail>,
    /// All but the last are complete. The last takes further records until it is taken.
    batches: VecDeque<Batch>,
    /// Of records that are not written, those included that are being written.
    waiting: usize,
    buffers: Vec<Vec<u8>>,
}

/// Where the next record goes.
#[derive(Debug, Clone, Copy)]
struct Tail {
    segment: u64,
    key: SegmentKey,
    offset: u64,
}

impl Queue {
    pub(crate) fn new(segment_bytes: u64, next: Lsn) -> Self {
        Self {
            segment_bytes,
            next,
            tail: None,
            batches: VecDeque::new(),
            waiting: 0,
            buffers: Vec::new(),
        }
    }

    /// The number of the last record that was taken.
    pub(crate) fn last(&self) -> Lsn {
        Lsn::new(self.next.get() - 1)
    }

    /// Bytes that are not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a record; `None` if there is no room for it.
    pub(crate) fn push(&mut self, record: &Summed<'_>, ring: &mut Ring) -> Option<Lsn> {
        let length = record.length();
        if length as u64 > self.segment_bytes / 2 {
            return None;
        }
        let joins = self
            .batches
            .back()
            .is_some_and(|batch| batch.bytes.len() + length <= MOST_BATCH || batch.bytes.is_empty());
        let position = self
            .tail
            .map(|tail| if joins { tail.offset } else { whole_pages(tail.offset) });
        match position {
            // One page stays for the end mark.
            Some(position) if whole_pages(position + length as u64) + PAGE as u64 <= self.segment_bytes => {
                if !joins {
                    self.add_batch(None);
                }
            }
            _ => self.begin_segment(ring)?,
        }
        let lsn = self.next;
        let (Some(batch), Some(tail)) = (self.batches.back_mut(), &mut self.tail) else {
            return None;
        };
        batch.push(record, lsn);
        batch.weight += length;
        tail.offset = batch.end();
        self.waiting += length;
        self.next = Lsn::new(lsn.get() + 1);
        ring.note(record.tenant(), lsn);
        Some(lsn)
    }

    fn begin_segment(&mut self, ring: &mut Ring) -> Option<()> {
        let begins = ring.begin(self.next)?;
        if self.tail.is_some() {
            if self.batches.is_empty() {
                self.add_batch(None);
            }
            let last = self.last();
            if let Some(batch) = self.batches.back_mut() {
                batch.push_end(last);
            }
        }
        self.tail = Some(Tail {
            segment: begins.0.number,
            key: begins.0.key(),
            offset: FIRST_RECORD,
        });
        self.add_batch(Some(begins));
        Some(())
    }

    fn add_batch(&mut self, begins: Option<(SegmentHeader, Spare)>) {
        let Some(tail) = self.tail else { return };
        self.batches.push_back(Batch {
            begins,
            segment: tail.segment,
            key: tail.key,
            offset: whole_pages(tail.offset),
            bytes: self.buffers.pop().unwrap_or_default(),
            records: 0,
            weight: 0,
            last: self.last(),
        });
    }

    /// The next batch to write, padded to whole pages.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let mut batch = self.batches.pop_front()?;
        batch.pad();
        Some(batch)
    }

    /// The batch is written, or given up.
    pub(crate) fn done(&mut self, batch: Batch) {
        self.waiting = self.waiting.saturating_sub(batch.weight);
        let mut buffer = batch.bytes;
        if self.buffers.len() < MOST_BUFFERS && buffer.capacity() <= 2 * MOST_BATCH {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
