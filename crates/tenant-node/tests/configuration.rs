//! Holds `deploy/config/tenant-node.toml` and the node's table in `docs/configuration.md` to the options and defaults.
//!
//! `TENANTRY_TEST_RENEW=1 cargo test -p tenant-node --test configuration` writes both anew; read the difference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use clap::{Args as _, Command};
use service_runtime::config::to_toml;
use service_runtime::option_pages::{OptionPage, Sample, example, hold, hold_part, pages_of, table};
use tenant_node::config::{Machine, Options};
use toml::Table;

const MACHINE: Machine = Machine {
    cores: 4,
    disk_size: 1 << 40,
};
const INTRO: &str = "This one is for one of many nodes, each on a machine of its own, and three members.";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn samples() -> Vec<Sample> {
    let members = [
        "member-1.internal:7401",
        "member-2.internal:7401",
        "member-3.internal:7401",
    ];
    vec![
        Sample::set("node_id", "node-1"),
        Sample::set("data_dir", "/var/lib/tenantry"),
        Sample::set("control_plane", members.to_vec()),
        Sample::set("host_suffix", "db.example.com"),
        Sample::shown("zone", "zone-a"),
        Sample::shown("disk", "500GiB"),
        Sample::shown("running_queries", 16),
        Sample::shown("long_running_queries", 4),
        Sample::shown("queries_per_tenant", 8),
        Sample::shown("node_millicores", 4_000),
        Sample::set("listen", "0.0.0.0:8401"),
        Sample::set("peer_listen", "0.0.0.0:8421"),
        Sample::set("advertise_data", "node-1.internal:8401"),
        Sample::set("advertise_peer", "node-1.internal:8421"),
        Sample::shown("advertise_ops", "node-1.internal:8411"),
        Sample::set("tls_ca", "/etc/tenantry/tls/ca.crt"),
        Sample::set("tls_cert", "/etc/tenantry/tls/tls.crt"),
        Sample::set("tls_key", "/etc/tenantry/tls/tls.key"),
    ]
}

fn pages() -> Vec<OptionPage> {
    let defaults = Table::try_from(Options::default().with_defaults(MACHINE)).unwrap();
    pages_of::<Options>(&defaults, &samples()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The example with all that stands in it as a comment set as well.
fn everything() -> String {
    let example = example("tenant-node", INTRO, &pages());
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
        &project().join("deploy/config/tenant-node.toml"),
        &example("tenant-node", INTRO, &pages),
    );
    held.unwrap_or_else(|stale| panic!("{stale}"));
    let held = hold_part(
        &project().join("docs/configuration.md"),
        "options of tenant-node",
        &table(&pages),
    );
    held.unwrap_or_else(|stale| panic!("{stale}"));
}

#[test]
fn the_example_sets_nothing_that_it_does_not_mean_to() {
    let text = example("tenant-node", INTRO, &pages());
    let as_file: Options = toml::from_str(&text).unwrap();
    let mut expected = Table::try_from(Options::default().with_defaults(MACHINE)).unwrap();
    for sample in samples().into_iter().filter(|sample| sample.is_set) {
        expected.insert(sample.key.to_owned(), sample.value);
    }
    assert_eq!(Table::try_from(as_file.with_defaults(MACHINE)).unwrap(), expected);
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
        to_toml(&all.with_defaults(MACHINE)).unwrap(),
        given,
        "a default replaced what was given"
    );

    for options in [Options::default(), toml::from_str(&given).unwrap()] {
        let printed = to_toml(&options.with_defaults(MACHINE)).unwrap();
        let again: Options = toml::from_str(&printed).unwrap();
        assert_eq!(to_toml(&again.with_defaults(MACHINE)).unwrap(), printed);
    }
}
