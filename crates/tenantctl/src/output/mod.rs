//! What is printed: tables for people, JSON for programs. Neither asks anything.

pub(crate) mod explained_quota;
pub(crate) mod json;
pub(crate) mod protocol_names;
pub(crate) mod snapshot;
pub(crate) mod table;
mod units;

#[cfg(test)]
mod golden;

use std::io::{self, Write as _};

use serde::Serialize;

use crate::arguments::Format;
use crate::failure::Failure;

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
