//! `cargo xtask simulate`.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::cargo;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
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

/// What can be simulated beside clusters.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Hold the quota engine against an exact count of every request, through crashes, clock jumps and changes of limits.
    Quota(QuotaArguments),
    /// Hold conditions of tenants against the truth, through crashes of nodes and of the control plane.
    Events(EventsArguments),
}

#[derive(Debug, clap::Args)]
struct EventsArguments {
    /// How many seeds to run: 40 unless told.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many steps each seed makes: 400 unless told.
    #[arg(long)]
    steps: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct QuotaArguments {
    /// How many seeds to run: 24 unless told, over ten million requests; with mutants 40 for each at most.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many requests each seed makes: half a million unless told.
    #[arg(long)]
    requests: Option<u64>,
    /// How many of the last steps to show before a violation.
    #[arg(long)]
    lines: Option<usize>,
    /// Put known bugs back, one after the other, and say which seed catches each.
    #[arg(long)]
    mutants: bool,
}

/// Runs seeded simulations, which say themselves what they found.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut command = match &arguments.other {
        None => clusters(arguments),
        Some(Other::Quota(arguments)) => quota(arguments),
        Some(Other::Events(arguments)) => events(arguments),
    };
    let status = command.status().context("cannot run the simulation")?;
    ensure!(status.success(), "the simulation failed");
    Ok(())
}

fn clusters(arguments: &Arguments) -> Command {
    let mut command = program("simulate", arguments.mutants);
    command.arg(format!("--seed={}", arguments.seed));
    command.args([
        format!("--members={}", arguments.members),
        format!("--lines={}", arguments.lines),
    ]);
    command.args(arguments.seeds.map(|seeds| format!("--seeds={seeds}")));
    command.args(arguments.minutes.map(|minutes| format!("--minutes={minutes}")));
    command.args(arguments.mutants.then_some("--mutants"));
    command.args(arguments.only.iter().map(|mutant| format!("--only={mutant}")));
    command
}

fn quota(arguments: &QuotaArguments) -> Command {
    let mut command = program("simulate_quota", arguments.mutants);
    command.arg(format!("--seed={}", arguments.seed));
    command.args(arguments.seeds.map(|seeds| format!("--seeds={seeds}")));
    command.args(arguments.requests.map(|requests| format!("--requests={requests}")));
    command.args(arguments.lines.map(|lines| format!("--lines={lines}")));
    command.args(arguments.mutants.then_some("--mutants"));
    command
}

fn events(arguments: &EventsArguments) -> Command {
    let mut command = program("simulate_events", false);
    command.arg(format!("--seed={}", arguments.seed));
    command.args(arguments.seeds.map(|seeds| format!("--seeds={seeds}")));
    command.args(arguments.steps.map(|steps| format!("--steps={steps}")));
    command
}

/// One of the simulation's programs, with or without the bugs in it; its options follow.
fn program(name: &str, mutants: bool) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "simulation", "--bin", name]);
    if mutants {
        command.args(["--features", "mutants"]);
    }
    command.arg("--");
    command
}
