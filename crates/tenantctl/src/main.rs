//! `tenantctl`, the operators' command line. It asks the control plane and prints; it decides nothing itself.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the control plane is unavailable, 4 the outcome is unknown.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod environment;
mod failure;
mod output;
mod resource_name;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::failure::Failure;

fn main() -> ExitCode {
    let outcome = environment::check(std::env::vars_os().map(|(key, _)| key)).and_then(|()| {
        let arguments = Arguments::parse();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::Output)?;
        runtime.block_on(commands::run(arguments))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut std::io::stderr()),
    }
}
