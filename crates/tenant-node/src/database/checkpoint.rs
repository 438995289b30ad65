//! When a tenant's write-ahead log is copied back into its database file. Never blocks a reader; the log does not grow without bound.
//!
//! After a commit that leaves a log of [`BACKGROUND_PAGES`] a job of its own copies it back, beside readers and writers. Where writers
//! never pause, that job never comes to the end of the log; from [`IN_TURN_PAGES`] on, the writer does it before it lets the next one in. A
//! reader that holds an old snapshot can keep the log from beginning anew; beyond [`limit_bytes`] writes are refused until it is gone.

use rusqlite::Connection;

use super::storage_limit::PAGE_BYTES;

/// 4 MiB, as SQLite's own automatic checkpoint has it.
const BACKGROUND_PAGES: u32 = 1_000;

/// 16 MiB.
const IN_TURN_PAGES: u32 = 4_000;

/// How much longer the log must be before the next attempt, where readers kept the last one from its end.
pub(super) const RETRY_PAGES: u32 = BACKGROUND_PAGES;

/// What a log may have beside as much as the database itself may have.
const SPARE_BYTES: u64 = 64 << 20;

/// What is to be done after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// By a job of its own.
    InBackground,
    /// By the writer, before the next one.
    InTurn,
}

/// What a log of so many pages needs.
pub(super) const fn due(wal_pages: u32) -> Due {
    match wal_pages {
        IN_TURN_PAGES.. => Due::InTurn,
        BACKGROUND_PAGES.. => Due::InBackground,
        _ => Due::Nothing,
    }
}

/// The longest log of a database with that quota, in bytes: a transaction may write every page of it once.
pub(super) const fn limit_bytes(database_bytes: u64) -> u64 {
    database_bytes.saturating_add(SPARE_BYTES)
}

/// How far a checkpoint came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// The log holds nothing that the database file lacks, and both are synced.
    End,
    /// A reader or another checkpoint was in the way.
    NotTheEnd,
}

/// Copies back what no reader keeps from being copied. Waits for nobody.
pub(super) fn run(connection: &Connection) -> rusqlite::Result<Reached> {
    let row = |row: &rusqlite::Row<'_>| Ok(reached(row.get(0)?, row.get(1)?, row.get(2)?));
    connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], row)
}

/// What SQLite's answer means: whether it was kept from running, pages in the log, pages of these that were copied. Where another
/// connection runs a checkpoint at that moment, the last two are -1.
const fn reached(busy: i64, in_log: i64, copied: i64) -> Reached {
    if busy == 0 && in_log >= 0 && in_log == copied {
        Reached::End
    } else {
        Reached::NotTheEnd
    }
}

/// Bytes of a log of so many pages.
pub(super) const fn bytes(pages: u32) -> u64 {
    // A page has a header of 24 bytes in the log.
    pages as u64 * (PAGE_BYTES + 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_log_is_more_urgent() {
        assert_eq!(due(0), Due::Nothing);
        assert_eq!(due(999), Due::Nothing);
        assert_eq!(due(1_000), Due::InBackground);
        assert_eq!(due(4_000), Due::InTurn);
    }

    #[test]
    fn a_checkpoint_copies_everything_that_no_reader_holds_back() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("db")).unwrap();
        let (writer, reader) = (open(), open());
        writer
            .execute_batch("pragma journal_mode = wal; pragma wal_autocheckpoint = 0; create table t (x); insert into t values (1)")
            .unwrap();
        assert_eq!(run(&writer).unwrap(), Reached::End);
        reader.execute_batch("begin; select * from t").unwrap();
        let mut statement = reader.prepare("select * from t").unwrap();
        let mut rows = statement.query([]).unwrap();
        rows.next().unwrap();
        writer.execute_batch("insert into t values (2)").unwrap();
        assert_eq!(
            run(&writer).unwrap(),
            Reached::NotTheEnd,
            "the reader must go on seeing one row"
        );
        drop(rows);
        drop(statement);
        reader.execute_batch("commit").unwrap();
        assert_eq!(run(&writer).unwrap(), Reached::End);
    }

    #[test]
    fn a_checkpoint_that_did_not_run_has_not_reached_the_end() {
        assert_eq!(reached(0, 0, 0), Reached::End);
        assert_eq!(reached(0, 7, 7), Reached::End);
        assert_eq!(reached(0, 7, 6), Reached::NotTheEnd);
        assert_eq!(reached(1, -1, -1), Reached::NotTheEnd);
        assert_eq!(reached(1, 7, 7), Reached::NotTheEnd);
    }
}
