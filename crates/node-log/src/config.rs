//! What the operator decides about the log.

use std::path::PathBuf;

use crate::batch::PAGE;
use crate::error::OpenError;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Below this a segment could not hold a record of half its size beside its header and its end mark.
const FEWEST_SEGMENT_BYTES: u64 = 64 * KIB;
/// A segment is read whole when the log is opened.
const MOST_SEGMENT_BYTES: u64 = 1 << 30;

/// What the operator decides about the log.
#[derive(Debug, Clone)]
pub struct NodeLogConfig {
    /// The log's own folder; made if it is missing.
    pub folder: PathBuf,
    /// The size of a segment file in bytes: a multiple of 4 KiB from 64 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// How much disk all segments may take, in bytes: at least two segments.
    pub most_bytes: u64,
    /// How many bytes may wait to be written before [`crate::NodeLog::append`] blocks.
    pub queue_bytes: usize,
    /// No further segment is made if less disk than this, in bytes, would then be free.
    pub keep_free_bytes: u64,
}

impl NodeLogConfig {
    /// 16 MiB a segment, 256 MiB in all, 16 MiB waiting, 64 MiB of disk kept free.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            segment_bytes: 16 * MIB,
            most_bytes: 256 * MIB,
            queue_bytes: 16 << 20,
            keep_free_bytes: 64 * MIB,
        }
    }

    /// How many segments there may be.
    pub(crate) fn most_segments(&self) -> usize {
        usize::try_from(self.most_bytes / self.segment_bytes).unwrap_or(usize::MAX)
    }

    /// # Errors
    /// [`OpenError::Config`] with the rule that is broken.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let rule = if !self.segment_bytes.is_multiple_of(PAGE as u64) {
            "the size of a segment is a multiple of 4 KiB"
        } else if !(FEWEST_SEGMENT_BYTES..=MOST_SEGMENT_BYTES).contains(&self.segment_bytes) {
            "a segment has 64 KiB to 1 GiB"
        } else if self.most_bytes / self.segment_bytes < 2 {
            "there is room for two segments at least"
        } else if self.queue_bytes == 0 {
            "at least one byte may wait"
        } else {
            return Ok(());
        };
        Err(OpenError::Config(rule))
    }
}
