//! A real Prometheus with our rules, over a running cluster.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use process_tests::{Cluster, Daemon, free_ports, get};
use serde_json::Value;

use crate::rules;

/// How long alerts wait before they fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// As long as the rules say.
    Whole,
    /// A second, so that a test sees them.
    Short,
}

/// Ends with the value.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Scrapes and evaluates every second, under the jobs of the deployed configuration. `None` where there is no such program.
    pub(crate) fn start(folder: &Path, cluster: &Cluster, waits: Waits) -> Option<Self> {
        let address = free_ports(1)[0];
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
        fs::write(folder.join("prometheus.yml"), config).unwrap();
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
        let log = File::create(folder.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .ok()?;
        Some(Self { child, address })
    }

    pub(crate) fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = get(self.address, "localhost", path).map_err(|error| error.to_string())?;
        let json = answer.json();
        match json["status"].as_str() {
            Some("success") => Ok(json["data"].clone()),
            _ => Err(answer.body),
        }
    }

    /// How many series an expression yields now.
    pub(crate) fn count(&self, expression: &str) -> Result<usize, String> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expression)))?;
        Ok(data["result"].as_array().map_or(0, Vec::len))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02x}").unwrap();
        encoded
    })
}
