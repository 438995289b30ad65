//! `cargo xtask fmt`.

use anyhow::{Context, Result, ensure};

use crate::workspace::cargo;

/// Formats all code of the workspace.
pub(crate) fn run() -> Result<()> {
    let status = cargo(&["fmt", "--all"]).status().context("cannot run cargo fmt")?;
    ensure!(status.success(), "cargo fmt failed");
    Ok(())
}
