//! The binaries of the development cluster: built by one call of cargo, found by its messages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::cluster;
use crate::workspace;

pub(crate) const TENANTCTL: &str = "tenantctl";

/// Where cargo put each binary.
pub(crate) struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    pub(crate) fn get(&self, name: &str) -> Result<&Path> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| format!("cargo built no `{name}`"))
    }
}

/// One build of the three binaries; cargo's progress goes to the terminal.
pub(crate) fn build() -> Result<Binaries> {
    let programs = [
        cluster::Role::ControlPlane.program(),
        cluster::Role::TenantNode.program(),
        TENANTCTL,
    ];
    let mut command = workspace::cargo(&["build", "--message-format=json-render-diagnostics"]);
    for program in programs {
        command.args(["--package", program, "--bin", program]);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo build")?;
    ensure!(output.status.success(), "the build failed");
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The executables among cargo's messages, one JSON object a line.
fn executables(messages: &str) -> Binaries {
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    Binaries(
        artifacts
            .filter_map(|artifact| Some((artifact.target.name, artifact.executable?)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"tenantry-types"},"executable":null}
{"reason":"build-script-executed","package_id":"x"}
{"reason":"compiler-artifact","target":{"name":"tenantctl"},"executable":"/target/debug/tenantctl"}
{"reason":"build-finished","success":true}
"#;
        let binaries = executables(messages);
        assert_eq!(binaries.get("tenantctl").unwrap(), Path::new("/target/debug/tenantctl"));
        assert_eq!(
            binaries.get("control-plane").unwrap_err().to_string(),
            "cargo built no `control-plane`"
        );
    }
}
