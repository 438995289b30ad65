//! The scripts of `deploy/docker` without an engine: whose folders they leave alone, and who can read what they lay out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use deployment_tests::deploy;
use process_tests::{program, run_bounded};

const PATIENCE: Duration = Duration::from_secs(60);

fn script(name: &str) -> PathBuf {
    deploy().join("docker").join(name)
}

/// `engine.sh WORD FOLDER`, from inside of `within`.
fn engine(word: &str, folder: &str, within: &Path) -> Output {
    let mut command = Command::new(script("engine.sh").canonicalize().unwrap());
    command.args([word, folder]).current_dir(within).output().unwrap()
}

#[test]
fn a_folder_that_is_not_an_engines_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let checkout = folder.path().join("checkout");
    fs::create_dir_all(checkout.join("tools")).unwrap();
    fs::write(checkout.join("precious"), "kept").unwrap();
    let absolute = checkout.display().to_string();
    for word in ["start", "stop"] {
        for name in [
            absolute.as_str(),
            &format!("{absolute}/"),
            ".",
            "../checkout",
            "tools/..",
        ] {
            let output = engine(word, name, &checkout);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{word} {name}: {told}");
            assert!(
                told.contains(&format!("{absolute} is not an engine's folder")),
                "{word} {name}: {told}"
            );
            let mut left: Vec<_> = fs::read_dir(&checkout)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            left.sort();
            assert_eq!(left, ["precious", "tools"], "{word} {name}");
            assert_eq!(fs::read_to_string(checkout.join("precious")).unwrap(), "kept");
        }
        let output = engine(word, "/", &checkout);
        assert_eq!(output.status.code(), Some(1), "{word} /: {output:?}");
    }
}

#[test]
fn a_folder_with_an_engines_mark_is_emptied_but_for_its_tools() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = folder.path().join("engine");
    fs::create_dir_all(crashed.join("tools")).unwrap();
    fs::create_dir_all(crashed.join("data/volumes")).unwrap();
    fs::write(crashed.join("engine.mark"), "").unwrap();
    let output = engine("stop", "engine/", folder.path());
    assert!(output.status.success(), "{output:?}");
    let left: Vec<_> = fs::read_dir(&crashed)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["tools"]);
}

/// Everything below `folder` that others than its owner cannot read or enter.
fn hidden(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let wanted = if metadata.is_dir() { 0o005 } else { 0o004 };
        if metadata.permissions().mode() & wanted != wanted {
            found.push(path.clone());
        }
        if metadata.is_dir() {
            hidden(&path, found);
        }
    }
}

#[test]
fn what_images_hold_can_be_read_by_their_user_whatever_the_umask_was() {
    let folder = tempfile::tempdir().unwrap();
    let programs = program("control-plane").parent().unwrap().to_owned();
    let mut laid_out = Command::new("sh");
    laid_out
        .args(["-c", "umask 027; exec sh \"$0\" \"$1\" \"$2\""])
        .arg(script("root.sh"))
        .arg(programs)
        .arg(folder.path().join("roots"));
    run_bounded(&mut laid_out, PATIENCE).unwrap();
    for file in [
        "control-plane",
        "tenant-node",
        "base/usr/local/bin/tenantctl",
        "base/etc/nsswitch.conf",
    ] {
        assert!(folder.path().join("roots").join(file).is_file(), "{file}");
    }
    let mut found = Vec::new();
    hidden(folder.path(), &mut found);
    assert!(found.is_empty(), "not for others: {found:?}");
}

#[test]
fn a_program_whose_library_is_missing_is_not_laid_out() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let (strip, ldd) = (tools.join("strip"), tools.join("ldd"));
    fs::write(&strip, "#!/bin/sh\ncp \"$4\" \"$3\"\n").unwrap();
    fs::write(&ldd, "#!/bin/sh\necho '  libmissing.so.1 => not found'\n").unwrap();
    for name in ["control-plane", "tenant-node", "tenantctl"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    for tool in [strip, ldd] {
        fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("sh")
        .arg(script("root.sh"))
        .arg(folder.path())
        .arg(folder.path().join("roots"))
        .env(
            "PATH",
            format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()),
        )
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("libmissing.so.1 => not found"), "{told}");
}
