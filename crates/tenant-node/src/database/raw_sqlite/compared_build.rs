//! The one build of SQLite whose private structures were compared with what is written here of them. In any other none is touched, and
//! tests fail that tell what to look at.

use std::ffi::CStr;
use std::sync::OnceLock;

use rusqlite::ffi;

/// The source id of the build of which these were compared: `Context` and `Definition` in `functions/planner.rs` with
/// `struct sqlite3_context` and `struct FuncDef`, the flags there with `SQLITE_FUNC_LIKE` and `SQLITE_FUNC_CASE`, and `Handle` in
/// `write_history.rs` with `struct sqlite3`.
const COMPARED: &[u8] = b"2026-10-16 14:45:20 555e07ef33f69a0957d24d8e555b702464a131d6f1607f4c3c1e4551e8e6ca76";

/// Whether this is the build that was compared.
pub(in crate::database) fn knows_this_sqlite() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        // SAFETY: returns a constant of the library that ends with a NUL.
        let source = unsafe { CStr::from_ptr(ffi::sqlite3_sourceid()) };
        source.to_bytes() == COMPARED
    })
}
