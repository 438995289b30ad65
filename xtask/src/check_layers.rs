//! `cargo xtask check-layers`: crates know each other only along the arrows of the design, and nothing they must not.
//!
//! The rules stand in [`rules`]. Development dependencies are free: a test may use whatever proves the crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

mod rules;
mod source;

use rules::{LAYERS, SOURCE_BANS};

/// Prints each violation in words; fails if there is one.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut violations = arrow_violations(&packages()?);
    for ban in SOURCE_BANS {
        for path in rust_files(&root.join(ban.folder))? {
            let inside = path.strip_prefix(&root).unwrap_or(&path);
            if ban.except.iter().any(|except| inside.starts_with(except)) {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for (line, word) in source::mentions(&text, ban.words) {
                violations.push(format!("{}:{line} names `{word}`: {}", inside.display(), ban.reason));
            }
        }
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    ensure!(violations.is_empty(), "{} layer violation(s)", violations.len());
    println!("layers: {} crates keep to their arrows", LAYERS.len());
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A crate of the workspace, as `cargo metadata` tells it.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dev,
    Build,
}

fn packages() -> Result<Vec<Package>> {
    let output = workspace::cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata gave no valid JSON")?;
    Ok(metadata.packages)
}

fn arrow_violations(packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
            violations.push(format!(
                "{name} is in no layer: add it to the table in xtask/src/check_layers/rules.rs"
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != Some(Kind::Dev))
        {
            let target = dependency.name.as_str();
            if ours.contains(target) && !layer.may_use.allows(target) {
                violations.push(format!(
                    "{name} must not depend on {target}: it may use {}",
                    layer.may_use
                ));
            }
            if layer.must_not_use.contains(&target) {
                violations.push(format!("{name} must not depend on {target}: {}", layer.purpose));
            }
        }
    }
    for layer in LAYERS.iter().filter(|layer| !ours.contains(layer.name)) {
        violations.push(format!(
            "{} is in the table of layers but not in the workspace",
            layer.name
        ));
    }
    violations
}

/// All `.rs` files below `folder`, sorted.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with all crates of the table, in which `name` has `dependencies`.
    fn workspace_with(name: &str, dependencies: &[(&str, Option<Kind>)]) -> Vec<Package> {
        let mut packages: Vec<Package> = LAYERS
            .iter()
            .filter(|layer| layer.name != name)
            .map(|layer| Package {
                name: layer.name.to_owned(),
                dependencies: Vec::new(),
            })
            .collect();
        let dependencies = dependencies
            .iter()
            .map(|&(name, kind)| Dependency {
                name: name.to_owned(),
                kind,
            })
            .collect();
        packages.push(Package {
            name: name.to_owned(),
            dependencies,
        });
        packages
    }

    #[test]
    fn arrows_of_the_design_are_allowed_and_others_named() {
        for (from, to, kind, violation) in [
            ("tenant-node", "control-client", None, None),
            ("control-plane", "tenantry-state", None, None),
            ("simulation", "control-plane", None, None),
            ("tenantry-state", "imbl", None, None),
            ("control-plane", "tenant-node", Some(Kind::Dev), None),
            (
                "tenant-node",
                "control-plane",
                None,
                Some("tenant-node must not depend on control-plane: it may use "),
            ),
            (
                "control-plane",
                "tenant-node",
                Some(Kind::Build),
                Some("control-plane must not depend on tenant-node"),
            ),
            (
                "tenant-node",
                "tenantry-state",
                None,
                Some("tenant-node must not depend on tenantry-state"),
            ),
            (
                "tenantry-types",
                "tenantry-proto",
                None,
                Some("may use no crate of ours"),
            ),
            (
                "tenantry-types",
                "serde",
                None,
                Some("tenantry-types must not depend on serde: "),
            ),
            (
                "tenantry-state",
                "rand",
                None,
                Some("tenantry-state must not depend on rand: "),
            ),
            (
                "control-client",
                "simulation",
                None,
                Some("control-client must not depend on simulation"),
            ),
        ] {
            let found = arrow_violations(&workspace_with(from, &[(to, kind)]));
            match violation {
                None => assert_eq!(found, Vec::<String>::new(), "{from} -> {to}"),
                Some(words) => {
                    assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
                    assert!(found[0].contains(words), "{from} -> {to}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn a_crate_outside_the_table_and_a_row_without_a_crate_are_violations() {
        let found = arrow_violations(&workspace_with("tenantry-utils", &[]));
        assert!(found[0].starts_with("tenantry-utils is in no layer"), "{found:?}");
        let mut packages = workspace_with("simulation", &[]);
        packages.retain(|package| package.name != "simulation");
        assert_eq!(
            arrow_violations(&packages),
            ["simulation is in the table of layers but not in the workspace"]
        );
    }
}
