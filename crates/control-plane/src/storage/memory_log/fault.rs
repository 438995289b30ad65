//! What a disk is asked to do, and what can become of it.

/// What the disk is asked to do. A store asks once for each of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOperation {
    /// Read everything back.
    Read,
    /// Write a batch and sync it.
    Write {
        /// Size of the batch.
        bytes: u64,
    },
    /// Write everything anew and sync it, as opening does.
    Rewrite {
        /// Size of all.
        bytes: u64,
    },
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskFault {
    /// It works.
    #[default]
    None,
    /// The disk is full: a write is refused before anything is written. Reading works.
    Full,
    /// A write is answered by an error before anything is written. Reading works.
    WriteFails,
    /// The data is written, but not synced: an error. It can be read back until the power is cut, and a later sync of
    /// the same file does not cover it. Reading works.
    SyncFails,
    /// The data is written and synced, and then answered by an error all the same. Reading works.
    AnswerLost,
    /// Success is reported, but nothing survives a crash. What a store must never build on. Reading works.
    SyncLies,
    /// Reading is answered by an error. Writing works.
    ReadFails,
}

/// A write that was never covered by a successful sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsyncedWrite {
    /// No sync was tried after it. Such writes survive from the oldest on: where one is lost, so are those after it.
    Dirty,
    /// A sync failed: whether it is on the disk is open, whatever was synced since.
    Doubtful,
}
