//! The development cluster on paper: which processes with which arguments on which ports. No I/O.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const MEMBERS: u16 = 3;
pub(crate) const NODES: u16 = 2;

/// How often a node measures its tenants: often, so that figures move while one looks.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);
/// Short, so that a figure of growth is there while somebody still looks.
const GROWTH_INTERVAL: Duration = Duration::from_secs(10);

/// Which of the two daemons a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ControlPlane,
    TenantNode,
}

impl Role {
    /// The binary's name.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::TenantNode => "tenant-node",
        }
    }
}

/// One process of the cluster.
#[derive(Debug)]
pub(crate) struct Service {
    /// `control-plane-1`, `node-2`.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) args: Vec<OsString>,
    pub(crate) ports: Vec<Port>,
    pub(crate) ops: SocketAddr,
}

/// An address that a service listens on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) purpose: &'static str,
}

/// All services, members first.
pub(crate) fn services(data: &Path) -> Vec<Service> {
    (1..=MEMBERS)
        .map(|id| member(id, data))
        .chain((1..=NODES).map(|id| node(id, data)))
        .collect()
}

/// gRPC addresses of the members, as `--endpoint` takes them.
pub(crate) fn endpoints() -> String {
    (1..=MEMBERS)
        .map(|id| grpc(id).to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// The members as `--initial-members` takes them.
pub(crate) fn initial_members() -> String {
    (1..=MEMBERS)
        .map(|id| format!("{id}={}", grpc(id)))
        .collect::<Vec<_>>()
        .join(",")
}

/// Where node `id` serves tenants.
pub(crate) fn data_http(id: u16) -> SocketAddr {
    loopback(8400 + id)
}

/// Where the logs are.
pub(crate) fn logs(data: &Path) -> PathBuf {
    data.join("logs")
}

/// The log of one service.
pub(crate) fn log_file(data: &Path, name: &str) -> PathBuf {
    logs(data).join(format!("{name}.log"))
}

fn member(id: u16, data: &Path) -> Service {
    let (grpc, ops) = (grpc(id), loopback(7410 + id));
    let name = format!("control-plane-{id}");
    let args = Args::default()
        .option("--member-id", id.to_string())
        .option("--initial-members", initial_members())
        .option("--listen", grpc.to_string())
        .option("--ops-listen", ops.to_string())
        .option("--data-dir", data.join(&name))
        .flag("--insecure-dev");
    let ports = vec![
        Port {
            address: grpc,
            purpose: "gRPC",
        },
        Port {
            address: ops,
            purpose: "ops HTTP",
        },
    ];
    Service {
        name,
        role: Role::ControlPlane,
        args: args.0,
        ports,
        ops,
    }
}

fn node(id: u16, data: &Path) -> Service {
    let (http, ops, peer) = (data_http(id), loopback(8410 + id), loopback(8420 + id));
    let name = format!("node-{id}");
    let args = Args::default()
        .option("--node-id", name.as_str())
        .option("--control-plane", endpoints())
        .option("--listen", http.to_string())
        .option("--peer-listen", peer.to_string())
        .option("--ops-listen", ops.to_string())
        .option("--data-dir", data.join(&name))
        .option("--host-suffix", "localhost")
        .flag("--insecure-dev")
        .option("--sample-interval-ms", SAMPLE_INTERVAL.as_millis().to_string())
        .option("--growth-interval-ms", GROWTH_INTERVAL.as_millis().to_string());
    let ports = vec![
        Port {
            address: http,
            purpose: "data HTTP",
        },
        Port {
            address: ops,
            purpose: "ops HTTP",
        },
        Port {
            address: peer,
            purpose: "node-to-node gRPC",
        },
    ];
    Service {
        name,
        role: Role::TenantNode,
        args: args.0,
        ports,
        ops,
    }
}

fn grpc(member: u16) -> SocketAddr {
    loopback(7400 + member)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Arguments under construction.
#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(mut self, name: &str) -> Self {
        self.0.push(name.into());
        self
    }

    fn option(self, name: &str, value: impl Into<OsString>) -> Self {
        let mut args = self.flag(name);
        args.0.push(value.into());
        args
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn three_members_and_two_nodes_share_no_port_and_no_folder() {
        let services = services(Path::new("/data"));
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "control-plane-1",
                "control-plane-2",
                "control-plane-3",
                "node-1",
                "node-2"
            ]
        );
        let ports: Vec<SocketAddr> = services
            .iter()
            .flat_map(|service| &service.ports)
            .map(|port| port.address)
            .collect();
        assert_eq!(ports.len(), 12);
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        assert!(
            ports.iter().all(|port| port.ip().is_loopback()),
            "open access stays on this machine"
        );
    }

    #[test]
    fn arguments_are_those_that_the_daemons_take() {
        let services = services(Path::new("/data"));
        let line = |service: &Service| {
            service
                .args
                .iter()
                .map(|arg| arg.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let members = "1=127.0.0.1:7401,2=127.0.0.1:7402,3=127.0.0.1:7403";
        assert_eq!(
            line(&services[1]),
            format!(
                "--member-id 2 --initial-members {members} --listen 127.0.0.1:7402 --ops-listen 127.0.0.1:7412 \
                 --data-dir /data/control-plane-2 --insecure-dev"
            )
        );
        assert_eq!(
            line(&services[4]),
            "--node-id node-2 --control-plane 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --listen 127.0.0.1:8402 \
             --peer-listen 127.0.0.1:8422 --ops-listen 127.0.0.1:8412 --data-dir /data/node-2 --host-suffix localhost \
             --insecure-dev --sample-interval-ms 2000 --growth-interval-ms 10000"
        );
    }
}
