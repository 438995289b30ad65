//! What a network does to the packets that arrive at a host: nftables rules on the way in, so that each direction breaks by itself.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use process_tests::run_bounded;
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

/// Puts the rules in force, on all receivers.
pub(crate) fn impose(hosts: &Hosts, rules: &[Rule]) {
    for host in ALL {
        let mut lines = String::new();
        for rule in rules.iter().filter(|rule| rule.at == host) {
            let _ = writeln!(lines, "ip saddr {} {}", rule.from.address(), verdict(rule.fate));
        }
        if !lines.is_empty() {
            let chain = format!("chain arriving {{ type filter hook input priority 0; policy accept;\n{lines}}}\n");
            load(hosts, host, &format!("table {TABLE} {{\n{chain}}}\n"));
        }
    }
}

/// Takes all rules back.
pub(crate) fn heal(hosts: &Hosts) {
    for host in ALL {
        // Named twice, since only what exists can be deleted.
        load(hosts, host, &format!("table {TABLE} {{\n}}\ndelete table {TABLE}\n"));
    }
}

fn verdict(fate: Fate) -> String {
    match fate {
        Fate::Lost => "drop".to_owned(),
        Fate::LostInPart(percent) => format!("numgen random mod 100 < {percent} drop"),
        Fate::Reset => "meta l4proto tcp reject with tcp reset".to_owned(),
    }
}

fn load(hosts: &Hosts, host: Host, rules: &str) {
    let folder = TempDir::new().expect("a folder can be made");
    let file = folder.path().join("rules.nft");
    fs::write(&file, rules).expect("a file can be written");
    let loaded = hosts.on(host, || run_bounded(Command::new("nft").arg("-f").arg(&file), PATIENCE));
    if let Err(reason) = loaded {
        panic!("{rules}: {reason}");
    }
}
