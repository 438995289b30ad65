//! The real programs on their hosts, with certificates, and operators who call them from the client's host.

use std::path::Path;
use std::time::Duration;

use process_tests::{Daemon, NODE_DISK, certificate_flags, command, create_certificates, get, value_of};
use serde_json::Value;
use tempfile::TempDir;

use crate::hosts::{Host, Hosts, MEMBERS};

/// Where members are called.
const GRPC: u16 = 7401;
/// Where members show their figures.
pub(crate) const MEMBER_OPS: u16 = 7411;
/// Where nodes serve tenants.
pub(crate) const DATA: u16 = 8401;
const NODE_OPS: u16 = 8411;
const PATIENCE: Duration = Duration::from_secs(60);

/// An operator on the client's host.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    files: Vec<String>,
}

impl Operator {
    /// Runs `tenantctl -o json`; the error is what it wrote to stderr.
    pub(crate) fn call(&self, timeout: &str, arguments: &[&str]) -> Result<Value, String> {
        let mut tenantctl = command("tenantctl");
        tenantctl
            .args(["--endpoint", &endpoints(), "--timeout", timeout, "-o", "json"])
            .args(&self.files)
            .args(arguments);
        let output = tenantctl.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("not JSON: {error}"))
    }

    /// As [`Operator::call`], for what has to work sooner or later.
    pub(crate) fn expect(&self, arguments: &[&str]) -> Value {
        value_of(&format!("tenantctl {arguments:?}"), PATIENCE, || {
            self.call("10s", arguments)
        })
    }
}

/// All of it. The processes end before their hosts.
#[derive(Debug)]
pub(crate) struct Site {
    /// Index 0 is member 1.
    pub(crate) members: Vec<Daemon>,
    nodes: Vec<Daemon>,
    /// Somebody with `tenantctl`.
    pub(crate) operator: Operator,
    /// The network.
    pub(crate) hosts: Hosts,
    _folder: TempDir,
}

impl Site {
    /// Starts everything and waits until it is ready. The calling thread is on the client's host from now on.
    pub(crate) fn start(hosts: Hosts) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let certificates = folder.path().join("certificates");
        create_certificates(&certificates);
        hosts.enter(Host::Client);
        let data_dir = |name: &str| folder.path().join(name);
        let members = MEMBERS.into_iter().zip(1_u8..).map(|(host, id)| {
            let name = format!("control-plane-{id}");
            let mut flags = member_flags(id, &data_dir(&name));
            flags.extend(certificate_flags(&certificates.join("control-plane")));
            Daemon::new(name, "control-plane", flags, host.at(MEMBER_OPS), folder.path())
        });
        let nodes = [1, 2].map(|id| {
            let name = format!("node-{id}");
            let mut flags = node_flags(id, &data_dir(&name));
            flags.extend(certificate_flags(&certificates.join("tenant-node")));
            Daemon::new(name, "tenant-node", flags, Host::Node(id).at(NODE_OPS), folder.path())
        });
        let mut site = Self {
            members: members.collect(),
            nodes: nodes.into(),
            operator: Operator {
                files: certificate_flags(&certificates.join("operator")),
            },
            hosts,
            _folder: folder,
        };
        for index in 0..site.members.len() {
            site.start_member(index);
        }
        for (node, id) in site.nodes.iter_mut().zip(1..) {
            site.hosts.on(Host::Node(id), || node.start());
        }
        let daemons = site.members.iter_mut().chain(&mut site.nodes);
        daemons.for_each(Daemon::wait_until_ready);
        site.wait_until_nodes_are_up();
        site
    }

    /// Starts member `index` (from 0) on its host.
    pub(crate) fn start_member(&mut self, index: usize) {
        let member = &mut self.members[index];
        self.hosts.on(MEMBERS[index], || member.start());
    }

    /// Which member leads, as those who answer know.
    pub(crate) fn leader(&self) -> Host {
        value_of("a leader", PATIENCE, || {
            let status = self.operator.call("5s", &["cluster", "status"])?;
            let leader = status["leader_id"].as_u64().and_then(|id| u8::try_from(id).ok());
            leader
                .filter(|id| *id > 0)
                .map(Host::Member)
                .ok_or_else(|| status.to_string())
        })
    }

    /// Waits until both nodes are up as the control plane sees it.
    pub(crate) fn wait_until_nodes_are_up(&self) {
        value_of("the nodes to be up", PATIENCE, || {
            let nodes = self.operator.call("5s", &["node", "list"])?;
            let up = (1..=2).all(|id| availability(&nodes, id) == Some("up"));
            if up { Ok(()) } else { Err(nodes.to_string()) }
        });
    }

    /// What the control plane thinks of node `id`.
    pub(crate) fn availability(&self, id: u8) -> Result<String, String> {
        let nodes = self.operator.call("5s", &["node", "list"])?;
        availability(&nodes, id)
            .map(str::to_owned)
            .ok_or_else(|| nodes.to_string())
    }

    /// Waits until all members have applied the same entries and come to the same state.
    pub(crate) fn wait_until_members_agree(&self) {
        value_of("the members to agree", PATIENCE, || {
            let status = self.operator.call("5s", &["cluster", "status"])?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let standing = |member: &Value| (member["applied_index"].clone(), member["state_digest"].clone());
            let all_answer = members.len() == 3 && members.iter().all(|member| member["role"].is_string());
            let agree = all_answer && members.windows(2).all(|pair| standing(&pair[0]) == standing(&pair[1]));
            if agree { Ok(()) } else { Err(status.to_string()) }
        });
    }

    /// Waits until both nodes have the same routing table. Neither may ever have found its own to differ from the members'.
    pub(crate) fn wait_until_tables_agree(&self) {
        value_of("the nodes to have the same routing table", PATIENCE, || {
            let revisions = [1, 2].map(|id| {
                let ops = Host::Node(id).at(NODE_OPS);
                let answer = get(ops, "localhost", "/metrics").map_err(|error| error.to_string())?;
                let diverged = figure(&answer.body, "tenantry_node_routing_diverged_total").unwrap_or(0.0);
                assert!(
                    diverged < 1.0,
                    "node {id} has had a routing table of its own {diverged} times"
                );
                figure(&answer.body, "tenantry_node_routing_revision").ok_or(answer.body)
            });
            let [Ok(one), Ok(other)] = &revisions else {
                return Err(format!("{revisions:?}"));
            };
            if one.to_bits() == other.to_bits() {
                Ok(())
            } else {
                Err(format!("{one} {other}"))
            }
        });
    }
}

/// The value of a series without labels.
pub(crate) fn figure(exposition: &str, series: &str) -> Option<f64> {
    let line = exposition
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

fn availability(nodes: &Value, id: u8) -> Option<&str> {
    let name = format!("node-{id}");
    let nodes = nodes.as_array()?;
    let node = nodes.iter().find(|node| node["id"] == name.as_str())?;
    node["availability"].as_str()
}

fn endpoints() -> String {
    MEMBERS.map(|host| host.at(GRPC).to_string()).join(",")
}

fn member_flags(id: u8, data_dir: &Path) -> Vec<String> {
    let members = (1..).zip(MEMBERS).map(|(id, host)| format!("{id}={}", host.at(GRPC)));
    flags(&[
        ("member-id", id.to_string()),
        ("initial-members", members.collect::<Vec<_>>().join(",")),
        ("listen", format!("0.0.0.0:{GRPC}")),
        ("ops-listen", format!("0.0.0.0:{MEMBER_OPS}")),
        ("data-dir", data_dir.display().to_string()),
        // So that a node is down within a test.
        ("heartbeat-ms", "300".to_owned()),
        ("suspect-ms", "1500".to_owned()),
        ("down-ms", "5000".to_owned()),
    ])
}

fn node_flags(id: u8, data_dir: &Path) -> Vec<String> {
    let host = Host::Node(id);
    let peer = 8421;
    flags(&[
        ("node-id", format!("node-{id}")),
        ("control-plane", endpoints()),
        ("listen", format!("0.0.0.0:{DATA}")),
        ("peer-listen", format!("0.0.0.0:{peer}")),
        ("ops-listen", format!("0.0.0.0:{NODE_OPS}")),
        ("advertise-data", host.at(DATA).to_string()),
        ("advertise-peer", host.at(peer).to_string()),
        ("advertise-ops", host.at(NODE_OPS).to_string()),
        ("data-dir", data_dir.display().to_string()),
        ("disk", NODE_DISK.to_owned()),
    ])
}

fn flags(arguments: &[(&str, String)]) -> Vec<String> {
    let pair = |(name, value): &(&str, String)| [format!("--{name}"), value.clone()];
    arguments.iter().flat_map(pair).collect()
}
