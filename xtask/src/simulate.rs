//! `cargo xtask simulate`.

use anyhow::{Context, Result, ensure};

use crate::workspace::cargo;

/// Runs seeded clusters, which say themselves what they found.
pub(crate) fn run(seeds: u64, first: u64, members: u64) -> Result<()> {
    let status = cargo(&["run", "--quiet", "--package", "simulation", "--bin", "simulate", "--"])
        .args([
            format!("--seeds={seeds}"),
            format!("--seed={first}"),
            format!("--members={members}"),
        ])
        .status()
        .context("cannot run the simulation")?;
    ensure!(status.success(), "the simulation failed");
    Ok(())
}
