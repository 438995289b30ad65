//! `deploy/compose` on an engine of the test's own, with published ports that nobody else uses.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use deployment_tests::deploy;
use process_tests::{Answer, NODE_DISK, free_ports, post, run_bounded, value_of};
use serde_json::Value;

use crate::engine::Engine;

const PATIENCE: Duration = Duration::from_secs(180);
const LOG_LINES: &str = "25";

/// What serves: three members, two nodes.
pub(crate) const DAEMONS: [&str; 5] = [
    "control-plane-1",
    "control-plane-2",
    "control-plane-3",
    "tenant-node-1",
    "tenant-node-2",
];

/// Shows the daemons' logs when the test fails; the engine ends what runs.
pub(crate) struct Project<'a> {
    engine: &'a Engine,
    settings: tempfile::TempDir,
    published: Vec<SocketAddr>,
}

impl<'a> Project<'a> {
    /// Of images that were packed as `tag`. Starts nothing.
    pub(crate) fn new(engine: &'a Engine, tag: &str) -> Self {
        let settings = tempfile::tempdir().unwrap();
        let published = free_ports(3);
        let mut lines = format!("TENANTRY_TAG={tag}\n");
        let names = ["CONTROL_PLANE", "NODE_1", "NODE_2"];
        for (name, address) in names.iter().zip(&published) {
            writeln!(lines, "TENANTRY_PORT_{name}={}", address.port()).unwrap();
        }
        std::fs::write(settings.path().join("settings"), lines).unwrap();
        let mut services = "services:\n".to_owned();
        for node in DAEMONS.iter().filter(|name| name.starts_with("tenant-node")) {
            writeln!(services, "  {node}: {{environment: {{TENANTRY_DISK: {NODE_DISK}}}}}").unwrap();
        }
        std::fs::write(settings.path().join("disk.yaml"), services).unwrap();
        Self {
            engine,
            settings,
            published,
        }
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.docker(&["compose", "--progress", "quiet", "--file"]);
        command
            .arg(compose_file())
            .arg("--file")
            .arg(self.settings.path().join("disk.yaml"));
        command
            .arg("--env-file")
            .arg(self.settings.path().join("settings"))
            .args(arguments);
        command
    }

    /// What `docker compose` with these arguments prints.
    pub(crate) fn asked(&self, arguments: &[&str]) -> Result<String, String> {
        run_bounded(&mut self.compose(arguments), PATIENCE).map(|printed| printed.trim().to_owned())
    }

    /// As [`Project::asked`], for what has to work.
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        self.asked(arguments)
            .unwrap_or_else(|error| panic!("docker compose {arguments:?}: {error}"))
    }

    /// `tenantctl -o json` in a container of its own, with an operator's certificate.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<Value, String> {
        let printed = self.asked(&[&["run", "--rm", "-T", "tenantctl", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&printed).map_err(|error| format!("not JSON: {error}: {printed}"))
    }

    /// The port of member 1 on this machine.
    pub(crate) fn member(&self) -> SocketAddr {
        self.published[0]
    }

    /// The ports of both nodes on this machine.
    pub(crate) fn nodes(&self) -> [SocketAddr; 2] {
        [self.published[1], self.published[2]]
    }

    fn inspected(&self, service: &str, format: &str) -> String {
        let container = format!("tenantry-{service}-1");
        self.engine
            .told(&["container", "inspect", "--format", format, &container])
    }

    /// Where a container is reached on the network of the project.
    pub(crate) fn address(&self, service: &str) -> String {
        self.inspected(
            service,
            "{{(index .NetworkSettings.Networks \"tenantry_default\").IPAddress}}",
        )
    }

    /// The volumes of a container, by name, and which of them it may only read.
    pub(crate) fn mounts(&self, service: &str) -> Vec<String> {
        let format = "{{range .Mounts}}{{.Name}}{{if not .RW}} read-only{{end}},{{end}}";
        let printed = self.inspected(service, format);
        let mut mounts: Vec<String> = printed.trim_end_matches(',').split(',').map(str::to_owned).collect();
        mounts.sort();
        mounts
    }

    fn pid(&self, service: &str) -> String {
        self.inspected(service, "{{.State.Pid}}")
    }

    /// kill -9 of the daemon, as the kernel would, not by the engine's hand: so the engine restarts it.
    pub(crate) fn kill(&self, service: &str) {
        let pid = self.pid(service);
        assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 1), "{service}: {pid}");
        run_bounded(Command::new("kill").args(["-9", &pid]), PATIENCE).unwrap();
    }

    /// Waits until a killed daemon was restarted and says that it is ready.
    pub(crate) fn wait_until_healthy_again(&self, service: &str, restarts: u32) {
        value_of(&format!("{service} to be healthy again"), PATIENCE, || {
            let state = self.inspected(service, "{{.RestartCount}} {{.State.Health.Status}}");
            if state == format!("{restarts} healthy") {
                Ok(())
            } else {
                Err(state)
            }
        });
    }
}

/// One statement, through the port that node `address` publishes.
pub(crate) fn sql(address: SocketAddr, token: Option<&str>, statement: &str) -> Result<Answer, String> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("host", "acme.localhost"), ("content-type", "application/json")];
    if let Some(bearer) = &bearer {
        headers.push(("authorization", bearer));
    }
    let body = process_tests::pipeline(&[process_tests::execute(statement)]);
    post(address, "/v2/pipeline", &headers, &body).map_err(|error| error.to_string())
}

/// Waits until a statement is answered with this value in its first row and column, as Hrana writes it.
pub(crate) fn wait_for_value(address: SocketAddr, token: &str, statement: &str, expected: &str) {
    value_of(&format!("{statement} to be {expected}"), PATIENCE, || {
        let answer = sql(address, Some(token), statement)?;
        let found = &answer.json()["results"][0]["response"]["result"]["rows"][0][0]["value"];
        if *found == expected { Ok(()) } else { Err(answer.body) }
    });
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for words in [&["ps", "--all"][..], &["logs", "--tail", LOG_LINES]] {
                eprintln!("{}", self.asked(words).unwrap_or_else(|error| error));
            }
        }
    }
}

/// The file that users start.
pub(crate) fn compose_file() -> PathBuf {
    deploy().join("compose/compose.yaml")
}
