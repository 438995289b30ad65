//! How a daemon ends: with a code for whoever started it, and one line for whoever reads its output.

use std::fmt::Display;
use std::process::ExitCode;

/// Success, or the error in one line on standard error, with the whole chain of causes where its alternate form has it.
#[expect(clippy::print_stderr, reason = "logging may not be set up yet")]
pub fn exit_code(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
