//! What a tenant's database was measured to use: counters that threads add to and a sampler reads without waiting.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counters and latest sizes of one tenant's database. They outlive the closing of the database.
#[derive(Debug, Default)]
pub struct DatabaseCounters {
    cpu_micros: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    statements: AtomicU64,
    database_bytes: AtomicU64,
    wal_bytes: AtomicU64,
    free_bytes: AtomicU64,
    memory_bytes: AtomicI64,
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
    /// Bytes of page cache, schemas and statements of all connections.
    pub memory_bytes: u64,
    /// CPU time of queries since the node started, in microseconds, by the threads' CPU clock.
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

impl DatabaseCounters {
    pub(super) fn add_statement(&self, rows_read: u64, rows_written: u64) {
        self.statements.fetch_add(1, Relaxed);
        self.rows_read.fetch_add(rows_read, Relaxed);
        self.rows_written.fetch_add(rows_written, Relaxed);
    }

    pub(super) fn add_cpu(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.cpu_micros.fetch_add(micros, Relaxed);
    }

    pub(super) fn set_sizes(&self, sizes: FileSizes) {
        self.database_bytes.store(sizes.database_bytes, Relaxed);
        self.wal_bytes.store(sizes.wal_bytes, Relaxed);
        self.free_bytes.store(sizes.free_bytes, Relaxed);
    }

    /// Replaces one connection's share of the memory.
    pub(super) fn change_memory(&self, before: i64, after: i64) {
        self.memory_bytes.fetch_add(after.saturating_sub(before), Relaxed);
    }

    pub(super) fn connection_opened(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn connection_closed(&self, memory: i64) {
        self.connections.fetch_sub(1, Relaxed);
        self.change_memory(memory, 0);
    }

    /// The present values; each is exact, all together are not one cut.
    #[must_use]
    pub fn figures(&self) -> DatabaseFigures {
        DatabaseFigures {
            database_bytes: self.database_bytes.load(Relaxed),
            wal_bytes: self.wal_bytes.load(Relaxed),
            free_bytes: self.free_bytes.load(Relaxed),
            memory_bytes: u64::try_from(self.memory_bytes.load(Relaxed)).unwrap_or(0),
            cpu_micros_total: self.cpu_micros.load(Relaxed),
            rows_read: self.rows_read.load(Relaxed),
            rows_written: self.rows_written.load(Relaxed),
            statements: self.statements.load(Relaxed),
            connections: u64::try_from(self.connections.load(Relaxed)).unwrap_or(0),
        }
    }
}

/// CPU time that the calling thread has used so far.
pub(super) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_sum_over_connections() {
        let counters = DatabaseCounters::default();
        counters.connection_opened();
        counters.connection_opened();
        counters.change_memory(0, 100);
        counters.change_memory(0, 50);
        counters.change_memory(100, 70);
        assert_eq!(counters.figures().memory_bytes, 120);
        counters.connection_closed(70);
        counters.connection_closed(50);
        let figures = counters.figures();
        assert_eq!((figures.memory_bytes, figures.connections), (0, 0));
    }
}
