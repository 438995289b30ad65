//! What all suites do alike: find programs, begin a report, make measurements in turn, and end with what failed.
//!
//! Must not know what is measured.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::machine;
use crate::process::beside_this_program;
use crate::report::Report;

/// The measurements of one suite, and what they share.
pub(crate) trait Suite {
    /// One of them, as `--only` names it.
    type Measurement: ValueEnum + Debug + Copy + PartialEq + 'static;

    /// Makes it and tells the report.
    ///
    /// # Errors
    /// When it failed; the others are made all the same.
    async fn measure(&mut self, measurement: Self::Measurement) -> Result<()>;

    /// What is kept between measurements may be broken by the one that failed.
    fn recover(&mut self) {}

    fn report(&mut self) -> &mut Report;
}

/// Makes the folder that the programs keep their data in, and begins a report of the machine. Gives back the folder's full
/// path: programs are started from elsewhere.
///
/// # Errors
/// When the folder cannot be made.
pub(crate) fn begin(title: &str, folder: &Path) -> Result<(Report, PathBuf)> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let mut report = Report::default();
    report.say(format_args!("# {title}\n"));
    report.say(machine::facts(&folder)?);
    Ok((report, folder))
}

/// Makes the measurements of `only`, or all, and writes the report.
///
/// # Errors
/// When a measurement failed, or the report cannot be written.
pub(crate) async fn run<S: Suite>(
    suite: &mut S,
    only: &[S::Measurement],
    folder: &Path,
    output: Option<&Path>,
) -> Result<()> {
    let mut failed = 0;
    let asked_for = |measurement: &&S::Measurement| only.is_empty() || only.contains(measurement);
    for measurement in S::Measurement::value_variants().iter().filter(asked_for) {
        if let Err(error) = suite.measure(*measurement).await {
            failed += 1;
            suite.recover();
            suite
                .report()
                .say(format_args!("\n**{measurement:?} failed**: {error:#}"));
        }
    }
    let report = suite.report();
    report.say("");
    report.say(machine::facts(folder)?);
    if let Some(path) = output {
        report.write_to(path)?;
    }
    ensure!(failed == 0, "{failed} measurement(s) failed");
    Ok(())
}

/// The program that was named, or the one of that name beside this one.
///
/// # Errors
/// When none was named and there is none beside this one.
pub(crate) fn program(named: Option<&Path>, name: &str) -> Result<PathBuf> {
    match named {
        Some(program) => Ok(program.to_owned()),
        None => beside_this_program(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
    enum Measurement {
        Good,
        Bad,
        AlsoGood,
    }

    #[derive(Default)]
    struct Counting {
        report: Report,
        made: Vec<Measurement>,
        recovered: usize,
    }

    impl Suite for Counting {
        type Measurement = Measurement;

        async fn measure(&mut self, measurement: Measurement) -> Result<()> {
            self.made.push(measurement);
            ensure!(measurement != Measurement::Bad, "as expected");
            Ok(())
        }

        fn recover(&mut self) {
            self.recovered += 1;
        }

        fn report(&mut self) -> &mut Report {
            &mut self.report
        }
    }

    #[tokio::test]
    async fn a_measurement_that_fails_stops_no_other_and_fails_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("report.md");
        let mut suite = Counting::default();
        let outcome = run(&mut suite, &[], folder.path(), Some(&output)).await;
        assert_eq!(outcome.unwrap_err().to_string(), "1 measurement(s) failed");
        assert_eq!(suite.made, Measurement::value_variants());
        assert_eq!(suite.recovered, 1);
        let report = std::fs::read_to_string(output).unwrap();
        assert!(report.contains("**Bad failed**: as expected"), "{report}");
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut suite = Counting::default();
        run(&mut suite, &[Measurement::AlsoGood], folder.path(), None)
            .await
            .unwrap();
        assert_eq!(suite.made, [Measurement::AlsoGood]);
    }
}
