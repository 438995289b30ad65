//! What a network does to the packets that arrive at a host: nftables rules on the way in, so that each direction breaks by itself.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use process_tests::run_bounded;
use serde_json::Value;
use tempfile::TempDir;

use crate::hosts::{ALL, Host, Hosts};

const TABLE: &str = "inet faults";
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of packets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// They vanish.
    Lost,
    /// So many in a hundred vanish.
    LostInPart(u8),
    /// The sender is told that there is no such connection.
    Reset,
}

/// What `at` gets from `from`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// The receiver.
    pub(crate) at: Host,
    /// The sender.
    pub(crate) from: Host,
    /// What becomes of it.
    pub(crate) fate: Fate,
}

/// Neither hears the other.
pub(crate) fn between(one: &[Host], others: &[Host], fate: Fate) -> Vec<Rule> {
    [deaf(one, others, fate), deaf(others, one, fate)].concat()
}

/// Those of `at` do not hear those of `from`, who may still hear them.
pub(crate) fn deaf(at: &[Host], from: &[Host], fate: Fate) -> Vec<Rule> {
    let rules = at.iter().flat_map(|at| {
        let senders = from.iter().filter(move |from| *from != at);
        senders.map(|from| Rule {
            at: *at,
            from: *from,
            fate,
        })
    });
    rules.collect()
}

/// All hosts but one.
pub(crate) fn others(host: Host) -> Vec<Host> {
    ALL.into_iter().filter(|other| *other != host).collect()
}

/// Whether this machine's kernel can do all of it.
pub(crate) fn can_be_made(hosts: &Hosts) -> Result<(), String> {
    let fates = [Fate::Lost, Fate::LostInPart(5), Fate::Reset];
    let rules = fates.map(|fate| Rule {
        at: Host::Client,
        from: Host::Node(1),
        fate,
    });
    load(hosts, Host::Client, &table(Host::Client, &rules))?;
    load(hosts, Host::Client, &no_table())
}

/// Puts the rules in force, on all receivers.
pub(crate) fn impose(hosts: &Hosts, rules: &[Rule]) {
    for host in ALL {
        expect(load(hosts, host, &table(host, rules)));
    }
}

/// Takes all rules back.
pub(crate) fn heal(hosts: &Hosts) {
    for host in ALL {
        expect(load(hosts, host, &no_table()));
    }
}

/// How many packets have met one of the rules so far.
pub(crate) fn packets(hosts: &Hosts) -> u64 {
    let arguments = ["-j", "list", "ruleset"];
    let met = ALL.map(|host| {
        let listed = hosts.on(host, || run_bounded(Command::new("nft").args(arguments), PATIENCE));
        let listed: Value = serde_json::from_str(&listed.expect("nft lists what it has")).expect("it prints JSON");
        let entries = listed["nftables"].as_array().into_iter().flatten();
        let parts = entries.filter_map(|entry| entry["rule"]["expr"].as_array()).flatten();
        parts
            .filter_map(|part| part["counter"]["packets"].as_u64())
            .sum::<u64>()
    });
    met.iter().sum()
}

fn expect(loaded: Result<(), String>) {
    loaded.unwrap_or_else(|reason| panic!("{reason}"));
}

fn table(host: Host, rules: &[Rule]) -> String {
    let mut lines = String::new();
    for rule in rules.iter().filter(|rule| rule.at == host) {
        let _ = writeln!(lines, "ip saddr {} {}", rule.from.address(), verdict(rule.fate));
    }
    format!("table {TABLE} {{\nchain arriving {{ type filter hook input priority 0; policy accept;\n{lines}}}\n}}\n")
}

/// Names the table first, since only what exists can be deleted.
fn no_table() -> String {
    format!("table {TABLE} {{\n}}\ndelete table {TABLE}\n")
}

fn verdict(fate: Fate) -> String {
    match fate {
        Fate::Lost => "counter drop".to_owned(),
        Fate::LostInPart(percent) => format!("numgen random mod 100 < {percent} counter drop"),
        // Without the exception the resets themselves would not arrive.
        Fate::Reset => "tcp flags & rst == 0 counter reject with tcp reset".to_owned(),
    }
}

fn load(hosts: &Hosts, host: Host, rules: &str) -> Result<(), String> {
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let file = folder.path().join("rules.nft");
    fs::write(&file, rules).map_err(|error| error.to_string())?;
    let loaded = hosts.on(host, || run_bounded(Command::new("nft").arg("-f").arg(&file), PATIENCE));
    loaded.map(drop).map_err(|reason| format!("{reason}: {rules}"))
}
