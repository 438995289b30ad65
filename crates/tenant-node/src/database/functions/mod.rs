//! SQL functions that take the place of SQLite's own of the same name: equal results, in time that grows with the length of their
//! arguments, and with pauses.
//!
//! SQLite asks whether a statement may go on between the instructions of its virtual machine, and a function is one instruction. Its
//! own versions of these compare every place of one argument with all of another, so that one call on megabytes runs for minutes.
//!
//! They must not differ from SQLite's in any value, type or error: indexes, generated columns and CHECKs were made with either. They must not
//! panic, nor take much memory that is on nobody's account, nor loop for long without [`Pause`].

mod instr;
mod pause;
mod replace;
mod search;
mod trim;
mod unhex;
mod utf8;

#[cfg(test)]
mod tests;

use rusqlite::Connection;

use pause::Pause;
pub(super) use pause::ShouldStop;

use self::trim::Ends;
use super::raw_sqlite::functions::register;

/// Puts them in place. `should_stop` is asked from inside of long calls.
pub(super) fn install(connection: &Connection, should_stop: &ShouldStop) -> rusqlite::Result<()> {
    let pause = || Pause::new(should_stop.clone());
    register(connection, c"instr", 2, instr::Instr(pause()))?;
    register(connection, c"replace", 3, replace::Replace(pause()))?;
    // Those of one argument take away blanks alone, and are fast.
    register(connection, c"trim", 2, trim::Trim(Ends::Both, pause()))?;
    register(connection, c"ltrim", 2, trim::Trim(Ends::Left, pause()))?;
    register(connection, c"rtrim", 2, trim::Trim(Ends::Right, pause()))?;
    register(connection, c"unhex", 2, unhex::Unhex(pause()))
}
