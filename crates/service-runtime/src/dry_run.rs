//! `--check-config` and `--print-config`: what a daemon says of its options instead of running.
//!
//! Neither opens a socket nor makes a folder. The options themselves are the daemon's.

use std::io;

use serde::Serialize;

use crate::config::{ConfigError, to_toml};
use crate::options::InvalidOption;

/// Whether the options are only to be looked at. Flattened into a daemon's command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DryRun {
    /// Check the options and the files that they name, and end: with 0 if the daemon could be started with them. Opens no
    /// socket, makes no folder.
    #[arg(long, conflicts_with = "print_config")]
    check_config: bool,
    /// Print the options that are in effect, defaults among them, as a configuration file that says the same; then check
    /// them and end, as with --check-config.
    #[arg(long)]
    print_config: bool,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// An option cannot be used.
    #[error(transparent)]
    Invalid(#[from] InvalidOption),
    /// A value cannot be printed.
    #[error(transparent)]
    Inexpressible(#[from] ConfigError),
    /// Nobody takes the answer.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

impl DryRun {
    /// Whether the daemon is to end after its answer.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.check_config || self.print_config
    }

    /// Answers on standard output. `effective` are the options with their defaults, `checked` is what their check found.
    ///
    /// # Errors
    /// When an option cannot be used; what is in effect has been printed even so, if it was asked for.
    pub fn answer<T: Serialize, C>(
        &self,
        effective: &T,
        checked: impl FnOnce() -> Result<C, InvalidOption>,
    ) -> Result<(), DryRunError> {
        self.write_answer(&mut io::stdout().lock(), effective, checked)
    }

    fn write_answer<T: Serialize, C>(
        &self,
        output: &mut impl io::Write,
        effective: &T,
        checked: impl FnOnce() -> Result<C, InvalidOption>,
    ) -> Result<(), DryRunError> {
        if self.print_config {
            output.write_all(to_toml(effective)?.as_bytes())?;
            output.flush()?;
        }
        checked()?;
        if self.check_config {
            writeln!(output, "configuration is valid")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Options {
        ticks: Option<u64>,
        zone: Option<String>,
    }

    fn answer(check_config: bool, print_config: bool, checked: Result<(), InvalidOption>) -> (String, Option<String>) {
        let mut output = Vec::new();
        let asked = DryRun {
            check_config,
            print_config,
        };
        let options = Options {
            ticks: Some(5),
            zone: None,
        };
        let error = asked.write_answer(&mut output, &options, || checked).err();
        (
            String::from_utf8(output).unwrap(),
            error.map(|error| format!("{error:#}")),
        )
    }

    #[test]
    fn a_check_says_that_all_is_valid_or_fails_with_the_options_name() {
        assert_eq!(
            answer(true, false, Ok(())),
            ("configuration is valid\n".to_owned(), None)
        );
        let zero = InvalidOption::new("ticks", "must be at least 1");
        assert_eq!(
            answer(true, false, Err(zero)),
            (String::new(), Some("ticks: must be at least 1".to_owned()))
        );
    }

    #[test]
    fn what_is_in_effect_is_printed_even_when_it_cannot_be_used() {
        assert_eq!(answer(false, true, Ok(())), ("ticks = 5\n".to_owned(), None));
        let zone = InvalidOption::missing("zone");
        let (printed, error) = answer(false, true, Err(zone));
        assert_eq!(printed, "ticks = 5\n");
        assert!(error.unwrap().starts_with("zone: "));
    }
}
