//! A real Prometheus with our rules, over a running cluster.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use process_tests::{Cluster, Daemon, Prometheus};

use crate::rules;

/// How long alerts wait before they fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// As long as the rules say.
    Whole,
    /// A second, so that a test sees them.
    Short,
}

/// Scrapes and evaluates every second, under the jobs of the deployed configuration. `None` where there is no such program.
pub(crate) fn start(folder: &Path, cluster: &Cluster, waits: Waits) -> Option<Prometheus> {
    let mut config =
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: ['*.rules.yml']\nscrape_configs:\n"
            .to_owned();
    for (job, daemons) in [
        ("tenantry-control-plane", &cluster.members),
        ("tenantry-node", &cluster.nodes),
    ] {
        let targets: Vec<String> = daemons
            .iter()
            .map(|daemon: &Daemon| format!("'{}'", daemon.ops))
            .collect();
        let targets = targets.join(", ");
        writeln!(
            config,
            "- {{job_name: {job}, static_configs: [{{targets: [{targets}]}}]}}"
        )
        .unwrap();
    }
    for path in rules::files("rules") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| match line.trim_start() {
            "interval: 30s" => line.replace("30s", "1s"),
            wait if wait.starts_with("for: ") && waits == Waits::Short => line.replace(wait, "for: 1s"),
            _ => line.to_owned(),
        });
        let lines: Vec<String> = lines.collect();
        fs::write(folder.join(format!("{name}.rules.yml")), lines.join("\n")).unwrap();
    }
    Prometheus::start(folder, &config)
}
