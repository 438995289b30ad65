//! What is printed: tables for people, JSON for programs. Neither asks anything.

pub(crate) mod events;
pub(crate) mod explained_quota;
pub(crate) mod json;
pub(crate) mod protocol_names;
pub(crate) mod snapshot;
pub(crate) mod table;
pub(crate) mod top;
mod units;
pub(crate) mod webhooks;

#[cfg(test)]
mod golden;

use std::io::{self, Write as _};

use serde::Serialize;

use crate::arguments::Format;
use crate::failure::Failure;

/// Where the next of many rounds goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a terminal: over the one before.
    Same,
    /// After the one before.
    Next,
}

/// Writes to stdout in the chosen format.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
}

impl Printer {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// One answer: indented JSON, or the text.
    pub(crate) fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => text(),
            Format::Json => serde_json::to_string_pretty(value).map_err(io::Error::from)?,
        };
        Ok(writeln!(io::stdout().lock(), "{}", text.trim_end())?)
    }

    /// One of many rounds of the same answer: JSON a line each, tables with a line between them or in the same place.
    pub(crate) fn print_round(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
        place: Place,
    ) -> Result<(), Failure> {
        match (self.format, place) {
            (Format::Json, _) | (Format::Table, Place::Next) => self.print_line(value, text),
            (Format::Table, Place::Same) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(redrawn(&text()).as_bytes())?;
                Ok(stdout.flush()?)
            }
        }
    }

    /// One of many answers: a line each, written at once.
    pub(crate) fn print_line(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = match self.format {
            Format::Table => text(),
            Format::Json => serde_json::to_string(value).map_err(io::Error::from)?,
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        Ok(stdout.flush()?)
    }
}

/// `text` from the upper left corner of a terminal on: each line clears what it does not cover, and the last what is below.
/// A cleared screen first would flicker.
fn redrawn(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_covers_all_of_the_longer_one_before() {
        assert_eq!(redrawn("a\nbc\n"), "\x1b[Ha\x1b[K\nbc\x1b[K\n\x1b[J");
    }
}
