//! The functions of SQLite's C interface that rusqlite does not wrap, the allocator that SQLite is given, and SQL functions. The only
//! unsafe code of this crate beside one system call in `thread_slices.rs`: what a connection remembers of its writes, in `write_history`; an
//! allocator that counts and otherwise hands everything to the one that SQLite would have used; what is between SQLite and a SQL function of
//! ours, in `functions`; and a layer between SQLite and its files that sees commits, in `wal_vfs`.
#![expect(
    unsafe_code,
    reason = "sqlite3_config and sqlite3_set_last_insert_rowid have no safe wrapper in rusqlite, the counts of changes no setter in SQLite, the wrapper of functions panics without memory, and a file layer is nothing but C functions"
)]

pub(super) mod compared_build;
pub(super) mod functions;
pub(super) mod wal_vfs;
pub(super) mod write_history;

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

use super::memory;

/// SQLite's own allocator.
static SYSTEM: OnceLock<Methods> = OnceLock::new();

#[derive(Clone, Copy)]
struct Methods {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

/// Makes SQLite ask [`memory`] before it takes memory. Must come before the first connection of the process; whether it did. Further
/// calls change nothing and give the same answer.
pub(super) fn count_memory() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(install)
}

fn install() -> bool {
    // SAFETY: all fields are pointers or options of functions, for which zero is null or none.
    let mut methods: ffi::sqlite3_mem_methods = unsafe { std::mem::zeroed() };
    // SAFETY: this option takes one pointer to the methods, which SQLite fills in.
    if unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) } != ffi::SQLITE_OK {
        return false;
    }
    let (Some(malloc), Some(free), Some(realloc), Some(size)) =
        (methods.xMalloc, methods.xFree, methods.xRealloc, methods.xSize)
    else {
        return false;
    };
    let system = Methods {
        malloc,
        free,
        realloc,
        size,
    };
    if SYSTEM.set(system).is_err() {
        return false;
    }
    // What it would count is counted here, and it would have all threads wait for each other with each allocation.
    // SAFETY: this option takes one number; SQLite is not initialized yet, or refuses.
    if unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) } != ffi::SQLITE_OK {
        return false;
    }
    methods.xMalloc = Some(counted_malloc);
    methods.xFree = Some(counted_free);
    methods.xRealloc = Some(counted_realloc);
    // SAFETY: this option takes one pointer to the methods, which SQLite copies. They keep the contract of the ones they wrap. SQLite
    // refuses the call once it is initialized, so no memory of the other allocator is around.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) == ffi::SQLITE_OK }
}

unsafe extern "C" fn counted_malloc(bytes: c_int) -> *mut c_void {
    let Some(system) = SYSTEM.get() else {
        return std::ptr::null_mut();
    };
    if !memory::take(i64::from(bytes)) {
        return std::ptr::null_mut();
    }
    // SAFETY: SQLite's own argument for its own function.
    let allocated = unsafe { (system.malloc)(bytes) };
    if allocated.is_null() {
        memory::give(i64::from(bytes));
    } else {
        // SAFETY: it was allocated a moment ago.
        let size = unsafe { (system.size)(allocated) };
        memory::give(i64::from(bytes) - i64::from(size));
    }
    allocated
}

unsafe extern "C" fn counted_free(allocated: *mut c_void) {
    let Some(system) = SYSTEM.get() else { return };
    // SAFETY: SQLite frees what it was given by `counted_malloc` or `counted_realloc`, once, and never null.
    unsafe {
        memory::give(i64::from((system.size)(allocated)));
        (system.free)(allocated);
    }
}

unsafe extern "C" fn counted_realloc(allocated: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(system) = SYSTEM.get() else {
        return std::ptr::null_mut();
    };
    // SAFETY: as for `counted_free`; SQLite never passes null here.
    let before = i64::from(unsafe { (system.size)(allocated) });
    let growth = (i64::from(bytes) - before).max(0);
    if !memory::take(growth) {
        return std::ptr::null_mut();
    }
    // SAFETY: SQLite's own arguments for its own function.
    let moved = unsafe { (system.realloc)(allocated, bytes) };
    if moved.is_null() {
        memory::give(growth);
    } else {
        // SAFETY: it was allocated a moment ago.
        let size = i64::from(unsafe { (system.size)(moved) });
        memory::give(growth - (size - before));
    }
    moved
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::Connection;

    use super::*;
    use crate::database::memory::MemoryAccount;

    #[test]
    fn what_sqlite_holds_is_counted_and_limited_and_nothing_is_left_when_it_is_closed() {
        if !count_memory() {
            // Only where tests share a process and another one was faster.
            return;
        }
        let account = Arc::new(MemoryAccount::default());
        {
            let _entered = account.enter();
            let connection = Connection::open_in_memory().unwrap();
            connection
                .execute_batch(
                    "pragma temp_store = memory; create table t(x); insert into t values (zeroblob(1000000))",
                )
                .unwrap();
            assert!(account.held_bytes() > 1_000_000, "{account:?}");
            account.set_limit(6 << 20);
            let error = connection
                .query_row(
                    "with recursive c(x) as (select 1 union all select x + 1 from c limit 20000) \
                     select x from c order by hex(x) || zeroblob(1000)",
                    [],
                    |_| Ok(()),
                )
                .unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OutOfMemory));
            connection.execute_batch("select 1").unwrap();
        }
        assert!(account.held_bytes() < 10_000, "{account:?}");
    }
}
