//! Written pages that tests hold: stale ones are refused, or written anew when that is asked for.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

/// Set to anything, it makes [`hold`] write what is stale instead of refusing it.
pub const RENEW_KEY: &str = "TENANTRY_TEST_RENEW";

/// Refuses a file that is not `expected`, or writes it when [`RENEW_KEY`] is set.
///
/// # Errors
/// In words.
pub fn hold(path: &Path, expected: &str) -> Result<(), String> {
    if is_renewed() {
        return fs::write(path, expected).map_err(|error| told(path, &error));
    }
    let found = fs::read_to_string(path).map_err(|error| told(path, &error))?;
    compare(path, &found, expected)
}

/// As [`hold`], for the part of a page that stands between the lines `<!-- name -->` and `<!-- end -->`. Several tests may
/// renew parts of one page at the same time.
///
/// # Errors
/// In words.
pub fn hold_part(path: &Path, name: &str, expected: &str) -> Result<(), String> {
    let renewed = is_renewed();
    let mut file = File::options()
        .read(true)
        .write(renewed)
        .open(path)
        .map_err(|error| told(path, &error))?;
    let mut page = String::new();
    file.lock()
        .and_then(|()| file.read_to_string(&mut page))
        .map_err(|error| told(path, &error))?;
    let missing = || format!("{}: has no part `<!-- {name} -->` … `<!-- end -->`", path.display());
    let (before, rest) = page.split_once(&format!("<!-- {name} -->\n")).ok_or_else(missing)?;
    let (found, after) = rest.split_once("<!-- end -->\n").ok_or_else(missing)?;
    if !renewed {
        return compare(path, found, expected);
    }
    let whole = format!("{before}<!-- {name} -->\n{expected}<!-- end -->\n{after}");
    file.rewind()
        .and_then(|()| file.set_len(0))
        .and_then(|()| file.write_all(whole.as_bytes()))
        .map_err(|error| told(path, &error))
}

fn is_renewed() -> bool {
    std::env::var_os(RENEW_KEY).is_some()
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}; with {RENEW_KEY}=1 this test writes it", path.display())
}

fn compare(path: &Path, found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let differs = expected
        .lines()
        .zip(found.lines())
        .find(|(expected, found)| expected != found);
    let (expected, found) = differs.unwrap_or(("", "another number of lines"));
    Err(format!(
        "{} is stale: with {RENEW_KEY}=1 this test writes it anew. The first difference:\n  there: {found}\n  now:   {expected}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_page_is_refused_with_the_first_difference() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        fs::write(&page, "text\n<!-- table -->\none\ntwo\n<!-- end -->\nmore\n").unwrap();
        assert_eq!(hold_part(&page, "table", "one\ntwo\n"), Ok(()));
        let stale = hold_part(&page, "table", "one\nthree\n").unwrap_err();
        assert!(
            stale.contains("there: two") && stale.contains("now:   three"),
            "{stale}"
        );
        assert!(hold_part(&page, "list", "").unwrap_err().contains("has no part"));
        assert!(hold(&page, "text\n").unwrap_err().contains("is stale"));
        assert!(
            hold(&folder.path().join("none"), "")
                .unwrap_err()
                .contains("TENANTRY_TEST_RENEW")
        );
    }
}
