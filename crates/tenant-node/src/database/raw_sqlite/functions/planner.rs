//! Tells SQLite's planner that a function of ours is LIKE or GLOB, so that it goes on to look prefixes up in an index.
//!
//! SQLite knows this of its own functions by a flag in their definition, for which its interface has no word. The flag is set here, in the
//! definition that the context of a call points to. Where those fields are is known for one build of SQLite alone
//! ([`knows_this_sqlite`]).

use std::ffi::{c_int, c_void};

use rusqlite::ffi;

use crate::database::raw_sqlite::compared_build::knows_this_sqlite;

const FLAG_LIKE: u32 = 0x0004;
const FLAG_CASE: u32 = 0x0008;

/// What the planner takes a function for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Planned {
    Plainly,
    AsPattern {
        /// Those for any characters, for any one, and for the beginning of a set, or zero.
        wildcards: [u8; 3],
        ignores_case: bool,
    },
}

impl Planned {
    /// What SQLite reads at the beginning of a pattern function's data.
    pub(super) const fn data(self) -> [u8; 4] {
        match self {
            Self::Plainly => [0; 4],
            Self::AsPattern {
                wildcards: [all, one, set],
                ignores_case,
            } => [all, one, set, ignores_case as u8],
        }
    }
}

/// The beginning of `struct sqlite3_context`.
#[repr(C)]
struct Context {
    output: *mut c_void,
    definition: *mut Definition,
}

/// The beginning of `struct FuncDef`.
#[repr(C)]
struct Definition {
    arguments: i16,
    flags: u32,
    user_data: *mut c_void,
}

/// Sets what `planned` says in the definition of the function that is being called. To be called before a statement is compiled for which
/// it is to count.
///
/// # Safety
/// The context must be that of a call that goes on, of a function with `count` arguments that was registered under that number, and
/// whose data begins with [`Planned::data`].
pub(super) unsafe fn tell(context: *mut ffi::sqlite3_context, count: c_int, planned: Planned) {
    let Planned::AsPattern { ignores_case, .. } = planned else {
        return;
    };
    if !knows_this_sqlite() {
        return;
    }
    let flags = if ignores_case { FLAG_LIKE } else { FLAG_LIKE | FLAG_CASE };
    // SAFETY: in this build of SQLite the context begins like that and points to the definition that the call goes through, which is this
    // connection's own and lives as long as the connection; only this connection's thread reads or writes it. The planner copies three
    // bytes from the beginning of the data of a function that is so marked.
    unsafe {
        let definition = (*context.cast::<Context>()).definition;
        let is_it =
            i32::from((*definition).arguments) == count && (*definition).user_data == ffi::sqlite3_user_data(context);
        if is_it {
            (*definition).flags |= flags;
        }
    }
}
