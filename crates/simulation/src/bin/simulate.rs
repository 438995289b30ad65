//! Runs seeds one after the other and stops at the first violation.
#![expect(clippy::print_stdout, reason = "a command-line tool talks on its standard streams")]

use anyhow::Context as _;
use clap::Parser;
use simulation::control_plane::{Plan, Report, run};

/// Simulates clusters of control-plane members, one per seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 30)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many members a cluster has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    members: u64,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        seeds,
        seed: first,
        members,
    } = Arguments::parse();
    let plan = Plan {
        members,
        ..Plan::default()
    };
    let mut total = Report::default();
    for seed in first..first.saturating_add(seeds) {
        let again = || format!("to see it again: cargo xtask simulate --seeds 1 --seed {seed} --members {members}");
        let report = run(seed, &plan).with_context(again)?;
        println!("seed {seed}: trace {:016x}", report.trace);
        total.add(&report);
    }
    println!("{seeds} seeds without a violation");
    print!("{total}");
    Ok(())
}
