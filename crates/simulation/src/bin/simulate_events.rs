//! Holds conditions against the truth, through crashes of nodes and of the control plane, seed by seed on all cores, and stops at
//! the first violation.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

use std::process::ExitCode;

use clap::Parser;
use simulation::campaign::{Seeds, run_seeds};
use simulation::events::{Plan, run};

/// From so many steps on, a fault that never hits is a fault of the model.
const ENOUGH_STEPS: u64 = 4_000;

/// Runs the real detectors, outbox and state, and breaks everything between them.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 40)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many steps each seed makes.
    #[arg(long, default_value_t = Plan::default().steps)]
    steps: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan { steps: arguments.steps };
    let seeds = Seeds {
        first: arguments.seed,
        count: arguments.seeds,
        time: None,
    };
    let campaign = run_seeds(seeds, |seed| run(seed, &plan), || {});
    let total = &campaign.total;
    print!("{total}");
    println!(
        "{} rounds: {} conditions raised and {} cleared in the log, {} ended by the control plane; {} kills of nodes, {} batches lost before the \
         commit and {} acknowledgements after it, {} restores; nothing lost, nothing twice; {} seeds in {:.1} s",
        total.rounds,
        total.raised,
        total.cleared,
        total.ended,
        total.kills + total.kills_after_a_write + total.kills_before_a_write + total.kills_before_forgetting,
        total.lost_before_commit,
        total.lost_acknowledgements,
        total.restores,
        campaign.passed,
        campaign.took.as_secs_f64(),
    );
    if let Some(violation) = &campaign.violation {
        for step in &violation.steps {
            eprintln!("{step}");
        }
        eprintln!("{violation}");
        eprintln!(
            "to see it again: cargo xtask simulate events --seeds 1 --seed {} --steps {}",
            violation.seed, arguments.steps
        );
        return ExitCode::FAILURE;
    }
    let never = campaign.never();
    if arguments.seeds.saturating_mul(arguments.steps) >= ENOUGH_STEPS && !never.is_empty() {
        eprintln!(
            "these never happened, so nothing is known about them: {}",
            never.join(", ")
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
