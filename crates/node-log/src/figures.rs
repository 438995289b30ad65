//! What the log tells about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the log tells about itself. Totals are since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NodeLogFigures {
    /// Records that became durable.
    pub records: u64,
    /// Bytes written into segments, padding included.
    pub bytes: u64,
    /// Writes with an fdatasync each.
    pub syncs: u64,
    /// What these took together.
    pub sync_time: Duration,
    /// Records that were refused because there was no room.
    pub refused: u64,
    /// WAL files that the keeper synced to free a segment.
    pub wals_synced: u64,
    /// Segments that were freed.
    pub segments_freed: u64,
    /// Bytes that wait or are being written now.
    pub queued_bytes: usize,
    /// Segments that hold what is needed now.
    pub live_segments: usize,
    /// Files that the next segments can be made of now.
    pub free_segments: usize,
    /// Whether the log takes no record now: the disk failed, it was stopped, or its last attempt found no room.
    pub unavailable: bool,
}

/// Counted while the log runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    sync_nanos: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) wals_synced: AtomicU64,
    pub(crate) segments_freed: AtomicU64,
}

impl Counters {
    pub(crate) fn synced(&self, records: u64, bytes: usize, took: Duration) {
        add(&self.records, records);
        add(&self.bytes, bytes as u64);
        add(&self.syncs, 1);
        add(&self.sync_nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The totals; what is true now is left at its default.
    pub(crate) fn totals(&self) -> NodeLogFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NodeLogFigures {
            records: read(&self.records),
            bytes: read(&self.bytes),
            syncs: read(&self.syncs),
            sync_time: Duration::from_nanos(read(&self.sync_nanos)),
            refused: read(&self.refused),
            wals_synced: read(&self.wals_synced),
            segments_freed: read(&self.segments_freed),
            ..NodeLogFigures::default()
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
