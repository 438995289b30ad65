//! `cargo xtask test`: everything that this machine can check, then one summary that ends with the tests' count.
//!
//! A test that cannot run here (a tool is missing) appends a line `TEST: REASON` to the file named by
//! `TENANTRY_TEST_SKIPS` and returns; the summary lists it as skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::check_layers;
use crate::workspace::{self, cargo};

mod counts;

use counts::Counts;

const SKIPS_KEY: &str = "TENANTRY_TEST_SKIPS";

/// Runs all steps, a failed one included; fails at the end if one did.
pub(crate) fn run() -> Result<()> {
    let mut steps = Vec::new();
    steps.push(step("formatting", || status(&mut cargo(&["fmt", "--all", "--check"]))));
    steps.push(step("layers", check_layers::run));
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    steps.push(step("lints", || status(&mut cargo(&lints))));

    // Tests that start the real programs find them beside themselves.
    steps.push(step("programs", || {
        status(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))
    }));

    let skips = workspace::root().join("target/test-skips.txt");
    forget_skips(&skips)?;
    let runner = Runner::find();
    let mut counts = Counts::default();
    steps.push(step(runner.name(), || {
        let mut command = runner.command();
        command.env(SKIPS_KEY, &skips);
        run_counting(&mut command, &mut counts)
    }));
    steps.push(step("examples in the documentation", || {
        let mut command = cargo(&["test", "--doc", "--workspace", "--no-fail-fast", "--color", "never"]);
        run_counting(&mut command, &mut counts)
    }));
    steps.push(step("orders of threads", || {
        let mut command = cargo(&["test", "--package", "tenantry-layers", "--lib", "--color", "never"]);
        command.args(["--features", "interleavings", "interleavings"]);
        run_counting(&mut command, &mut counts)
    }));
    summarize(&steps, &runner, counts, &read_skips(&skips)?)
}

struct Step {
    name: &'static str,
    took: Duration,
    outcome: Result<()>,
}

fn step(name: &'static str, work: impl FnOnce() -> Result<()>) -> Step {
    println!("--- {name}");
    let started = Instant::now();
    let outcome = work();
    if let Err(error) = &outcome {
        eprintln!("{name}: {error:#}");
    }
    Step {
        name,
        took: started.elapsed(),
        outcome,
    }
}

fn status(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "failed ({status})");
    Ok(())
}

/// What runs the tests.
enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    fn find() -> Self {
        let probe = cargo(&["nextest", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if probe.is_ok_and(|status| status.success()) {
            Self::Nextest
        } else {
            Self::Cargo
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Nextest => "tests (cargo nextest)",
            Self::Cargo => "tests (cargo test)",
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Nextest => cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never"]),
            Self::Cargo => {
                let targets = [
                    "--workspace",
                    "--lib",
                    "--bins",
                    "--tests",
                    "--no-fail-fast",
                    "--color",
                    "never",
                ];
                let mut command = cargo(&["test"]);
                command.args(targets);
                command
            }
        }
    }
}

/// Runs tests, shows their output as it comes, and adds what their summary lines count.
fn run_counting(command: &mut Command, counts: &mut Counts) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let shared = Mutex::new(std::mem::take(counts));
    let forwarded = thread::scope(|scope| {
        let errors = scope.spawn(|| forward(stderr, io::stderr(), &shared));
        let output = forward(stdout, io::stdout(), &shared);
        output.and(
            errors
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))),
        )
    });
    *counts = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait().context("cannot wait for cargo")?;
    forwarded.context("cannot show the output of the tests")?;
    ensure!(status.success(), "failed ({status})");
    Ok(())
}

fn forward(from: Option<impl Read>, mut to: impl Write, counts: &Mutex<Counts>) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    to.flush()
}

fn forget_skips(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Reasons by test, from lines `TEST: REASON`.
fn read_skips(path: &Path) -> Result<BTreeMap<String, String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse_skips(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse_skips(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once(": ") {
            Some((test, reason)) => (test.to_owned(), reason.to_owned()),
            None => (line.to_owned(), "no reason given".to_owned()),
        })
        .collect()
}

fn summarize(steps: &[Step], runner: &Runner, mut counts: Counts, skips: &BTreeMap<String, String>) -> Result<()> {
    println!("\n--- summary");
    for step in steps {
        let verdict = if step.outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{verdict:<7} {:>7.1} s  {}", step.took.as_secs_f64(), step.name);
    }
    if matches!(runner, Runner::Cargo) {
        println!("cargo-nextest is not installed: the tests ran under cargo test");
    }
    if counts.skipped > 0 {
        println!(
            "skipped {} tests marked #[ignore], with their reason in the source",
            counts.skipped
        );
    }
    for (test, reason) in skips {
        println!("skipped {test}: {reason}");
    }
    counts.move_to_skipped(skips.len());
    println!("{counts}");
    let failed: Vec<&str> = steps
        .iter()
        .filter(|step| step.outcome.is_err())
        .map(|step| step.name)
        .collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_one_a_test_with_a_reason() {
        let skips = parse_skips("scrape: no promtool\n\nscrape: no promtool\nsdk: python: no libsql\nbare\n");
        let skips: Vec<(&str, &str)> = skips
            .iter()
            .map(|(test, reason)| (test.as_str(), reason.as_str()))
            .collect();
        assert_eq!(
            skips,
            [
                ("bare", "no reason given"),
                ("scrape", "no promtool"),
                ("sdk", "python: no libsql")
            ]
        );
    }

    #[test]
    fn output_is_shown_as_it_is_and_counted_on_the_way() {
        let output =
            b"running 3 tests\n\xff\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\nno newline";
        let (mut shown, counts) = (Vec::new(), Mutex::new(Counts::default()));
        forward(Some(output.as_slice()), &mut shown, &counts).unwrap();
        assert_eq!(shown, output);
        assert_eq!(
            counts.into_inner().unwrap(),
            Counts {
                passed: 2,
                failed: 1,
                skipped: 0
            }
        );
    }
}
