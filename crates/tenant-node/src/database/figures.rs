//! What a tenant's database was measured to use: counters that threads add to and a sampler reads without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::memory::{MemoryAccount, NodeMemory};

/// Counters and latest sizes of one tenant's database. They outlive the closing of the database.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
pub struct DatabaseCounters {
    cpu_micros: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    statements: AtomicU64,
    database_bytes: AtomicU64,
    wal_bytes: AtomicU64,
    free_bytes: AtomicU64,
    memory: Arc<MemoryAccount>,
    connections: AtomicI64,
}

/// The figures at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatabaseFigures {
    /// Bytes of the database file, free pages included, as after the last write.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log, as after the last write.
    pub wal_bytes: u64,
    /// Bytes of free pages inside the database file, as after the last write.
    pub free_bytes: u64,
    /// Bytes that SQLite holds for all connections: page cache, schemas, statements, and what running statements need.
    pub memory_bytes: u64,
    /// CPU time of the tenant's jobs on database threads since the node started, in microseconds, by the threads' CPU clock: its queries, and what is done
    /// for them and after them. Up to sixteen short jobs are put down together.
    pub cpu_micros_total: u64,
    /// Rows that statements returned or that full scans stepped over (the larger of the two), since the node started.
    pub rows_read: u64,
    /// Rows inserted, updated or deleted since the node started, triggers and cascades included.
    pub rows_written: u64,
    /// Statements run since the node started.
    pub statements: u64,
    /// Open connections.
    pub connections: u64,
}

/// Sizes of the files of one database, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSizes {
    pub(super) database_bytes: u64,
    pub(super) wal_bytes: u64,
    pub(super) free_bytes: u64,
}

/// Sizes that the frames of a commit tell, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommittedSizes {
    pub(super) database_bytes: u64,
    pub(super) wal_bytes: u64,
    /// `None` when the commit did not change them.
    pub(super) free_bytes: Option<u64>,
}

impl DatabaseCounters {
    pub(super) fn new(node: Arc<NodeMemory>) -> Self {
        Self {
            cpu_micros: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            rows_written: AtomicU64::new(0),
            statements: AtomicU64::new(0),
            database_bytes: AtomicU64::new(0),
            wal_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            memory: Arc::new(MemoryAccount::new(node)),
            connections: AtomicI64::new(0),
        }
    }

    pub(super) fn add_statement(&self, rows_read: u64, rows_written: u64) {
        self.statements.fetch_add(1, Relaxed);
        self.rows_read.fetch_add(rows_read, Relaxed);
        self.rows_written.fetch_add(rows_written, Relaxed);
    }

    pub(super) fn add_cpu(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.cpu_micros.fetch_add(micros, Relaxed);
    }

    pub(super) fn cpu_micros(&self) -> u64 {
        self.cpu_micros.load(Relaxed)
    }

    pub(super) fn set_sizes(&self, sizes: FileSizes) {
        self.database_bytes.store(sizes.database_bytes, Relaxed);
        self.wal_bytes.store(sizes.wal_bytes, Relaxed);
        self.free_bytes.store(sizes.free_bytes, Relaxed);
    }

    /// The sizes after a commit.
    pub(super) fn committed(&self, sizes: CommittedSizes) {
        self.database_bytes.store(sizes.database_bytes, Relaxed);
        self.wal_bytes.store(sizes.wal_bytes, Relaxed);
        if let Some(free_bytes) = sizes.free_bytes {
            self.free_bytes.store(free_bytes, Relaxed);
        }
    }

    /// Bytes of the write-ahead log's file, as known last.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Relaxed)
    }

    /// The account of SQLite's memory.
    pub(super) const fn memory(&self) -> &Arc<MemoryAccount> {
        &self.memory
    }

    pub(super) fn connection_opened(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// The present values; each is exact, all together are not one cut.
    #[must_use]
    pub fn figures(&self) -> DatabaseFigures {
        DatabaseFigures {
            database_bytes: self.database_bytes.load(Relaxed),
            wal_bytes: self.wal_bytes.load(Relaxed),
            free_bytes: self.free_bytes.load(Relaxed),
            memory_bytes: self.memory.held_bytes(),
            cpu_micros_total: self.cpu_micros.load(Relaxed),
            rows_read: self.rows_read.load(Relaxed),
            rows_written: self.rows_written.load(Relaxed),
            statements: self.statements.load(Relaxed),
            connections: u64::try_from(self.connections.load(Relaxed)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_connections_and_processor_time_add_up() {
        let counters = DatabaseCounters::default();
        counters.connection_opened();
        counters.connection_opened();
        counters.connection_closed();
        counters.add_statement(3, 0);
        counters.add_statement(1, 2);
        counters.add_cpu(Duration::from_micros(5));
        let expected = DatabaseFigures {
            connections: 1,
            statements: 2,
            rows_read: 4,
            rows_written: 2,
            cpu_micros_total: 5,
            ..DatabaseFigures::default()
        };
        assert_eq!(counters.figures(), expected);
    }
}
