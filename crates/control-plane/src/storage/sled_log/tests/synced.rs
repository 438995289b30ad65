//! That every commit really ends in an fdatasync, seen from outside by strace.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const FOLDER: &str = "TENANTRY_TEST_TRACED_FOLDER";
const COMMITS: u64 = 20;

fn token(commit: u64) -> String {
    format!("traced-commit-{commit:04}")
}

#[test]
#[ignore = "is run under strace by the test below"]
fn a_child_that_commits() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let mut store = SledLogStore::open(Path::new(&folder), identity()).unwrap();
    for index in 1..=COMMITS {
        let mut batch = entries([index]);
        batch.entries[0].data = Bytes::from(token(index));
        store.append(&batch).unwrap();
    }
}

/// Lists the commits that were marked as durable, each with whether an fdatasync of the database began and ended
/// between the write of its data and the mark.
fn commits(trace: &str) -> BTreeMap<u64, bool> {
    let mut synced = BTreeMap::new();
    let mut written = None;
    // Threads with an fdatasync under way that began after the last write.
    let mut under_way: Vec<&str> = Vec::new();
    let mut covered = false;
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let call = call.trim_start();
        let of_database = call.contains("/sled/db>");
        let is_write = call.starts_with("pwrite64(") || call.starts_with("write(");
        if is_write && of_database {
            if let Some(commit) = (1..=COMMITS).rev().find(|commit| call.contains(&token(*commit))) {
                written = Some(commit);
                covered = false;
                under_way.clear();
            }
        } else if call.starts_with("fdatasync(") && of_database {
            if call.contains("unfinished") {
                under_way.push(thread);
            } else {
                covered |= call.contains("= 0");
            }
        } else if call.contains("fdatasync resumed") {
            covered |= under_way.contains(&thread) && call.contains("= 0");
        } else if is_write
            && call.contains("/mark>")
            && let Some(commit) = written.take()
        {
            synced.insert(commit, covered);
        }
    }
    synced
}

#[test]
fn every_commit_is_fdatasynced_after_its_last_write() {
    let test = "storage::sled_log::tests::synced::every_commit_is_fdatasynced_after_its_last_write";
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("trace");
    let probe = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        skip(test, "strace is not installed, or not allowed to trace");
        return;
    }
    let status = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "1000000",
            "-e",
            "trace=pwrite64,write,fdatasync",
            "-o",
        ])
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args([
            &test.replace(
                "every_commit_is_fdatasynced_after_its_last_write",
                "a_child_that_commits",
            ),
            "--exact",
            "--ignored",
        ])
        .env(FOLDER, folder.path().join("log"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = String::from_utf8_lossy(&fs::read(output).unwrap()).into_owned();
    let expected: BTreeMap<u64, bool> = (1..=COMMITS).map(|commit| (commit, true)).collect();
    assert_eq!(commits(&trace), expected);
}

/// Told to `cargo xtask test` as well.
fn skip(test: &str, reason: &str) {
    eprintln!("skipped {test}: {reason}");
    if let Some(path) = std::env::var_os("TENANTRY_TEST_SKIPS") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{test}: {reason}").unwrap();
    }
}

#[test]
fn a_trace_without_the_sync_is_told_apart() {
    let with = "7 pwrite64(3</x/sled/db>, \"traced-commit-0001\", 9, 0) = 9\n7 fdatasync(4</x/sled/db>) = 0\n\
                7 pwrite64(5</x/mark>, \"\", 13, 0) = 13\n";
    let without = with.replace("fdatasync", "fsync");
    let early = "7 fdatasync(4</x/sled/db>) = 0\n7 pwrite64(3</x/sled/db>, \"traced-commit-0001\", 9, 0) = 9\n\
                 7 pwrite64(5</x/mark>, \"\", 13, 0) = 13\n";
    assert_eq!(commits(with), [(1, true)].into());
    assert_eq!(commits(&without), [(1, false)].into());
    assert_eq!(commits(early), [(1, false)].into());
}
