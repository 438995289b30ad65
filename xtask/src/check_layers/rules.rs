//! The rules of `check-layers`, all in one place: who may use whom, and which words a crate must not say.

use std::fmt;

/// One crate's place.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: &'static str,
    /// What the crate is for, as far as it explains `must_not_use`.
    pub(super) purpose: &'static str,
    pub(super) may_use: MayUse,
    /// Crates of others that would break `purpose`.
    pub(super) must_not_use: &'static [&'static str],
}

/// The crates of ours that a crate may depend on.
#[derive(Debug)]
pub(super) enum MayUse {
    Everything,
    Only(&'static [&'static str]),
}

impl MayUse {
    pub(super) fn allows(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(names) => names.contains(&name),
        }
    }
}

impl fmt::Display for MayUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Only([]) => f.write_str("no crate of ours"),
            Self::Only(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// Words that no code below `folder` may contain, comments and tests apart.
#[derive(Debug)]
pub(super) struct SourceBan {
    pub(super) folder: &'static str,
    /// Files and folders below `folder` that the ban spares.
    pub(super) except: &'static [&'static str],
    pub(super) words: &'static [&'static str],
    pub(super) reason: &'static str,
}

pub(super) const LAYERS: &[Layer] = &[
    Layer {
        name: "tenantry-types",
        purpose: "types know no serialization, network or async",
        may_use: MayUse::Only(&[]),
        must_not_use: &[
            "serde",
            "serde_json",
            "prost",
            "prost-types",
            "tonic",
            "tokio",
            "http",
            "hyper",
            "tracing",
        ],
    },
    Layer {
        name: "tenantry-state",
        purpose: "the state machine is pure: no I/O, clock, randomness or serialization",
        may_use: MayUse::Only(&["tenantry-types"]),
        must_not_use: &[
            "serde",
            "serde_json",
            "prost",
            "prost-types",
            "tonic",
            "tokio",
            "http",
            "hyper",
            "tracing",
            "rand",
            "getrandom",
            "uuid",
            "raft",
            "sled",
            "jiff",
        ],
    },
    Layer {
        name: "tenantry-proto",
        purpose: "the protocol knows no storage and no consensus",
        may_use: MayUse::Only(&["tenantry-types"]),
        must_not_use: &["raft", "sled", "rusqlite"],
    },
    Layer {
        name: "control-client",
        purpose: "a client knows no storage and no consensus",
        may_use: MayUse::Only(&["tenantry-proto", "tenantry-types", "mutual-tls"]),
        must_not_use: &["raft", "sled", "rusqlite"],
    },
    Layer {
        name: "mutual-tls",
        purpose: "a connection knows who is at its ends, and nothing of what is said",
        may_use: MayUse::Only(&[]),
        must_not_use: &["raft", "sled", "rusqlite", "prost"],
    },
    Layer {
        name: "snapshot-format",
        purpose: "reading a snapshot file needs no state machine, network or async",
        may_use: MayUse::Only(&["tenantry-proto"]),
        must_not_use: &["raft", "sled", "rusqlite", "tokio"],
    },
    Layer {
        name: "service-runtime",
        purpose: "start and stop know neither tenants, consensus nor gRPC",
        may_use: MayUse::Only(&["mutual-tls"]),
        must_not_use: &["raft", "sled", "rusqlite", "tonic", "prost"],
    },
    Layer {
        name: "webhook-delivery",
        purpose: "an attempt knows its endpoint and its message: no state, no protocol of ours, no tenants",
        may_use: MayUse::Only(&[]),
        must_not_use: &["raft", "sled", "rusqlite", "tonic", "prost"],
    },
    Layer {
        name: "node-log",
        purpose: "the log sees files and bytes: no SQL, no requests, no async",
        may_use: MayUse::Only(&["tenantry-types"]),
        must_not_use: &["raft", "sled", "rusqlite", "tokio", "tonic", "prost"],
    },
    Layer {
        name: "control-plane",
        purpose: "the control plane opens no tenant's database",
        may_use: MayUse::Only(&[
            "tenantry-state",
            "snapshot-format",
            "tenantry-proto",
            "tenantry-types",
            "service-runtime",
            "webhook-delivery",
            "mutual-tls",
        ]),
        must_not_use: &["rusqlite"],
    },
    Layer {
        name: "tenantry-layers",
        purpose: "the layers go around any service: they know no database, node, protocol or control plane",
        may_use: MayUse::Only(&["tenantry-types"]),
        must_not_use: &["raft", "sled", "rusqlite", "tonic", "prost", "hyper"],
    },
    Layer {
        name: "tenant-node",
        purpose: "a node follows the control plane through its protocol alone",
        may_use: MayUse::Only(&[
            "control-client",
            "tenantry-layers",
            "tenantry-proto",
            "tenantry-types",
            "node-log",
            "service-runtime",
            "mutual-tls",
        ]),
        must_not_use: &["raft", "sled"],
    },
    Layer {
        name: "tenantctl",
        purpose: "the command line speaks the public protocol alone",
        // service-runtime for one thing: unknown environment keys are refused as the daemons refuse them.
        may_use: MayUse::Only(&[
            "control-client",
            "snapshot-format",
            "tenantry-proto",
            "tenantry-types",
            "service-runtime",
            "mutual-tls",
        ]),
        must_not_use: &["raft", "sled", "rusqlite"],
    },
    Layer {
        name: "simulation",
        purpose: "the simulation may use everything and is used by nothing",
        may_use: MayUse::Everything,
        must_not_use: &[],
    },
    Layer {
        name: "process-tests",
        purpose: "the programs are tested as their users meet them, from outside",
        may_use: MayUse::Only(&[]),
        must_not_use: &["raft", "sled", "rusqlite", "tonic", "prost"],
    },
    Layer {
        name: "client-tests",
        purpose: "a tenant's database is met as applications meet it, through SDKs",
        may_use: MayUse::Only(&["process-tests"]),
        must_not_use: &["raft", "sled", "tonic", "prost"],
    },
    Layer {
        name: "deployment-tests",
        purpose: "what is deployed is met with the tools of its users",
        may_use: MayUse::Only(&["process-tests"]),
        must_not_use: &["raft", "sled", "rusqlite", "tonic", "prost"],
    },
    Layer {
        name: "bench",
        purpose: "the programs are measured as their users meet them, through the protocol alone",
        may_use: MayUse::Only(&["tenantry-proto"]),
        must_not_use: &["raft", "sled", "rusqlite"],
    },
    Layer {
        name: "bench-baselines",
        purpose: "baselines measure nothing and speak to no control plane",
        may_use: MayUse::Only(&["tenant-node", "tenantry-layers", "tenantry-types", "mutual-tls"]),
        must_not_use: &["raft", "sled", "tonic", "prost"],
    },
    Layer {
        name: "xtask",
        purpose: "tasks have to run while the crates do not compile, and to build fast",
        may_use: MayUse::Only(&[]),
        must_not_use: &["tokio", "tonic", "hyper"],
    },
];

pub(super) const SOURCE_BANS: &[SourceBan] = &[
    SourceBan {
        folder: "crates/tenantry-state/src",
        except: &[],
        words: &[
            "SystemTime",
            "Instant",
            "HashMap",
            "HashSet",
            "RandomState",
            "thread_rng",
            "getrandom",
        ],
        reason: "replicas must not differ by clock, randomness or hash order; time and ids travel inside the command",
    },
    SourceBan {
        folder: "crates/tenantry-state/src",
        except: &[],
        words: &["std::fs", "std::net", "std::thread", "std::env", "std::process"],
        reason: "the state machine does no I/O",
    },
    SourceBan {
        folder: "crates/tenantry-types/src",
        except: &[],
        words: &[
            "SystemTime",
            "Instant",
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
        ],
        reason: "types know no clock and no I/O",
    },
    SourceBan {
        folder: "crates/control-plane/src",
        except: &["crates/control-plane/src/raft", "crates/control-plane/src/raft.rs"],
        words: &["eraftpb", "raft::prelude", "RawNode"],
        reason: "raft's own types are named in the `raft` module alone",
    },
    SourceBan {
        folder: "crates/service-runtime/src",
        except: &[],
        words: &["tonic", "tenantry_types", "tenantry_proto"],
        reason: "start and stop know neither tenants nor services",
    },
];
