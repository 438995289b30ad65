//! `cargo xtask bench`.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{cargo, root};

/// Builds the programs for release, then measures them; `arguments` go on to the benchmark.
pub(crate) fn run(suite: &str, arguments: &[String]) -> Result<()> {
    // Together, so that all are built with the same features of what they share.
    let status = cargo(&[
        "build",
        "--release",
        "--bins",
        "--package",
        "control-plane",
        "--package",
        "tenant-node",
        "--package",
        "bench",
        "--package",
        "bench-baselines",
    ])
    .status()
    .context("cannot run cargo")?;
    ensure!(status.success(), "the build failed");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder));
    let status = Command::new(target.join("release/bench"))
        .arg(suite)
        .args(arguments)
        .current_dir(root())
        .status()
        .context("cannot run the benchmark")?;
    ensure!(status.success(), "the benchmark failed");
    Ok(())
}
