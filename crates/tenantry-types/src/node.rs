//! A tenant-node as the control plane knows it.

use crate::{ByteSize, Incarnation, Labels, NodeId, Revision, UnixMillis};

/// What a node offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCapacity {
    /// How many tenants may be placed on it.
    pub max_tenants: u64,
    /// Bytes of disk for tenants' data.
    pub disk: ByteSize,
}

/// Where a node listens. Addresses are `host:port`, as others reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoints {
    /// Tenants' HTTP.
    pub data: String,
    /// Traffic from other nodes.
    pub peer: String,
    /// Metrics and probes.
    pub ops: String,
}

/// What a node says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Where it listens.
    pub endpoints: NodeEndpoints,
    /// What it offers.
    pub capacity: NodeCapacity,
    /// Failure domain; empty where there is only one.
    pub zone: String,
    /// Free-form pairs.
    pub labels: Labels,
}

/// The operator's word on new placements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// New tenants may be placed here.
    #[default]
    Open,
    /// No new tenants; those that are here stay.
    Cordoned,
}

/// One registered node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Stable, kept in the node's data folder.
    pub id: NodeId,
    /// The latest start that registered.
    pub incarnation: Incarnation,
    /// What it said of itself.
    pub spec: NodeSpec,
    /// The operator's word.
    pub scheduling: Scheduling,
    /// When it first registered.
    pub registered_at: UnixMillis,
    /// The revision of its last change: the etag.
    pub revision: Revision,
}

/// What the leader makes of a node's heartbeats. Never replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// Not heard of since this leader took over.
    Unknown,
    /// Heard of lately.
    Up,
    /// Late.
    Suspect,
    /// Silent for so long that others would take over.
    Down,
}

impl Availability {
    /// The name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// A node's measured load, from its latest heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NodeLoad {
    /// Tenants whose database is open.
    pub open_tenants: u64,
    /// Requests in the last full minute.
    pub requests_per_minute: u64,
    /// CPU time on database threads, in thousandths of one core.
    pub cpu_millicores: u64,
    /// Bytes of disk that tenants' data takes.
    pub disk_used: ByteSize,
    /// Bytes of disk that are free.
    pub disk_free: ByteSize,
}
