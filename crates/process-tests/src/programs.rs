//! The programs under test, as cargo built them beside the tests.

use std::path::PathBuf;
use std::process::Command;

/// Where `name` was built.
///
/// # Panics
/// When it was not.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its program");
    // target/PROFILE/deps/TEST
    let folder = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("cargo keeps tests two folders deep");
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --bins` first",
        path.display()
    );
    path
}

/// A command that runs `name` without any option from this process's environment.
#[must_use]
pub fn command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("TENANTRY_") {
            command.env_remove(key);
        }
    }
    command
}
