//! Holds `deploy/config/control-plane.toml` and the member's table in `docs/configuration.md` to the options and defaults.
//!
//! `TENANTRY_TEST_RENEW=1 cargo test -p control-plane --test configuration` writes both anew; read the difference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use clap::{Args as _, Command};
use control_plane::config::Options;
use service_runtime::config::to_toml;
use service_runtime::option_pages::{OptionPage, Sample, example, hold, hold_part, pages_of, table};
use toml::Table;

const INTRO: &str = "This one is for the first of three members, each on a machine of its own.";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn samples() -> Vec<Sample> {
    vec![
        Sample::set("member_id", 1),
        Sample::set(
            "initial_members",
            "1=member-1.internal:7401,2=member-2.internal:7401,3=member-3.internal:7401",
        ),
        Sample::shown("join", "0123456789abcdef"),
        Sample::set("data_dir", "/var/lib/tenantry"),
        Sample::shown("webhook_networks", "10.1.0.0/16"),
        Sample::shown("webhook_ca_file", "/etc/tenantry/webhook-ca.crt"),
        Sample::set("listen", "0.0.0.0:7401"),
        Sample::set("tls_ca", "/etc/tenantry/tls/ca.crt"),
        Sample::set("tls_cert", "/etc/tenantry/tls/tls.crt"),
        Sample::set("tls_key", "/etc/tenantry/tls/tls.key"),
    ]
}

fn pages() -> Vec<OptionPage> {
    let defaults = Table::try_from(Options::default().with_defaults()).unwrap();
    pages_of::<Options>(&defaults, &samples()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The example with all that stands in it as a comment set as well.
fn everything() -> String {
    let example = example("control-plane", INTRO, &pages());
    let uncommented = example.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_and_the_table_are_those_of_the_options() {
    let pages = pages();
    let held = hold(
        &project().join("deploy/config/control-plane.toml"),
        &example("control-plane", INTRO, &pages),
    );
    held.unwrap_or_else(|stale| panic!("{stale}"));
    let held = hold_part(
        &project().join("docs/configuration.md"),
        "options of control-plane",
        &table(&pages),
    );
    held.unwrap_or_else(|stale| panic!("{stale}"));
}

#[test]
fn the_example_sets_nothing_that_it_does_not_mean_to() {
    let text = example("control-plane", INTRO, &pages());
    let as_file: Options = toml::from_str(&text).unwrap();
    let mut expected = Table::try_from(Options::default().with_defaults()).unwrap();
    for sample in samples().into_iter().filter(|sample| sample.is_set) {
        expected.insert(sample.key.to_owned(), sample.value);
    }
    assert_eq!(Table::try_from(as_file.with_defaults()).unwrap(), expected);
}

#[test]
fn what_is_in_effect_is_printed_whole_and_read_back_the_same() {
    let all: Options = toml::from_str(&everything()).unwrap();
    let keys: Vec<String> = Table::try_from(&all).unwrap().keys().cloned().collect();
    let command = Options::augment_args(Command::new("options"));
    for argument in command.get_arguments() {
        let key = argument.get_id().as_str();
        assert!(keys.iter().any(|named| named == key), "{key} cannot be set by file");
    }
    let given = to_toml(&all).unwrap();
    assert_eq!(
        to_toml(&all.with_defaults()).unwrap(),
        given,
        "a default replaced what was given"
    );

    for options in [Options::default(), toml::from_str(&given).unwrap()] {
        let printed = to_toml(&options.with_defaults()).unwrap();
        let again: Options = toml::from_str(&printed).unwrap();
        assert_eq!(to_toml(&again.with_defaults()).unwrap(), printed);
    }
}
