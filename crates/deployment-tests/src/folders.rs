//! Where the deployed files are, and where tools may be installed.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's `deploy` folder.
#[must_use]
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// `target/deployment-tests`, shared by all tests.
///
/// # Errors
/// In words, when it cannot be made.
pub fn shared_folder() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/PROFILE/deps/TEST
    let target = test.ancestors().nth(3).ok_or("this test runs outside of target")?;
    let folder = target.join("deployment-tests");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
