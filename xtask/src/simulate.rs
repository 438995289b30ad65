//! `cargo xtask simulate`.

use anyhow::{Context, Result, ensure};

use crate::workspace::cargo;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds to run: 30 unless told, or as many as the minutes allow; with mutants 2,000 for each at most.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long to begin new seeds.
    #[arg(long)]
    minutes: Option<f64>,
    /// How many members a cluster has, 1 to 9.
    #[arg(long, default_value_t = 3)]
    members: u64,
    /// How many lines to show of what happened before a violation.
    #[arg(long, default_value_t = 60)]
    lines: usize,
    /// Put known bugs back, one after the other, and count the seeds until each is caught.
    #[arg(long)]
    mutants: bool,
    /// Only these bugs, by name.
    #[arg(long, requires = "mutants")]
    only: Vec<String>,
}

/// Runs seeded clusters, which say themselves what they found.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--package", "simulation", "--bin", "simulate"]);
    if arguments.mutants {
        command.args(["--features", "mutants"]);
    }
    command.args(["--", &format!("--seed={}", arguments.seed)]);
    command.args([
        format!("--members={}", arguments.members),
        format!("--lines={}", arguments.lines),
    ]);
    command.args(arguments.seeds.map(|seeds| format!("--seeds={seeds}")));
    command.args(arguments.minutes.map(|minutes| format!("--minutes={minutes}")));
    command.args(arguments.mutants.then_some("--mutants"));
    command.args(arguments.only.iter().map(|mutant| format!("--only={mutant}")));
    let status = command.status().context("cannot run the simulation")?;
    ensure!(status.success(), "the simulation failed");
    Ok(())
}
