//! Three members and two nodes, and how tests talk to them.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::http::{Answer, get, get_with, post};
use crate::operator::Operator;
use crate::ports::free_ports;
use crate::programs::command;
use crate::wait::value_of;

/// Members of the control plane.
pub const MEMBERS: usize = 3;
/// Tenant-nodes.
pub const NODES: usize = 2;

/// The disk that a node under test says it has. A node takes no tenant once a tenth of its disk is all that is left: with its
/// default, the whole file system, tests would hang on a machine that is nearly full.
pub const NODE_DISK: &str = "1GiB";

/// The folder of certificates, in the cluster's.
const CERTIFICATES: &str = "certificates";
const STARTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the programs prove themselves to each other, and nodes ask their tenants' clients for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// Everybody is let in.
    Development,
    /// By certificate, and each request needs a token of its tenant.
    Certificates,
}

/// A cluster in a folder of its own. Ends with the value.
#[derive(Debug)]
pub struct Cluster {
    /// Index 0 is member 1.
    pub members: Vec<Daemon>,
    /// Index 0 is `node-1`.
    pub nodes: Vec<Daemon>,
    grpc: Vec<SocketAddr>,
    data: Vec<SocketAddr>,
    security: Security,
    // Last, so that the folder goes after the processes.
    folder: TempDir,
}

impl Cluster {
    /// Starts all and waits until all are ready.
    ///
    /// # Panics
    /// When one does not become ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder can be made"))
    }

    /// As [`Cluster::start`], with what is in `folder` already: `control-plane-N` and `node-N` are the data folders.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_in(folder: TempDir) -> Self {
        Self::start_for(Security::Development, folder)
    }

    /// As [`Cluster::start`], with certificates, and nodes that serve nobody without a token.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_with_certificates() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        create_certificates(&folder.path().join(CERTIFICATES));
        Self::start_for(Security::Certificates, folder)
    }

    fn start_for(security: Security, folder: TempDir) -> Self {
        let mut folder = folder;
        for _ in 1..STARTS {
            let mut cluster = Self::with_ports(security, folder);
            cluster.start_processes();
            match cluster.lost_a_port() {
                false => {
                    cluster.wait_until_ready();
                    return cluster;
                }
                true => folder = cluster.give_up(),
            }
        }
        let mut cluster = Self::with_ports(security, folder);
        cluster.start_processes();
        cluster.wait_until_ready();
        cluster
    }

    /// Starts members alone, with what is in `folder` already.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_members_in(folder: TempDir) -> Self {
        Self::members_alone(folder, &[])
    }

    /// Starts members alone, in a new folder, with more flags: names without dashes, and values.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_members_with(more: &[(&str, &str)]) -> Self {
        Self::members_alone(tempfile::tempdir().expect("a folder can be made"), more)
    }

    fn members_alone(folder: TempDir, more: &[(&str, &str)]) -> Self {
        let with_ports = |folder| {
            let mut cluster = Self::with_ports(Security::Development, folder);
            cluster.nodes.clear();
            cluster.data.clear();
            for (name, value) in more {
                cluster
                    .members
                    .iter_mut()
                    .for_each(|member| member.add_argument(name, value));
            }
            cluster
        };
        let mut cluster = with_ports(folder);
        cluster.start_processes();
        for _ in 1..STARTS {
            if !cluster.lost_a_port() {
                break;
            }
            cluster = with_ports(cluster.give_up());
            cluster.start_processes();
        }
        cluster.wait_until_ready();
        cluster
    }

    fn with_ports(security: Security, folder: TempDir) -> Self {
        let ports = free_ports(2 * MEMBERS + 3 * NODES);
        let (member_ports, node_ports) = ports.split_at(2 * MEMBERS);
        let (grpc, member_ops) = member_ports.split_at(MEMBERS);
        let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let numbered: Vec<String> = (1..)
            .zip(list(grpc))
            .map(|(id, address)| format!("{id}={address}"))
            .collect();
        let data_dir = |name: &str| folder.path().join(name).display().to_string();
        let members = (1..).zip(grpc.iter().zip(member_ops)).map(|(id, (listen, ops))| {
            let name = format!("control-plane-{id}");
            let arguments = [
                ("member-id", id.to_string()),
                ("initial-members", numbered.join(",")),
                ("listen", listen.to_string()),
                ("ops-listen", ops.to_string()),
                ("data-dir", data_dir(&name)),
                ("heartbeat-ms", "300".to_owned()),
                ("suspect-ms", "1500".to_owned()),
                ("down-ms", "5000".to_owned()),
            ];
            let flags = security.flags(folder.path(), "control-plane", &arguments);
            Daemon::new(name, "control-plane", flags, *ops, folder.path())
        });
        let members = members.collect();
        let mut data = Vec::new();
        let nodes = (1..).zip(node_ports.chunks(3)).map(|(id, ports)| {
            let name = format!("node-{id}");
            let address = |index: usize| *ports.get(index).expect("each node has three ports");
            data.push(address(0));
            let arguments = [
                ("node-id", name.clone()),
                ("control-plane", list(grpc).join(",")),
                ("listen", address(0).to_string()),
                ("peer-listen", address(1).to_string()),
                ("ops-listen", address(2).to_string()),
                ("data-dir", data_dir(&name)),
                ("disk", NODE_DISK.to_owned()),
                ("sample-interval-ms", "300".to_owned()),
                ("growth-interval-ms", "1000".to_owned()),
            ];
            let flags = security.flags(folder.path(), "tenant-node", &arguments);
            Daemon::new(name, "tenant-node", flags, address(2), folder.path())
        });
        let nodes = nodes.collect();
        Self {
            members,
            nodes,
            grpc: grpc.to_vec(),
            data,
            security,
            folder,
        }
    }

    fn start_processes(&mut self) {
        self.members.iter_mut().chain(&mut self.nodes).for_each(Daemon::start);
    }

    fn wait_until_ready(&mut self) {
        self.members
            .iter_mut()
            .chain(&mut self.nodes)
            .for_each(Daemon::wait_until_ready);
        value_of("the cluster's identity", PATIENCE, || {
            let status = self.try_ctl(&["cluster", "status"])?;
            match status["cluster_uid"].as_str() {
                Some(uid) if !uid.is_empty() => Ok(()),
                _ => Err(status.to_string()),
            }
        });
        value_of("the nodes to be up", PATIENCE, || {
            let nodes = self.try_ctl(&["node", "list"])?;
            let up = |node: &&Value| node["availability"] == "up";
            let count = nodes.as_array().map_or(0, |nodes| nodes.iter().filter(up).count());
            if count == self.nodes.len() {
                Ok(())
            } else {
                Err(nodes.to_string())
            }
        });
    }

    /// Whether another process took one of the ports between our look and the start.
    fn lost_a_port(&mut self) -> bool {
        let mut daemons = self.members.iter_mut().chain(&mut self.nodes);
        daemons.any(|daemon| {
            value_of("a process to start", PATIENCE, || match daemon.ended() {
                Some(_) => Ok(daemon.log().contains("cannot listen on")),
                None => get(daemon.ops, "localhost", "/livez")
                    .map(|_| false)
                    .map_err(|error| error.to_string()),
            })
        })
    }

    fn give_up(self) -> TempDir {
        let Self {
            members, nodes, folder, ..
        } = self;
        drop((members, nodes));
        folder
    }

    /// A member has joined at `address`.
    pub(crate) fn push_address(&mut self, address: SocketAddr) {
        self.grpc.push(address);
    }

    /// Where member `index` (from 0) takes gRPC.
    ///
    /// # Panics
    /// When there is no such member.
    #[must_use]
    pub fn grpc(&self, index: usize) -> String {
        self.grpc.get(index).expect("there is such a member").to_string()
    }

    /// Where everything is kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Members' addresses as `tenantctl` and nodes take them.
    #[must_use]
    pub fn endpoints(&self) -> String {
        self.grpc.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// Where node `index` (from 0) serves tenants.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn data(&self, index: usize) -> SocketAddr {
        *self.data.get(index).expect("there is such a node")
    }

    /// Somebody with `tenantctl`, who can go on while the cluster is being broken.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(self.endpoints(), self.operator_files())
    }

    fn operator_files(&self) -> Vec<String> {
        match self.security {
            Security::Development => Vec::new(),
            Security::Certificates => certificate_flags(&self.folder().join(CERTIFICATES).join("operator")),
        }
    }

    /// As [`Cluster::operator`], but knows only the member `index` (from 0).
    ///
    /// # Panics
    /// When there is no such member.
    #[must_use]
    pub fn operator_at(&self, index: usize) -> Operator {
        let endpoint = self.grpc.get(index).expect("there is such a member").to_string();
        Operator::new(endpoint, self.operator_files())
    }

    /// Runs `tenantctl -o json`; the error is what it wrote to stderr.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<Value, String> {
        self.operator().try_ctl(arguments)
    }

    /// As [`Cluster::try_ctl`], for what has to work.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Value {
        self.try_ctl(arguments)
            .unwrap_or_else(|error| panic!("tenantctl {arguments:?}: {error}"))
    }

    /// Creates a tenant and waits until both nodes serve it; answers with the index of its owner.
    ///
    /// # Panics
    /// When it cannot be created or is not served in time.
    pub fn create_tenant(&self, name: &str, flags: &[&str]) -> usize {
        let _ = self.ctl(&[&["tenant", "create", name], flags].concat());
        for node in 0..NODES {
            self.wait_until_served(node, name);
        }
        // It may have been placed only after it was created.
        match self.ctl(&["tenant", "get", name])["node"].as_str() {
            Some("node-1") => 0,
            Some("node-2") => 1,
            other => panic!("the tenant was placed on {other:?}"),
        }
    }

    /// Creates tenants until each node owns one; answers with the first of each, by node.
    ///
    /// # Panics
    /// As [`Self::create_tenant`], and when sixteen leave a node without any.
    pub fn create_tenant_of_each_node(&self, flags: &[&str]) -> [String; NODES] {
        let mut owned = [const { None }; NODES];
        for number in 0..16 {
            let name = format!("tenant-{number}");
            let owner = self.create_tenant(&name, flags);
            owned[owner].get_or_insert(name);
            if owned.iter().all(Option::is_some) {
                break;
            }
        }
        owned.map(|name| name.expect("each node has a tenant"))
    }

    /// Waits until a node answers for a tenant. Charges nothing.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_until_served(&self, node: usize, tenant: &str) {
        let host = format!("{tenant}.localhost");
        let token = match self.security {
            Security::Development => None,
            Security::Certificates => Some(format!("Bearer {}", self.operator().token(tenant, "ro"))),
        };
        let mut headers = vec![("host", host.as_str())];
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        value_of(
            &format!("{tenant} to be served by node {node}"),
            PATIENCE,
            || match get_with(self.data(node), &headers, "/v1/usage") {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(error.to_string()),
            },
        );
    }

    /// Sends statements to a tenant through a node as one pipeline.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn sql(&self, node: usize, tenant: &str, statements: &[&str]) -> io::Result<Answer> {
        let requests: Vec<Value> = statements.iter().map(|sql| execute(sql)).collect();
        self.pipeline(node, tenant, &pipeline(&requests))
    }

    /// Sends a body to a tenant's `/v3/pipeline` through a node.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn pipeline(&self, node: usize, tenant: &str, body: &str) -> io::Result<Answer> {
        let host = format!("{tenant}.localhost");
        post(
            self.data(node),
            "/v3/pipeline",
            &[("host", &host), ("content-type", "application/json")],
            body,
        )
    }

    /// The only value of a query's first row.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn query(&self, node: usize, tenant: &str, sql: &str) -> String {
        let answer = self
            .sql(node, tenant, &[sql])
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        scalar(&answer).unwrap_or_else(|| panic!("{sql}: {answer:?}"))
    }

    /// Runs statements that all have to work.
    ///
    /// # Panics
    /// When one does not.
    pub fn run(&self, node: usize, tenant: &str, statements: &[&str]) {
        let answer = self
            .sql(node, tenant, statements)
            .unwrap_or_else(|error| panic!("{statements:?}: {error}"));
        assert_eq!(
            (answer.status, first_error(&answer)),
            (200, None),
            "{statements:?}: {}",
            answer.body
        );
    }

    /// Index of the leader that a majority of the members knows, waiting for one that is not `other_than`.
    ///
    /// # Panics
    /// When there is none in time.
    #[must_use]
    pub fn leader(&self, other_than: Option<usize>) -> usize {
        value_of("a leader", PATIENCE, || {
            let status = self.try_ctl(&["cluster", "status"])?;
            let leader = status["leader_id"]
                .as_u64()
                .and_then(|id| usize::try_from(id).ok()?.checked_sub(1));
            leader
                .filter(|leader| Some(*leader) != other_than)
                .ok_or_else(|| status.to_string())
        })
    }

    /// Waits until all members have applied the same and come to the same digest.
    ///
    /// # Panics
    /// When they do not in time.
    pub fn wait_until_members_agree(&self) {
        value_of("the members to agree", PATIENCE, || {
            let status = self.try_ctl(&["cluster", "status"])?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let standings: Vec<_> = members
                .iter()
                .map(|member| (&member["applied_index"], &member["state_digest"]))
                .collect();
            let all_answer = members.iter().all(|member| member["role"].is_string());
            let agree =
                members.len() == MEMBERS && all_answer && standings.windows(2).all(|pair| pair.first() == pair.last());
            if agree { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

impl Security {
    /// Flags as the daemon `role` takes them.
    fn flags(self, folder: &Path, role: &str, arguments: &[(&str, String)]) -> Vec<String> {
        match self {
            Self::Development => flags(arguments),
            Self::Certificates => {
                let mut flags = certificate_flags(&folder.join(CERTIFICATES).join(role));
                flags.extend(flags_alone(arguments));
                flags
            }
        }
    }
}

/// Makes certificates of all roles in `folder`, as an operator does.
///
/// # Panics
/// When `tenantctl` fails.
pub fn create_certificates(folder: &Path) {
    let made = command("tenantctl")
        .args(["certificates", "create", "--out"])
        .arg(folder)
        .output();
    let made = made.expect("tenantctl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The flags of a program that proves itself with the files of `folder`.
#[must_use]
pub fn certificate_flags(folder: &Path) -> Vec<String> {
    let pair = |(flag, file): (&str, &str)| [flag.to_owned(), folder.join(file).display().to_string()];
    let files = [
        ("--tls-ca", "ca.crt"),
        ("--tls-cert", "tls.crt"),
        ("--tls-key", "tls.key"),
    ];
    files.into_iter().flat_map(pair).collect()
}

/// Flags as the daemons take them in development.
pub(crate) fn flags(arguments: &[(&str, String)]) -> Vec<String> {
    let mut flags = vec!["--insecure-dev".to_owned()];
    flags.extend(flags_alone(arguments));
    flags
}

fn flags_alone(arguments: &[(&str, String)]) -> Vec<String> {
    let pair = |(name, value): &(&str, String)| [format!("--{name}"), value.clone()];
    arguments.iter().flat_map(pair).collect()
}

/// An `execute` request.
#[must_use]
pub fn execute(sql: &str) -> Value {
    json!({"type": "execute", "stmt": {"sql": sql}})
}

/// A pipeline's body.
#[must_use]
pub fn pipeline(requests: &[Value]) -> String {
    json!({"baton": null, "requests": requests}).to_string()
}

/// The first value of the first row of the first result.
#[must_use]
pub fn scalar(answer: &Answer) -> Option<String> {
    let cell = &answer.json()["results"][0]["response"]["result"]["rows"][0][0];
    match &cell["value"] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The message of the first statement that failed.
#[must_use]
pub fn first_error(answer: &Answer) -> Option<String> {
    let answer = answer.json();
    let results = answer["results"].as_array()?;
    let message = |result: &Value| result["error"]["message"].as_str().map(ToOwned::to_owned);
    results.iter().find_map(message)
}
