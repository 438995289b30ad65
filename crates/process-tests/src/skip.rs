//! What a test says when this machine lacks what it needs.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Tells why `test` (or a part of it) did not run: on stderr, and to `cargo xtask test` through the file that
/// `TENANTRY_TEST_SKIPS` names.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped {test}: {reason}");
    let Some(path) = std::env::var_os("TENANTRY_TEST_SKIPS") else {
        return;
    };
    let line = format!("{test}: {}\n", reason.replace('\n', " "));
    let written = OpenOptions::new().create(true).append(true).open(path);
    if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("cannot note the skipped test: {error}");
    }
}
