//! The systemd units: that systemd takes them, that the programs take what they give, and that the programs work within them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

mod under_limits;
mod unit;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use deployment_tests::deploy;
use process_tests::{command, program, run_bounded, skip};
use unit::{UNITS, Unit};

const PATIENCE: Duration = Duration::from_secs(60);
/// What `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "15";

/// Why systemd's tools cannot be asked here.
fn without_systemd() -> Option<String> {
    run_bounded(Command::new("systemd-analyze").arg("--version"), PATIENCE).err()
}

#[test]
fn systemd_takes_the_units_and_finds_them_little_exposed() {
    if let Some(reason) = without_systemd() {
        skip("systemd_takes_the_units_and_finds_them_little_exposed", &reason);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS {
        let unit = Unit::read(name);
        // It looks whether the program is there.
        let installed = format!("/usr/local/bin/{}", unit.program());
        let built = program(unit.program()).display().to_string();
        let path = folder.path().join(name);
        fs::write(&path, unit.text.replace(&installed, &built)).unwrap();
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        // Other units of this machine are read as well, and may be wrong.
        let of_ours: Vec<&str> = told.lines().filter(|line| line.contains("tenantry")).collect();
        assert!(output.status.success() && of_ours.is_empty(), "{name}: {told}");
        let mut security = Command::new("systemd-analyze");
        security
            .args(["security", "--no-pager", "--offline=true"])
            .arg(format!("--threshold={EXPOSURE}"))
            .arg(&path);
        run_bounded(&mut security, PATIENCE).unwrap_or_else(|told| panic!("{name}: {told}"));
    }
}

#[test]
fn a_setting_that_systemd_does_not_know_is_found() {
    if let Some(reason) = without_systemd() {
        skip("a_setting_that_systemd_does_not_know_is_found", &reason);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenantry-wrong.service");
    fs::write(&path, "[Service]\nExecStart=/bin/true\nProtectSistem=strict\n").unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("tenantry-wrong") && told.contains("ProtectSistem"),
        "{told}"
    );
}

#[test]
fn the_programs_accept_what_the_units_give_them() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    let certificates = folder.path().join("certificates");
    let mut create = command("tenantctl");
    create.args(["certificates", "create", "--out"]).arg(&certificates);
    run_bounded(&mut create, PATIENCE).unwrap_or_else(|told| panic!("{told}"));
    for name in UNITS {
        let unit = Unit::read(name);
        let moved = |text: &str| text.replace("/etc/tenantry", etc.to_str().unwrap());
        let tls = etc.join("tls");
        let _ = fs::remove_dir_all(&tls);
        fs::create_dir_all(&etc).unwrap();
        copy_folder(&certificates.join(unit.program()), &tls);
        let example = format!("{}.toml", unit.program());
        let settings = fs::read_to_string(deploy().join("config").join(&example)).unwrap();
        fs::write(etc.join(&example), moved(&settings)).unwrap();

        let mut check = command(unit.program());
        check.args(unit.arguments().into_iter().map(|argument| moved(&argument)));
        for (key, value) in unit.environment() {
            check.env(key, moved(&value));
        }
        check.arg("--check-config");
        let told = run_bounded(&mut check, PATIENCE).unwrap_or_else(|told| panic!("{name}: {told}"));
        assert_eq!(told, "configuration is valid\n", "{name}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_unit_waits_longer_for_the_end_than_the_program_takes() {
    for (name, needed) in [(UNITS[0], 20), (UNITS[1], 1 + 10 + 5)] {
        let seconds: u64 = Unit::read(name).value("TimeoutStopSec").parse().unwrap();
        assert!(seconds > needed, "{name}: {seconds} s for a stop of {needed} s");
    }
}

#[test]
fn the_users_and_folders_are_made_as_the_units_need_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    let root = format!("--root={}", folder.path().display());
    let file = |name: &str| deploy().join("systemd").join(name).join("tenantry.conf");
    let mut users = Command::new("systemd-sysusers");
    users.arg(&root).arg(file("sysusers.d"));
    if let Err(reason) = run_bounded(Command::new("systemd-sysusers").arg("--version"), PATIENCE) {
        skip("the_users_and_folders_are_made_as_the_units_need_them", &reason);
        return;
    }
    run_bounded(&mut users, PATIENCE).unwrap_or_else(|told| panic!("{told}"));
    let users = fs::read_to_string(folder.path().join("etc/passwd")).unwrap();
    assert!(users.contains("tenantry:x:65532:65532:"), "{users}");
    for name in UNITS {
        assert_eq!(Unit::read(name).value("User"), "tenantry");
    }
    // Folders are given to that user, which takes root.
    let mut folders = Command::new("systemd-tmpfiles");
    folders.args(["--create", &root]).arg(file("tmpfiles.d"));
    if rustix::process::geteuid().is_root() {
        run_bounded(&mut folders, PATIENCE).unwrap_or_else(|told| panic!("{told}"));
        assert!(folder.path().join("etc/tenantry/tls").is_dir());
    } else {
        skip(
            "the_users_and_folders_are_made_as_the_units_need_them (folders)",
            "this is not root",
        );
    }
}
