//! What a connection remembers of its writes. A stream takes it along from one connection to the next, and out of a group.
//!
//! SQLite's interface sets the row id; the counts of changes it only tells. They are set here, in the connection itself. Where those fields
//! are is known for one build of SQLite alone ([`knows_this_sqlite`]).
//!
//! Functions of ours in the place of `changes()` and `total_changes()` would not do. What `changes()` answers inside of a trigger depends on
//! whether a statement of the trigger has ended, and nobody but SQLite knows that.

use std::ffi::{c_int, c_uint, c_void};

use rusqlite::{Connection, ffi};

use super::compared_build::knows_this_sqlite;

/// What `last_insert_rowid()`, `changes()` and `total_changes()` answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteHistory {
    /// The row id of the last insert.
    pub last_insert_rowid: i64,
    /// Rows that the last INSERT, UPDATE or DELETE changed directly.
    pub changes: u64,
    /// Rows that all of them changed, triggers included.
    pub total_changes: u64,
}

/// The beginning of `struct sqlite3`. What is nobody's concern here stands together by its type.
#[repr(C)]
struct Handle {
    pointers: [*mut c_void; 5],
    databases: c_int,
    schema_flags: u32,
    flags: u64,
    last_insert_rowid: i64,
    mmap_bytes: i64,
    schema_locks: u32,
    open_flags: c_uint,
    errors: [c_int; 4],
    optimizations: u32,
    bytes: [u8; 15],
    next_page_bytes: c_int,
    /// Signed in SQLite, and never negative.
    changes: u64,
    total_changes: u64,
}

impl WriteHistory {
    /// That of the connection.
    pub(in crate::database) fn of(connection: &Connection) -> Self {
        Self {
            last_insert_rowid: connection.last_insert_rowid(),
            changes: connection.changes(),
            total_changes: connection.total_changes(),
        }
    }

    /// Makes it that of the connection, of which no statement is under way.
    pub(in crate::database) fn restore(self, connection: &Connection) {
        let replaced = Self::of(connection);
        if replaced == self {
            return;
        }
        // SAFETY: the handle is open while `connection` is borrowed, and `Connection` is not `Sync`.
        let handle = unsafe {
            ffi::sqlite3_set_last_insert_rowid(connection.handle(), self.last_insert_rowid);
            connection.handle()
        };
        if !knows_this_sqlite() {
            return;
        }
        let handle = handle.cast::<Handle>();
        // SAFETY: in this build of SQLite a connection begins like that, and only this thread reads or writes it while `connection` is
        // borrowed.
        unsafe {
            let is_it = (*handle).last_insert_rowid == self.last_insert_rowid
                && (*handle).changes == replaced.changes
                && (*handle).total_changes == replaced.total_changes;
            if is_it {
                (*handle).changes = self.changes;
                (*handle).total_changes = self.total_changes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_on_with_the_history_that_it_is_given() {
        assert!(
            knows_this_sqlite(),
            "SQLite is another one: compare the structures that raw_sqlite/compared_build.rs names with it, then its source id"
        );
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table t (x); insert into t values (1), (2), (3)")
            .unwrap();
        for (last_insert_rowid, changes, total_changes) in [(42, 7, 1 << 40), (-1, 0, 0), (3, 3, 3)] {
            let history = WriteHistory {
                last_insert_rowid,
                changes,
                total_changes,
            };
            history.restore(&connection);
            assert_eq!(WriteHistory::of(&connection), history);
            let asked = "select last_insert_rowid(), changes(), total_changes()";
            let answered = connection.query_row(asked, [], |row| {
                Ok(WriteHistory {
                    last_insert_rowid: row.get(0)?,
                    changes: row.get::<_, i64>(1)?.cast_unsigned(),
                    total_changes: row.get::<_, i64>(2)?.cast_unsigned(),
                })
            });
            assert_eq!(answered, Ok(history));
            connection.execute_batch("update t set x = 0 where x < 3").unwrap();
            let after = WriteHistory::of(&connection);
            assert_eq!((after.changes, after.total_changes), (2, total_changes + 2));
        }
        let count: i64 = connection
            .query_row("select count(*) from t where x = 0", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 2, "it works as before");
    }
}
