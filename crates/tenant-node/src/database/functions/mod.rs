//! SQL functions that take the place of SQLite's own of the same name: equal results, in time that grows with the length of their
//! arguments, and with pauses.
//!
//! SQLite asks whether a statement may go on between the instructions of its virtual machine, and a function is one instruction. Its
//! own versions of these compare every place of one argument with all of another, so that one call on megabytes runs for minutes.
//!
//! They must not differ from SQLite's in any value, type or error: indexes, generated columns and CHECKs were made with either. They must not
//! panic, nor take much memory that is on nobody's account, nor loop for long without [`Pause`].

mod instr;
mod pattern;
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

use self::pattern::Pattern;
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
    register(connection, c"unhex", 2, unhex::Unhex(pause()))?;
    register(connection, c"glob", 2, Pattern::glob(pause()))?;
    install_like(connection, should_stop, Case::Ignored)
}

/// What LIKE does with the letters of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Ignored,
    Sensitive,
}

/// `PRAGMA case_sensitive_like` puts SQLite's own LIKE in place. To be called when no statement of the connection is under way.
pub(super) fn reinstall_like(connection: &Connection, should_stop: &ShouldStop) -> rusqlite::Result<()> {
    let ignored = connection.query_row("SELECT 'a' LIKE 'A'", [], |row| row.get(0))?;
    let case = if ignored { Case::Ignored } else { Case::Sensitive };
    install_like(connection, should_stop, case)
}

fn install_like(connection: &Connection, should_stop: &ShouldStop, case: Case) -> rusqlite::Result<()> {
    for arguments in [2, 3] {
        let pause = Pause::new(should_stop.clone());
        register(
            connection,
            c"like",
            arguments,
            Pattern::like(case == Case::Sensitive, pause),
        )?;
    }
    // The planner learns what they are by their first call.
    connection.query_row("SELECT 'a' LIKE 'b', 'a' LIKE 'b' ESCAPE 'c', 'a' GLOB 'b'", [], |_| {
        Ok(())
    })
}
