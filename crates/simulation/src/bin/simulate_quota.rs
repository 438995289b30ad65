//! Holds the quota engine against an exact count, seed by seed on all cores, and stops at the first violation.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

use std::process::ExitCode;

use clap::Parser;
use simulation::campaign::{Campaign, Seeds, run_seeds};
use simulation::quota::{Plan, Report, Violation, run};

/// From so many requests on, a fault that never hits is a fault of the model.
const ENOUGH_REQUESTS: u64 = 5_000_000;

/// After so many seeds without a breach, a bug counts as not caught.
#[cfg(feature = "mutants")]
const MAX_SEEDS_PER_MUTANT: u64 = 40;

/// Runs the real quota registry beside an exact count of all that it admits.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many requests each seed makes.
    #[arg(long, default_value_t = Plan::default().requests)]
    requests: u64,
    /// How many of the last steps to show when a promise is broken.
    #[arg(long, default_value_t = Plan::default().steps)]
    lines: usize,
    /// Put known bugs back, one after the other, and say which seed catches each.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a breach like any other, and is reported as one. Only a single seed is shown its place.
    if arguments.seeds != Some(1) {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let plan = Plan {
        requests: arguments.requests,
        steps: arguments.lines,
        ..Plan::default()
    };
    #[cfg(feature = "mutants")]
    if arguments.mutants {
        return mutants(&arguments, &plan);
    }
    let seeds = Seeds {
        first: arguments.seed,
        count: arguments.seeds.unwrap_or(24),
        time: None,
    };
    let campaign = run_seeds(seeds, |seed| run(seed, &plan), || {});
    print!("{}", campaign.total);
    summarize(&campaign);
    judge(&campaign, plan.requests)
}

fn summarize(campaign: &Campaign<Report, Violation>) {
    let total = &campaign.total;
    println!(
        "{} requests: {} admitted, {} refused, {} wrongly ({:.4} %: buckets {:.4} %, delays {:.4} %, crashes {:.4} %); {} kills, {} reopenings, \
         {} limit changes, {} clock jumps; {} seeds in {:.1} s",
        total.requests,
        total.admitted,
        total.refused(),
        total.wrongly_refused(),
        percent(total.wrongly_refused(), total.requests),
        percent(total.wrong_by_buckets, total.requests),
        percent(total.wrong_by_delay, total.requests),
        percent(total.wrong_by_crash, total.requests),
        total.kills,
        total.reopenings,
        total.limit_changes(),
        total.clock_jumps + total.reboots_with_a_jump,
        campaign.passed,
        campaign.took.as_secs_f64(),
    );
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / (whole as f64).max(1.0)
}

fn judge(campaign: &Campaign<Report, Violation>, requests: u64) -> ExitCode {
    if let Some(violation) = &campaign.violation {
        show(violation);
        eprintln!(
            "to see it again: cargo xtask simulate quota --seeds 1 --seed {} --requests {requests}",
            violation.seed
        );
        return ExitCode::FAILURE;
    }
    if campaign.total.requests < ENOUGH_REQUESTS {
        return ExitCode::SUCCESS;
    }
    let never = campaign.never();
    if !never.is_empty() {
        eprintln!(
            "these never happened, so nothing is known about them: {}",
            never.join(", ")
        );
        return ExitCode::FAILURE;
    }
    if campaign.total.refused_too_many() {
        eprintln!("more than 0.2 % of the requests were wrongly refused");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn show(violation: &Violation) {
    for step in &violation.steps {
        eprintln!("{step}");
    }
    eprintln!("{violation}");
}

/// A table of all bugs. Fails if one is not caught.
#[cfg(feature = "mutants")]
fn mutants(arguments: &Arguments, plan: &Plan) -> ExitCode {
    use simulation::quota_mutants::{hunt, real_bug};
    use tenantry_layers::mutants::Mutant;

    let seeds = Seeds {
        first: arguments.seed,
        count: arguments.seeds.unwrap_or(MAX_SEEDS_PER_MUTANT),
        time: None,
    };
    let mut missed = Vec::new();
    println!(
        "{:<28} {:>5} {:>9}  {:<24} real bug",
        "mutant", "seed", "requests", "noticed as"
    );
    for mutant in Mutant::ALL {
        let hunt = hunt(*mutant, seeds, plan);
        let name = format!("{mutant:?}");
        match &hunt.caught {
            Some(violation) => println!(
                "{name:<28} {:>5} {:>9}  {:<24} {}",
                violation.seed,
                violation.requests,
                violation.breach.name(),
                real_bug(*mutant)
            ),
            None => missed.push(name),
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("not caught within {} seeds: {}", seeds.count, missed.join(", "));
    ExitCode::FAILURE
}
