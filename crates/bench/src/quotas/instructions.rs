//! Instructions of a process, counted by valgrind. Unlike time, they are the same on a busy machine.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::Process;

/// valgrind's program in the path.
pub(super) fn valgrind() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join("valgrind"))
        .find(|file| file.is_file())
}

/// All instructions that the program makes, from its start to its end. Logs into `folder`.
///
/// # Errors
/// When it fails, or valgrind does not say.
pub(super) async fn count(
    valgrind: &Path,
    program: &Path,
    arguments: Vec<OsString>,
    folder: &Path,
    patience: Duration,
) -> Result<u64> {
    let mut all: Vec<OsString> = vec![
        "--tool=callgrind".into(),
        "--callgrind-out-file=/dev/null".into(),
        program.into(),
    ];
    all.extend(arguments);
    let mut process = Process::new(valgrind, all, folder.join("valgrind.log"));
    process.start()?;
    let printed = process.finish(patience).await?;
    collected(&printed).with_context(|| format!("valgrind counted nothing: {printed}"))
}

/// The number in the line `==PID== Collected : N`.
fn collected(printed: &str) -> Option<u64> {
    let (_, rest) = printed.split_once("Collected :")?;
    rest.lines().next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_what_valgrind_prints() {
        let printed = "==7== Events    : Ir\n==7== Collected : 1234\n==7== \n==7== I   refs:      1,234\n";
        assert_eq!(collected(printed), Some(1_234));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
