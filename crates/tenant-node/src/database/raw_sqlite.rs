//! The functions of SQLite's C interface that rusqlite does not wrap. The only unsafe code of this crate: two calls, each
//! with a connection that is borrowed for its whole length.
#![expect(
    unsafe_code,
    reason = "sqlite3_db_status and sqlite3_set_last_insert_rowid have no safe wrapper in rusqlite"
)]

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// Bytes that one connection holds: page cache, schema, prepared statements.
pub(super) fn memory_bytes(connection: &Connection) -> i64 {
    [
        ffi::SQLITE_DBSTATUS_CACHE_USED,
        ffi::SQLITE_DBSTATUS_SCHEMA_USED,
        ffi::SQLITE_DBSTATUS_STMT_USED,
    ]
    .into_iter()
    .map(|figure| status(connection, figure))
    .sum()
}

fn status(connection: &Connection, figure: c_int) -> i64 {
    let mut current: c_int = 0;
    let mut highest: c_int = 0;
    // SAFETY: the handle is open while `connection` is borrowed, `Connection` is not `Sync`, so no other thread uses it,
    // and both pointers lead to live integers.
    let code = unsafe { ffi::sqlite3_db_status(connection.handle(), figure, &raw mut current, &raw mut highest, 0) };
    if code == ffi::SQLITE_OK { i64::from(current) } else { 0 }
}

/// Sets what `last_insert_rowid()` answers until the next insert.
pub(super) fn set_last_insert_rowid(connection: &Connection, rowid: i64) {
    // SAFETY: the handle is open while `connection` is borrowed, and `Connection` is not `Sync`.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), rowid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_use_and_the_rowid_can_be_set() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table t(x); insert into t values (zeroblob(100000))")
            .unwrap();
        assert!(memory_bytes(&connection) > 100_000);
        set_last_insert_rowid(&connection, 42);
        assert_eq!(connection.last_insert_rowid(), 42);
    }
}
