//! Runs seeds on all cores and stops at the first violation, with its seed and what happened before it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use simulation::campaign::{Campaign, Seeds, run_seeds};
use simulation::control_plane::{Plan, Report, Violation, run};

/// From so many seeds on, a fault that never hits is a fault of the simulation.
const ENOUGH_SEEDS: u64 = 200;

/// After so many seeds without a breach, a bug counts as not caught.
#[cfg(feature = "mutants")]
const MAX_SEEDS_PER_MUTANT: u64 = 2_000;

/// Simulates clusters of control-plane members, one per seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run; without it 30, or as many as the minutes allow.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long to begin new seeds.
    #[arg(long)]
    minutes: Option<f64>,
    /// How many members a cluster has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    members: u64,
    /// How many lines of the trace to show when a promise is broken.
    #[arg(long, default_value_t = 60)]
    lines: usize,
    /// Put known bugs back, one after the other, and count the seeds until each is caught.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
    /// Only these bugs, by name.
    #[cfg(feature = "mutants")]
    #[arg(long, requires = "mutants")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of a member is a breach like any other, and is reported as one. Only a single seed is shown its place.
    if arguments.seeds != Some(1) {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let plan = Plan {
        members: arguments.members,
        trace_lines: arguments.lines,
        ..Plan::default()
    };
    #[cfg(feature = "mutants")]
    if arguments.mutants {
        return mutants(&arguments, &plan);
    }
    let time = arguments
        .minutes
        .map(|minutes| Duration::from_secs_f64(60.0 * minutes.max(0.0)));
    let unlimited = if time.is_some() { u64::MAX } else { 30 };
    let seeds = Seeds {
        first: arguments.seed,
        count: arguments.seeds.unwrap_or(unlimited),
        time,
    };
    let campaign = run_seeds(seeds, |seed| run(seed, &plan), || {});
    print!("{}", campaign.total);
    println!(
        "{} seeds passed in {:.1} s: {:.0} seeds/minute",
        campaign.passed,
        campaign.took.as_secs_f64(),
        campaign.seeds_per_minute()
    );
    judge(&campaign, plan.members)
}

fn judge(campaign: &Campaign<Report, Violation>, members: u64) -> ExitCode {
    if let Some(violation) = &campaign.violation {
        show(violation);
        eprintln!(
            "to see it again: cargo xtask simulate --seeds 1 --seed {} --members {members}",
            violation.seed
        );
        return ExitCode::FAILURE;
    }
    let never = campaign.never();
    if campaign.passed >= ENOUGH_SEEDS && !never.is_empty() {
        eprintln!(
            "these never happened, so nothing is known about them: {}",
            never.join(", ")
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn show(violation: &Violation) {
    for line in &violation.trace {
        eprintln!("{line}");
    }
    eprintln!("{violation}");
}

/// A table of all bugs. Fails if one is not caught.
#[cfg(feature = "mutants")]
fn mutants(arguments: &Arguments, plan: &Plan) -> ExitCode {
    use control_plane::mutants::Mutant;
    use simulation::mutants::{hunt, real_bug};

    let seeds = Seeds {
        first: arguments.seed,
        count: arguments.seeds.unwrap_or(MAX_SEEDS_PER_MUTANT),
        time: None,
    };
    let wanted = |mutant: &&Mutant| arguments.only.is_empty() || arguments.only.contains(&format!("{mutant:?}"));
    let mut missed = Vec::new();
    println!("{:<26} {:>6}  {:<16} real bug", "mutant", "seeds", "noticed as");
    for mutant in Mutant::ALL.iter().filter(wanted) {
        let hunt = hunt(*mutant, seeds, plan);
        let name = format!("{mutant:?}");
        let noticed = hunt
            .caught
            .as_ref()
            .map_or("NOT CAUGHT", |violation| violation.breach.name());
        let needed = hunt.missed + u64::from(hunt.caught.is_some());
        println!("{name:<26} {needed:>6}  {noticed:<16} {}", real_bug(*mutant));
        match &hunt.caught {
            None => missed.push(name),
            Some(violation) if !arguments.only.is_empty() => show(violation),
            Some(_) => {}
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("not caught within {} seeds: {}", seeds.count, missed.join(", "));
    ExitCode::FAILURE
}
