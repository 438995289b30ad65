//! What a run prints, and keeps for a file: headings, sentences and Markdown tables.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

/// Prints as it grows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    text: String,
}

impl Report {
    pub(crate) fn heading(&mut self, title: &str) {
        self.say(format_args!("\n## {title}\n"));
    }

    pub(crate) fn say(&mut self, sentence: impl Display) {
        let sentence = sentence.to_string();
        print_line(&sentence);
        self.text.push_str(&sentence);
        self.text.push('\n');
    }

    pub(crate) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(header.to_vec());
        for row in rows {
            table.add_row(row);
        }
        self.say(table);
    }

    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_to(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Progress, which is no part of the report.
#[expect(clippy::print_stderr, reason = "a command-line tool talks on its standard streams")]
pub(crate) fn progress(what: impl Display) {
    eprintln!("  … {what}");
}

#[expect(clippy::print_stdout, reason = "a command-line tool talks on its standard streams")]
fn print_line(line: &str) {
    println!("{line}");
}
