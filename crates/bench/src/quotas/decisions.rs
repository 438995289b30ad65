//! What one decision costs in a process that does nothing else: nanoseconds of ours and of governor's, and instructions where
//! valgrind can count them.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::instructions::{self, valgrind};
use super::{Bench, Plan};
use crate::latency::median;
use crate::measured::with_rounds;
use crate::process::Process;
use crate::report::progress;

/// Ledgers of many tenants are written one by one before the clock starts.
const PATIENCE: Duration = Duration::from_secs(300);
/// A file system in memory, where there is one.
const MEMORY: &str = "/dev/shm";
/// Loading more under valgrind would take longer than the rest of the suite.
const COUNTED_TENANTS: u32 = 1_000;

/// Who decides: the name of the subcommand's option, and what the report says. Governor last: the others are compared with
/// it.
const DECIDERS: [(&str, &str); 5] = [
    ("try-admit", "`try_admit`: day, concurrency"),
    ("try-admit-burst", "`try_admit`: day, burst, concurrency"),
    ("admit-layer", "`AdmitLayer` around an empty service"),
    ("empty", "the empty service"),
    (GOVERNOR, "governor, keyed: burst"),
];
const GOVERNOR: &str = "governor";

/// One who decides over so many tenants.
struct Case {
    tenants: u32,
    decider: (&'static str, &'static str),
    nanos: Vec<f64>,
    instructions: Option<f64>,
}

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan;
    let mut cases: Vec<Case> = [1, plan.deciding_tenants]
        .into_iter()
        .flat_map(|tenants| DECIDERS.map(|decider| Case::new(tenants, decider)))
        .collect();
    let count = cases.len();
    for round in 0..plan.rounds {
        progress(format_args!("decisions, round {} of {}", round + 1, plan.rounds));
        for place in 0..count {
            if let Some(case) = cases.get_mut((place + round) % count) {
                case.nanos.push(nanos(bench, case.decider.0, case.tenants).await?);
            }
        }
    }
    let valgrind = valgrind();
    if let Some(valgrind) = &valgrind {
        for case in &mut cases {
            progress(format_args!("instructions, {}", case.decider.1));
            // valgrind does not survive every program; the times stand without it.
            case.instructions = match count_instructions(bench, valgrind, case).await {
                Ok(count) => Some(count),
                Err(error) => {
                    let first_line = error.to_string();
                    progress(format_args!(
                        "not counted: {}",
                        first_line.lines().next().unwrap_or_default()
                    ));
                    None
                }
            };
        }
    }
    let report = &mut bench.report;
    report.heading("One decision, in a process that does nothing else");
    report.table(&HEADER, rows(&cases));
    report.say(format_args!(
        "\nEach decision allows; {} are timed, tenants drawn by Zipf's law with exponent 1.",
        plan.decisions
    ));
    report.say(match valgrind {
        Some(_) => format!(
            "Instructions: of {} decisions more or less, counted by valgrind, with {COUNTED_TENANTS} tenants where there are many; a dash where valgrind itself crashed.",
            plan.counted_decisions
        ),
        None => "Instructions: not counted, valgrind is not in the path.".to_owned(),
    });
    Ok(())
}

const HEADER: [&str; 5] = ["tenants", "decision", "ns", "of governor's (rounds)", "instructions"];

fn rows(cases: &[Case]) -> Vec<Vec<String>> {
    let row = |case: &Case| {
        let same = |other: &&Case| other.decider.0 == GOVERNOR && other.tenants == case.tenants;
        let governor = cases.iter().find(same).map_or(&[][..], |governor| &governor.nanos);
        let ratios: Vec<f64> = match case.decider.0 {
            GOVERNOR => Vec::new(),
            _ => case
                .nanos
                .iter()
                .zip(governor)
                .map(|(this, other)| this / other)
                .collect(),
        };
        vec![
            case.tenants.to_string(),
            case.decider.1.to_owned(),
            format!("{:.0}", median(&case.nanos)),
            with_rounds(&ratios),
            case.instructions.map_or("–".to_owned(), |count| format!("{count:.0}")),
        ]
    };
    cases.iter().map(row).collect()
}

impl Case {
    const fn new(tenants: u32, decider: (&'static str, &'static str)) -> Self {
        Self {
            tenants,
            decider,
            nanos: Vec::new(),
            instructions: None,
        }
    }
}

/// Nanoseconds of one decision.
async fn nanos(bench: &Bench, decider: &str, tenants: u32) -> Result<f64> {
    let Plan { decisions, .. } = bench.plan;
    let ledgers = ledgers(&bench.folder)?;
    let logs = logs(&bench.folder)?;
    let arguments = arguments(decider, tenants, decisions, ledgers.path());
    let mut process = Process::new(&bench.baselines, arguments, logs.path().join("decide.log"));
    process.start()?;
    let printed = process.finish(PATIENCE).await?;
    let nanos = parse(&printed).with_context(|| format!("the baseline's output is malformed: {printed}"))?;
    Ok(float(nanos) / f64::from(decisions.max(1)))
}

/// Instructions of one decision: what as many decisions again make more.
async fn count_instructions(bench: &Bench, valgrind: &Path, case: &Case) -> Result<f64> {
    let (decisions, tenants) = (bench.plan.counted_decisions, case.tenants.min(COUNTED_TENANTS));
    let mut counted = [0, 0];
    for (times, counted) in (1..).zip(&mut counted) {
        let ledgers = ledgers(&bench.folder)?;
        let logs = logs(&bench.folder)?;
        let mut arguments = arguments(case.decider.0, tenants, times * decisions, ledgers.path());
        arguments.push("--library-clock".into());
        *counted = instructions::count(valgrind, &bench.baselines, arguments, logs.path(), PATIENCE).await?;
    }
    let [once, twice] = counted;
    Ok(float(twice.saturating_sub(once)) / f64::from(decisions.max(1)))
}

fn arguments(decider: &str, tenants: u32, decisions: u32, folder: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["decide".into()];
    for (name, value) in [
        ("--decider", decider.into()),
        ("--folder", OsString::from(folder)),
        ("--tenants", tenants.to_string().into()),
        ("--decisions", decisions.to_string().into()),
    ] {
        arguments.extend([name.into(), value]);
    }
    arguments
}

/// In memory where that can be: the disk is not what is measured, and each ledger is synced.
fn ledgers(folder: &Path) -> Result<TempDir> {
    let new = || {
        let mut new = tempfile::Builder::new();
        new.prefix("tenantry-bench-");
        new
    };
    let made = new().tempdir_in(MEMORY).or_else(|_| new().tempdir_in(folder));
    made.context("cannot make a folder for ledgers")
}

fn logs(folder: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("decide-").tempdir_in(folder);
    made.with_context(|| format!("cannot make a folder in {}", folder.display()))
}

/// The nanoseconds in the line `{"decisions":…,"nanos":…}`.
fn parse(printed: &str) -> Option<u64> {
    let (_, rest) = printed.trim().strip_suffix('}')?.split_once("\"nanos\":")?;
    rest.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_read_or_it_is_malformed() {
        assert_eq!(parse("{\"decisions\":2,\"nanos\":40}\n"), Some(40));
        for text in ["", "{}", "{\"nanos\":x}", "Error: no such folder"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_is_compared_with_governor_over_as_many_tenants() {
        let case = |tenants, decider, nanos| Case {
            nanos: vec![nanos],
            ..Case::new(tenants, (decider, decider))
        };
        let rows = rows(&[
            case(1, "try-admit", 50.0),
            case(1, GOVERNOR, 100.0),
            case(9, "try-admit", 50.0),
            case(9, GOVERNOR, 200.0),
        ]);
        let ratios: Vec<&str> = rows.iter().map(|row| row[3].as_str()).collect();
        assert_eq!(ratios, ["**0.50** (0.50)", "–", "**0.25** (0.25)", "–"]);
    }
}
