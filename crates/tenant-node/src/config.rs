//! What a tenant-node is told at start, checked before a socket opens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mutual_tls::{Role, Security};
use serde::{Deserialize, Serialize};
use service_runtime::options::{InvalidOption, all_on_loopback, millis, positive, required};
use service_runtime::security::security;
use tenantry_types::{ByteSize, InvalidByteSize, Labels, NodeCapacity, NodeEndpoints, NodeId, NodeSpec};

use crate::http::router::RateLimitFields;
use crate::layers::Authentication;

mod defaults;

pub use defaults::Machine;

/// The options as given; an absent one has its default. Flags, environment and file use the same names.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// This node's id, a DNS label; its data folder keeps it for ever.
    #[arg(long, env = "TENANTRY_NODE_ID")]
    pub node_id: Option<String>,
    /// Where everything is kept. Belongs to this node alone.
    #[arg(long, env = "TENANTRY_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Control-plane members, `host:port`, separated by commas.
    #[arg(long, env = "TENANTRY_CONTROL_PLANE", value_delimiter = ',')]
    pub control_plane: Option<Vec<String>>,
    /// Tenants' HTTP [default: 127.0.0.1:8401].
    #[arg(long, env = "TENANTRY_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Requests forwarded by other nodes [default: 127.0.0.1:8421].
    #[arg(long, env = "TENANTRY_PEER_LISTEN")]
    pub peer_listen: Option<SocketAddr>,
    /// Metrics and probes [default: 127.0.0.1:8411].
    #[arg(long, env = "TENANTRY_OPS_LISTEN")]
    pub ops_listen: Option<SocketAddr>,
    /// `listen` as clients reach it, `host:port` [default: `listen`].
    #[arg(long, env = "TENANTRY_ADVERTISE_DATA")]
    pub advertise_data: Option<String>,
    /// `peer-listen` as other nodes reach it, `host:port` [default: `peer-listen`].
    #[arg(long, env = "TENANTRY_ADVERTISE_PEER")]
    pub advertise_peer: Option<String>,
    /// `ops-listen` as Prometheus reaches it, `host:port` [default: `ops-listen`].
    #[arg(long, env = "TENANTRY_ADVERTISE_OPS")]
    pub advertise_ops: Option<String>,
    /// Tenants live at `TENANT.SUFFIX` [default: localhost].
    #[arg(long, env = "TENANTRY_HOST_SUFFIX")]
    pub host_suffix: Option<String>,
    /// Failure domain of this machine [default: none].
    #[arg(long, env = "TENANTRY_ZONE")]
    pub zone: Option<String>,
    /// How many tenants may be placed here [default: 10000].
    #[arg(long, env = "TENANTRY_MAX_TENANTS")]
    pub max_tenants: Option<u64>,
    /// Disk for tenants' data, such as `500GiB` [default: the size of the file system].
    #[arg(long, env = "TENANTRY_DISK")]
    pub disk: Option<String>,
    /// Databases kept open at once [default: 1000].
    #[arg(long, env = "TENANTRY_MAX_OPEN_TENANTS")]
    pub max_open_tenants: Option<usize>,
    /// A database without requests for this long is closed, in milliseconds [default: 600000].
    #[arg(long, env = "TENANTRY_IDLE_CLOSE_MS")]
    pub idle_close_ms: Option<u64>,
    /// Requests that run SQL at a moment; those that wait for the disk count [default: 4 for each core].
    #[arg(long, env = "TENANTRY_RUNNING_QUERIES")]
    pub running_queries: Option<usize>,
    /// Of these, requests whose SQL has been running for more than 10 ms, or whose tenant sends hardly any others; they also run at a lower
    /// priority [default: 1 for each core].
    #[arg(long, env = "TENANTRY_LONG_RUNNING_QUERIES")]
    pub long_running_queries: Option<usize>,
    /// Requests of one tenant that run SQL at a moment [default: half of running-queries].
    #[arg(long, env = "TENANTRY_QUERIES_PER_TENANT")]
    pub queries_per_tenant: Option<usize>,
    /// Memory that SQLite may take for all tenants together; beyond it statements fail and the process lives. Leave room below the limit of
    /// a container for all else: half of it is a good choice [default: 4GiB].
    #[arg(long, env = "TENANTRY_SQLITE_MEMORY")]
    pub sqlite_memory: Option<String>,
    /// Most disk for the log that makes the commits of all tenants durable together. Where it has no room, each tenant's commits are
    /// synced by themselves [default: 256MiB].
    #[arg(long, env = "TENANTRY_NODE_LOG_SIZE")]
    pub node_log_size: Option<String>,
    /// How often tenants' figures are sampled, hotspots among them, in milliseconds [default: 10000].
    #[arg(long, env = "TENANTRY_SAMPLE_INTERVAL_MS")]
    pub sample_interval_ms: Option<u64>,
    /// Processor time that the conditions of tenants are measured against, in thousandths of one core [default: all cores].
    #[arg(long, env = "TENANTRY_NODE_MILLICORES")]
    pub node_millicores: Option<u64>,
    /// Events kept while the control plane does not take them [default: 10000].
    #[arg(long, env = "TENANTRY_OUTBOX_EVENTS")]
    pub outbox_events: Option<u64>,
    /// How often a point of database growth is taken, in milliseconds [default: 300000].
    #[arg(long, env = "TENANTRY_GROWTH_INTERVAL_MS")]
    pub growth_interval_ms: Option<u64>,
    /// Tenants with series of their own at /metrics; the others are summed up [default: 1000].
    #[arg(long, env = "TENANTRY_METRICS_TENANT_LIMIT")]
    pub metrics_tenant_limit: Option<usize>,
    /// Connections at once on each listener [default: 4096].
    #[arg(long, env = "TENANTRY_MAX_CONNECTIONS")]
    pub max_connections: Option<usize>,
    /// How long requests are still taken at a stop, for load balancers to see that this node is not ready, in milliseconds
    /// [default: 1000].
    #[arg(long, env = "TENANTRY_STOP_NOTICE_MS")]
    pub stop_notice_ms: Option<u64>,
    /// How long requests under way may take at a stop, in milliseconds [default: 10000].
    #[arg(long, env = "TENANTRY_DRAIN_MS")]
    pub drain_ms: Option<u64>,
    /// Answers carry X-RateLimit-Limit, -Remaining and -Reset of the daily limit, too [default: false].
    #[arg(long, env = "TENANTRY_LEGACY_RATE_LIMIT_FIELDS", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub legacy_rate_limit_fields: Option<bool>,
    /// PEM file of the authorities that members and other nodes are believed by.
    #[arg(long, env = "TENANTRY_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file of this node's certificate, one with the DNS name `tenant-node.tenantry`, and of those between it and its
    /// authority. Read again when it changes, as the other two are.
    #[arg(long, env = "TENANTRY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, env = "TENANTRY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Plain text and no tokens. Listens on loopback only. For development.
    #[arg(long, env = "TENANTRY_INSECURE_DEV", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_dev: Option<bool>,
}

/// What the node runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Control-plane members, `host:port`.
    pub control_plane: Vec<String>,
    /// Tenants' HTTP.
    pub listen: SocketAddr,
    /// Requests forwarded by other nodes.
    pub peer_listen: SocketAddr,
    /// Metrics and probes.
    pub ops_listen: SocketAddr,
    /// What the node says of itself.
    pub spec: NodeSpec,
    /// Tenants live at `TENANT.host_suffix`.
    pub host_suffix: String,
    /// Databases kept open at once.
    pub max_open_tenants: usize,
    /// When an idle database is closed.
    pub idle_close: Duration,
    /// Requests that run SQL at a moment.
    pub running_queries: usize,
    /// Of these, requests that have been running for long.
    pub long_running_queries: usize,
    /// Requests of one tenant that run SQL at a moment.
    pub queries_per_tenant: usize,
    /// Memory that SQLite may take for all tenants together.
    pub sqlite_memory: ByteSize,
    /// Most disk for the log of all tenants.
    pub node_log_size: ByteSize,
    /// How often tenants' figures are sampled.
    pub sample_interval: Duration,
    /// The node's processor time, in thousandths of one core.
    pub node_millicores: u64,
    /// Events kept while the control plane does not take them.
    pub outbox_events: u64,
    /// How often a point of growth is taken.
    pub growth_interval: Duration,
    /// Tenants with series of their own.
    pub metrics_tenant_limit: usize,
    /// Connections at once on each listener.
    pub max_connections: usize,
    /// How long requests are still taken at a stop.
    pub stop_notice: Duration,
    /// How long requests under way may take at a stop.
    pub drain: Duration,
    /// What answers say of request limits.
    pub rate_limit_fields: RateLimitFields,
    /// Whether callers must prove who they are.
    pub authentication: Authentication,
    /// How connections to members and other nodes are opened and taken.
    pub security: Security,
}

impl Options {
    /// Fills in the defaults and checks everything. `disk_size` is the size of the data folder's file system, in bytes.
    ///
    /// # Errors
    /// Names the first option that cannot be used.
    pub fn check(self, disk_size: u64) -> Result<Config, InvalidOption> {
        self.with_defaults(Machine::with_disk(disk_size)).check_filled()
    }

    fn check_filled(self) -> Result<Config, InvalidOption> {
        let node = required("node-id", self.node_id)?;
        let node = NodeId::new(&node).map_err(|error| InvalidOption::new("node-id", error.to_string()))?;
        let data_dir = required("data-dir", self.data_dir)?;
        let control_plane = self
            .control_plane
            .filter(|members| !members.is_empty())
            .ok_or_else(|| InvalidOption::missing("control-plane"))?;
        for member in &control_plane {
            check_address("control-plane", member)?;
        }
        let listen = required("listen", self.listen)?;
        let peer_listen = required("peer-listen", self.peer_listen)?;
        let ops_listen = required("ops-listen", self.ops_listen)?;
        let files = [self.tls_ca, self.tls_cert, self.tls_key];
        let security = security(files, self.insecure_dev, &[Role::TenantNode])?;
        let authentication = match security {
            Security::Plain => Authentication::Open,
            Security::MutualTls(_) => Authentication::Required,
        };
        if authentication == Authentication::Open {
            all_on_loopback(&[
                ("listen", listen),
                ("peer-listen", peer_listen),
                ("ops-listen", ops_listen),
            ])?;
        }
        let endpoints = NodeEndpoints {
            data: advertised("advertise-data", self.advertise_data, listen)?,
            peer: advertised("advertise-peer", self.advertise_peer, peer_listen)?,
            ops: advertised("advertise-ops", self.advertise_ops, ops_listen)?,
        };
        let disk: ByteSize = required("disk", self.disk)?
            .parse()
            .map_err(|error: InvalidByteSize| InvalidOption::new("disk", error.to_string()))?;
        let capacity = NodeCapacity {
            max_tenants: positive("max-tenants", self.max_tenants)?,
            disk,
        };
        let host_suffix = required("host-suffix", self.host_suffix)?;
        if host_suffix.trim_matches('.').is_empty() {
            return Err(InvalidOption::new("host-suffix", "must not be empty"));
        }
        Ok(Config {
            node,
            data_dir,
            control_plane,
            listen,
            peer_listen,
            ops_listen,
            spec: NodeSpec {
                endpoints,
                capacity,
                zone: self.zone.unwrap_or_default(),
                labels: Labels::default(),
            },
            host_suffix,
            max_open_tenants: positive("max-open-tenants", self.max_open_tenants)?,
            idle_close: millis("idle-close-ms", self.idle_close_ms)?,
            running_queries: positive("running-queries", self.running_queries)?,
            long_running_queries: positive("long-running-queries", self.long_running_queries)?,
            queries_per_tenant: positive("queries-per-tenant", self.queries_per_tenant)?,
            sqlite_memory: at_least("sqlite-memory", self.sqlite_memory, LEAST_SQLITE_MEMORY)?,
            node_log_size: at_least("node-log-size", self.node_log_size, LEAST_NODE_LOG_SIZE)?,
            sample_interval: millis("sample-interval-ms", self.sample_interval_ms)?,
            node_millicores: positive("node-millicores", self.node_millicores)?,
            outbox_events: positive("outbox-events", self.outbox_events)?,
            growth_interval: millis("growth-interval-ms", self.growth_interval_ms)?,
            metrics_tenant_limit: positive("metrics-tenant-limit", self.metrics_tenant_limit)?,
            max_connections: positive("max-connections", self.max_connections)?,
            stop_notice: Duration::from_millis(required("stop-notice-ms", self.stop_notice_ms)?),
            drain: millis("drain-ms", self.drain_ms)?,
            rate_limit_fields: match required("legacy-rate-limit-fields", self.legacy_rate_limit_fields)? {
                true => RateLimitFields::DraftAndLegacy,
                false => RateLimitFields::Draft,
            },
            authentication,
            security,
        })
    }
}

/// With less than this not even an empty database can be worked with by a few clients.
const LEAST_SQLITE_MEMORY: ByteSize = ByteSize(16 << 20);

/// With less than this hardly a commit finds room before the ones before it are in their tenants' files.
const LEAST_NODE_LOG_SIZE: ByteSize = ByteSize(16 << 20);

fn at_least(option: &'static str, given: Option<String>, least: ByteSize) -> Result<ByteSize, InvalidOption> {
    let invalid = |reason: String| InvalidOption::new(option, reason);
    let size: ByteSize = required(option, given)?
        .parse()
        .map_err(|error: InvalidByteSize| invalid(error.to_string()))?;
    match size < least {
        true => Err(invalid(format!("must be at least {least}"))),
        false => Ok(size),
    }
}

fn check_address(option: &'static str, address: &str) -> Result<(), InvalidOption> {
    let port = address
        .rsplit_once(':')
        .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten());
    match port {
        Some(port) if port > 0 => Ok(()),
        _ => Err(InvalidOption::new(option, format!("`{address}` is not host:port"))),
    }
}

/// What others are told. Without a default when the socket is bound to a wildcard address, which leads nowhere for them.
fn advertised(option: &'static str, given: Option<String>, bound: SocketAddr) -> Result<String, InvalidOption> {
    match given {
        Some(address) => check_address(option, &address).map(|()| address),
        None => Err(InvalidOption::new(
            option,
            format!("must be given, since {bound} leads nowhere for others"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            node_id: Some("node-1".into()),
            data_dir: Some("data".into()),
            control_plane: Some(vec!["127.0.0.1:7401".into()]),
            insecure_dev: Some(true),
            ..Options::default()
        }
    }

    #[test]
    fn the_defaults_are_those_of_a_local_node() {
        let config = options().check(1 << 30).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8401");
        assert_eq!(config.spec.endpoints.peer, "127.0.0.1:8421");
        assert_eq!(config.spec.capacity.disk, ByteSize(1 << 30));
        assert_eq!(config.authentication, Authentication::Open);
    }

    #[test]
    fn others_are_told_an_address_that_leads_somewhere() {
        let bound = |text: &str| text.parse::<SocketAddr>().unwrap();
        let told =
            |given: Option<&str>, address| advertised("advertise-data", given.map(str::to_owned), bound(address));
        let reachable = Options {
            listen: Some(bound("10.0.0.1:8401")),
            ..options()
        };
        let told_by_default = reachable.with_defaults(Machine::with_disk(1)).advertise_data;
        assert_eq!(told_by_default.as_deref(), Some("10.0.0.1:8401"));
        assert_eq!(told(Some("node-1:8401"), "0.0.0.0:8401").unwrap(), "node-1:8401");
        for (given, address) in [
            (None, "0.0.0.0:8401"),
            (None, "[::]:8401"),
            (Some("node-1"), "0.0.0.0:8401"),
        ] {
            assert_eq!(told(given, address).unwrap_err().option, "advertise-data", "{given:?}");
        }
    }

    #[test]
    fn an_option_that_cannot_be_used_is_named() {
        let wildcard = Some("0.0.0.0:8401".parse().unwrap());
        let cases = [
            (
                Options {
                    node_id: None,
                    ..options()
                },
                "node-id",
            ),
            (
                Options {
                    node_id: Some("No/de".into()),
                    ..options()
                },
                "node-id",
            ),
            (
                Options {
                    data_dir: None,
                    ..options()
                },
                "data-dir",
            ),
            (
                Options {
                    control_plane: Some(vec![]),
                    ..options()
                },
                "control-plane",
            ),
            (
                Options {
                    control_plane: Some(vec!["here".into()]),
                    ..options()
                },
                "control-plane",
            ),
            (
                Options {
                    listen: wildcard,
                    ..options()
                },
                "listen",
            ),
            (
                Options {
                    insecure_dev: None,
                    ..options()
                },
                "tls-ca",
            ),
            (
                Options {
                    peer_listen: wildcard,
                    ..options()
                },
                "peer-listen",
            ),
            (
                Options {
                    disk: Some("much".into()),
                    ..options()
                },
                "disk",
            ),
            (
                Options {
                    sqlite_memory: Some("1MiB".into()),
                    ..options()
                },
                "sqlite-memory",
            ),
            (
                Options {
                    max_tenants: Some(0),
                    ..options()
                },
                "max-tenants",
            ),
            (
                Options {
                    node_millicores: Some(0),
                    ..options()
                },
                "node-millicores",
            ),
            (
                Options {
                    outbox_events: Some(0),
                    ..options()
                },
                "outbox-events",
            ),
            (
                Options {
                    sample_interval_ms: Some(0),
                    ..options()
                },
                "sample-interval-ms",
            ),
        ];
        for (options, option) in cases {
            assert_eq!(options.check(1).unwrap_err().option, option);
        }
    }
}
