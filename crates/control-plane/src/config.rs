//! What a control-plane member is told at start, checked before a socket opens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mutual_tls::{Role, Security};
use serde::{Deserialize, Serialize};
use service_runtime::options::{InvalidOption, all_on_loopback, millis, positive, required};
use service_runtime::security::security;
use tenantry_types::MemberId;
use webhook_delivery::{AddressPolicy, Client, ClientOptions, Network, Schedule};

use crate::observations::Patience;
use crate::raft::{InitialMembers, InvalidMembers, Origin};
use crate::webhooks::DeliveryOptions;

mod defaults;

/// The options as given; an absent one has its default. Flags, environment and file use the same names.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// This member's id, a whole number from 1.
    #[arg(long, env = "TENANTRY_MEMBER_ID")]
    pub member_id: Option<u64>,
    /// All first members, this one among them, the same list on each: `1=host:port,2=host:port,3=host:port`.
    #[arg(long, env = "TENANTRY_INITIAL_MEMBERS")]
    pub initial_members: Option<String>,
    /// For a member that is added to a running cluster: the cluster's join token, as `tenantctl cluster member list` shows it. A
    /// member that the initial members name does not need it.
    #[arg(long, env = "TENANTRY_JOIN")]
    pub join: Option<String>,
    /// Where everything is kept. Belongs to this member alone.
    #[arg(long, env = "TENANTRY_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// gRPC: services and Raft [default: 127.0.0.1:7401]. Others reach it at this member's address in the list.
    #[arg(long, env = "TENANTRY_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Metrics and probes [default: 127.0.0.1:7411].
    #[arg(long, env = "TENANTRY_OPS_LISTEN")]
    pub ops_listen: Option<SocketAddr>,
    /// Length of a Raft tick, in milliseconds [default: 50]. A heartbeat takes 2 ticks, an election 10 to 20.
    #[arg(long, env = "TENANTRY_TICK_MS")]
    pub tick_ms: Option<u64>,
    /// A snapshot is written every so many applied entries [default: 10000].
    #[arg(long, env = "TENANTRY_SNAPSHOT_EVERY")]
    pub snapshot_every: Option<u64>,
    /// Log entries kept behind the newest snapshot, for members that lag [default: 5000].
    #[arg(long, env = "TENANTRY_LOG_KEEP")]
    pub log_keep: Option<u64>,
    /// How often tenant-nodes send a heartbeat, in milliseconds [default: 2000].
    #[arg(long, env = "TENANTRY_HEARTBEAT_MS")]
    pub heartbeat_ms: Option<u64>,
    /// A node that is silent for longer is suspect, in milliseconds [default: 7000].
    #[arg(long, env = "TENANTRY_SUSPECT_MS")]
    pub suspect_ms: Option<u64>,
    /// A node that is silent for longer is down, in milliseconds [default: 30000].
    #[arg(long, env = "TENANTRY_DOWN_MS")]
    pub down_ms: Option<u64>,
    /// A deleted tenant's data is kept for so many hours [default: 168].
    #[arg(long, env = "TENANTRY_PURGE_HOURS")]
    pub purge_hours: Option<u64>,
    /// Networks that webhooks may be in beside public addresses, such as `10.1.0.0/16,127.0.0.1` [default: none]. To these,
    /// plain `http` is allowed, too.
    #[arg(long, env = "TENANTRY_WEBHOOK_NETWORKS")]
    pub webhook_networks: Option<String>,
    /// Certificates in PEM of authorities that webhooks' receivers may be certified by, beside the public ones.
    #[arg(long, env = "TENANTRY_WEBHOOK_CA_FILE")]
    pub webhook_ca_file: Option<PathBuf>,
    /// Pauses between the attempts to deliver one message, in milliseconds [default:
    /// 5000,30000,120000,600000,1800000,3600000,7200000,14400000,28800000].
    #[arg(long, env = "TENANTRY_WEBHOOK_PAUSES_MS")]
    pub webhook_pauses_ms: Option<String>,
    /// PEM file of the authorities that members, nodes and operators are believed by.
    #[arg(long, env = "TENANTRY_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file of this member's certificate, one with the DNS name `control-plane.tenantry`, and of those between it and its
    /// authority. Read again when it changes, as the other two are.
    #[arg(long, env = "TENANTRY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, env = "TENANTRY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Plain text and open access. Listens on loopback only. For development.
    #[arg(long, env = "TENANTRY_INSECURE_DEV", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_dev: Option<bool>,
}

/// What the member runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member.
    pub member: MemberId,
    /// How this member came to the cluster.
    pub origin: Origin,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// gRPC.
    pub listen: SocketAddr,
    /// Metrics and probes.
    pub ops_listen: SocketAddr,
    /// Length of a Raft tick.
    pub tick: Duration,
    /// Applied entries between two snapshots.
    pub snapshot_every: u64,
    /// Log entries kept behind a snapshot.
    pub log_keep: u64,
    /// When a node's silence means what.
    pub patience: Patience,
    /// How long a deleted tenant's data is kept.
    pub purge_after: Duration,
    /// How events are sent to webhooks.
    pub webhooks: DeliveryOptions,
    /// How connections to others are opened and taken.
    pub security: Security,
}

impl Options {
    /// Fills in the defaults and checks everything.
    ///
    /// # Errors
    /// Names the first option that cannot be used.
    pub fn check(self) -> Result<Config, InvalidOption> {
        self.with_defaults().check_filled()
    }

    fn check_filled(self) -> Result<Config, InvalidOption> {
        let member = required("member-id", self.member_id)?;
        let member = MemberId::new(member).map_err(|error| InvalidOption::new("member-id", error.to_string()))?;
        let origin = origin(member, self.initial_members.as_deref(), self.join.as_deref())?;
        let data_dir = required("data-dir", self.data_dir)?;
        let listen = required("listen", self.listen)?;
        let ops_listen = required("ops-listen", self.ops_listen)?;
        let files = [self.tls_ca, self.tls_cert, self.tls_key];
        let security = security(files, self.insecure_dev, &[Role::ControlPlane])?;
        if matches!(security, Security::Plain) {
            all_on_loopback(&[("listen", listen), ("ops-listen", ops_listen)])?;
        }
        let patience = Patience {
            heartbeat_interval: millis("heartbeat-ms", self.heartbeat_ms)?,
            suspect_after: millis("suspect-ms", self.suspect_ms)?,
            down_after: millis("down-ms", self.down_ms)?,
        };
        if !(patience.heartbeat_interval < patience.suspect_after && patience.suspect_after < patience.down_after) {
            return Err(InvalidOption::new(
                "suspect-ms",
                "must lie between heartbeat-ms and down-ms",
            ));
        }
        Ok(Config {
            member,
            origin,
            data_dir,
            listen,
            ops_listen,
            tick: millis("tick-ms", self.tick_ms)?,
            snapshot_every: positive("snapshot-every", self.snapshot_every)?,
            log_keep: required("log-keep", self.log_keep)?,
            patience,
            security,
            webhooks: webhooks(
                self.webhook_networks.as_deref(),
                self.webhook_ca_file.as_deref(),
                &required("webhook-pauses-ms", self.webhook_pauses_ms)?,
            )?,
            purge_after: Duration::from_secs(3_600 * positive("purge-hours", self.purge_hours)?.min(1_000_000)),
        })
    }
}

/// The pauses after which a message that the receiver itself refused is tried again: it will hardly be taken later, and others
/// wait behind it.
const REFUSED_PAUSES: usize = 3;

fn webhooks(networks: Option<&str>, ca_file: Option<&Path>, pauses_ms: &str) -> Result<DeliveryOptions, InvalidOption> {
    let allowed: Result<Vec<Network>, _> = list(networks).map(str::parse).collect();
    let allowed = allowed.map_err(|error| InvalidOption::new("webhook-networks", error.to_string()))?;
    let extra_roots = match ca_file {
        None => None,
        Some(file) => {
            let read = std::fs::read(file);
            Some(read.map_err(|error| InvalidOption::new("webhook-ca-file", format!("{}: {error}", file.display())))?)
        }
    };
    let client = Client::new(ClientOptions {
        policy: AddressPolicy { allowed },
        extra_roots,
        ..ClientOptions::default()
    });
    let invalid = || InvalidOption::new("webhook-pauses-ms", "must be whole numbers with commas between them");
    let pauses: Vec<Duration> = list(Some(pauses_ms))
        .map(|pause| pause.parse().map(Duration::from_millis).map_err(|_| invalid()))
        .collect::<Result<_, _>>()?;
    Ok(DeliveryOptions {
        client: client.map_err(|error| InvalidOption::new("webhook-ca-file", error.to_string()))?,
        refused_schedule: Schedule::new(pauses.iter().take(REFUSED_PAUSES).copied().collect()),
        schedule: Schedule::new(pauses),
    })
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    let parts = text.unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty())
}

/// Both are given where all members share their options: then the list is for those that it names, and the token for the others.
fn origin(member: MemberId, initial: Option<&str>, token: Option<&str>) -> Result<Origin, InvalidOption> {
    let Some(list) = initial else {
        let token = token.ok_or_else(|| InvalidOption::missing("initial-members"))?;
        return joined(token);
    };
    match (InitialMembers::parse(member, list), token) {
        (Ok(initial), _) => Ok(Origin::Founded(initial)),
        (Err(InvalidMembers::WithoutSelf { .. }), Some(token)) => joined(token),
        (Err(error), _) => Err(InvalidOption::new("initial-members", error.to_string())),
    }
}

fn joined(token: &str) -> Result<Origin, InvalidOption> {
    let digits = token.len() == 16 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fingerprint = digits.then(|| u64::from_str_radix(token, 16).ok()).flatten();
    let fingerprint = fingerprint.ok_or_else(|| {
        let reason = "must be the cluster's join token, 16 hexadecimal digits: see tenantctl cluster member list";
        InvalidOption::new("join", reason)
    })?;
    Ok(Origin::Joined { fingerprint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            member_id: Some(1),
            initial_members: Some("1=127.0.0.1:7401,2=127.0.0.1:7402,3=127.0.0.1:7403".into()),
            data_dir: Some("data".into()),
            insecure_dev: Some(true),
            ..Options::default()
        }
    }

    #[test]
    fn a_list_is_for_the_members_that_it_names_and_a_token_for_the_others() {
        let origin_of = |member_id| {
            let options = Options {
                member_id: Some(member_id),
                join: Some("0123456789abcdef".into()),
                ..options()
            };
            options.check().unwrap().origin
        };
        assert!(matches!(origin_of(3), Origin::Founded(_)));
        let fingerprint = 0x0123_4567_89ab_cdef;
        assert_eq!(origin_of(4), Origin::Joined { fingerprint });
    }

    #[test]
    fn an_option_that_cannot_be_used_is_named_with_the_reason() {
        assert!(options().check().is_ok());
        let members = |list: &str| Options {
            initial_members: Some(list.into()),
            ..options()
        };
        let wildcard = Some("0.0.0.0:7401".parse().unwrap());
        let cases = [
            (
                Options {
                    member_id: None,
                    ..options()
                },
                "member-id",
            ),
            (
                Options {
                    member_id: Some(0),
                    ..options()
                },
                "member-id",
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
                    initial_members: None,
                    ..options()
                },
                "initial-members",
            ),
            (members("2=127.0.0.1:7402"), "initial-members"),
            (
                Options {
                    join: Some("0123".into()),
                    initial_members: None,
                    ..options()
                },
                "join",
            ),
            (members("1=127.0.0.1:7401,1=127.0.0.1:7402"), "initial-members"),
            (members("1=127.0.0.1:7401,2=127.0.0.1:7401"), "initial-members"),
            (members("1=0.0.0.0:7401"), "initial-members"),
            (
                Options {
                    insecure_dev: None,
                    ..options()
                },
                "tls-ca",
            ),
            (
                Options {
                    tls_cert: Some("tls.crt".into()),
                    ..options()
                },
                "tls-ca",
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
                    tick_ms: Some(0),
                    ..options()
                },
                "tick-ms",
            ),
            (
                Options {
                    suspect_ms: Some(1),
                    ..options()
                },
                "suspect-ms",
            ),
            (
                Options {
                    webhook_networks: Some("10.0.0.0/33".into()),
                    ..options()
                },
                "webhook-networks",
            ),
            (
                Options {
                    webhook_ca_file: Some("there/is/no/such/file".into()),
                    ..options()
                },
                "webhook-ca-file",
            ),
            (
                Options {
                    webhook_pauses_ms: Some("1000,soon".into()),
                    ..options()
                },
                "webhook-pauses-ms",
            ),
        ];
        for (options, option) in cases {
            assert_eq!(options.check().unwrap_err().option, option);
        }
    }
}
