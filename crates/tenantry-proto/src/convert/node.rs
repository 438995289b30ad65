//! `node.proto`.

use tenantry_types::{
    Availability, ByteSize, Incarnation, Labels, Node, NodeCapacity, NodeEndpoints, NodeLoad, NodeSpec, Revision,
    Scheduling,
};

use super::field::{InvalidField, Within, read};
use super::names;
use super::time::{required, timestamp};
use crate::v1;

/// What is not replicated of a node: what the leader observes, and how many tenants are placed on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeView {
    /// What the leader makes of its heartbeats.
    pub availability: Availability,
    /// Its latest heartbeat's figures.
    pub load: Option<NodeLoad>,
    /// Tenants placed on it.
    pub placed_tenants: u64,
}

/// The etag of a revision.
#[must_use]
pub fn etag(revision: Revision) -> String {
    revision.to_string()
}

/// The revision of an etag.
///
/// # Errors
/// Names `field` when the text is none of our etags.
pub fn parse_etag(field: &str, text: &str) -> Result<Revision, InvalidField> {
    text.parse()
        .map(Revision)
        .map_err(|_| InvalidField::new(field, "is not an etag of this service: send back what you have read"))
}

impl From<&NodeSpec> for v1::NodeSpec {
    fn from(spec: &NodeSpec) -> Self {
        let NodeSpec {
            endpoints: NodeEndpoints { data, peer, ops },
            capacity: NodeCapacity { max_tenants, disk },
            zone,
            labels,
        } = spec;
        Self {
            data_address: data.clone(),
            peer_address: peer.clone(),
            ops_address: ops.clone(),
            max_tenants: *max_tenants,
            disk_bytes: disk.0,
            zone: zone.clone(),
            labels: labels.pairs().clone(),
        }
    }
}

impl TryFrom<v1::NodeSpec> for NodeSpec {
    type Error = InvalidField;

    fn try_from(spec: v1::NodeSpec) -> Result<Self, InvalidField> {
        if spec.max_tenants == 0 {
            return Err(InvalidField::new("max_tenants", "must be at least 1"));
        }
        if spec.zone.len() > 63 || spec.zone.chars().any(char::is_control) {
            return Err(InvalidField::new(
                "zone",
                "must have at most 63 bytes and no control characters",
            ));
        }
        Ok(Self {
            endpoints: NodeEndpoints {
                data: address("data_address", spec.data_address)?,
                peer: address("peer_address", spec.peer_address)?,
                ops: address("ops_address", spec.ops_address)?,
            },
            capacity: NodeCapacity {
                max_tenants: spec.max_tenants,
                disk: ByteSize(spec.disk_bytes),
            },
            zone: spec.zone,
            labels: read("labels", Labels::new(spec.labels))?,
        })
    }
}

/// `host:port`, as others reach it.
pub(super) fn address(field: &str, text: String) -> Result<String, InvalidField> {
    let port_is_usable = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_is_plain = |host: &str| {
        !host.is_empty() && host.len() <= 253 && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    match text.rsplit_once(':') {
        Some((host, port)) if host_is_plain(host) && port_is_usable(port) => Ok(text),
        _ => Err(InvalidField::new(
            field,
            "must be `host:port`, with a port from 1 to 65535",
        )),
    }
}

impl From<Scheduling> for v1::NodeScheduling {
    fn from(scheduling: Scheduling) -> Self {
        match scheduling {
            Scheduling::Open => Self::Open,
            Scheduling::Cordoned => Self::Cordoned,
        }
    }
}

impl From<Availability> for v1::NodeAvailability {
    fn from(availability: Availability) -> Self {
        match availability {
            Availability::Unknown => Self::Unknown,
            Availability::Up => Self::Up,
            Availability::Suspect => Self::Suspect,
            Availability::Down => Self::Down,
        }
    }
}

impl From<&NodeLoad> for v1::NodeLoad {
    fn from(load: &NodeLoad) -> Self {
        Self {
            open_tenants: load.open_tenants,
            requests_per_minute: load.requests_per_minute,
            cpu_millicores: load.cpu_millicores,
            disk_used_bytes: load.disk_used.0,
            disk_free_bytes: load.disk_free.0,
        }
    }
}

impl From<v1::NodeLoad> for NodeLoad {
    fn from(load: v1::NodeLoad) -> Self {
        Self {
            open_tenants: load.open_tenants,
            requests_per_minute: load.requests_per_minute,
            cpu_millicores: load.cpu_millicores,
            disk_used: ByteSize(load.disk_used_bytes),
            disk_free: ByteSize(load.disk_free_bytes),
        }
    }
}

/// The message of a node with all that is known of it.
#[must_use]
pub fn node_view_to_proto(node: &Node, view: &NodeView) -> v1::Node {
    v1::Node {
        availability: v1::NodeAvailability::from(view.availability).into(),
        load: view.load.as_ref().map(Into::into),
        placed_tenants: view.placed_tenants,
        ..node_to_proto(node)
    }
}

/// The message of a node without what is not replicated.
#[must_use]
pub fn node_to_proto(node: &Node) -> v1::Node {
    v1::Node {
        name: names::node(&node.id),
        spec: Some((&node.spec).into()),
        scheduling: v1::NodeScheduling::from(node.scheduling).into(),
        incarnation: node.incarnation.get(),
        etag: etag(node.revision),
        register_time: Some(timestamp(node.registered_at)),
        availability: v1::NodeAvailability::Unspecified.into(),
        load: None,
        placed_tenants: 0,
    }
}

impl TryFrom<v1::Node> for Node {
    type Error = InvalidField;

    /// Reads what is replicated of a node.
    fn try_from(node: v1::Node) -> Result<Self, InvalidField> {
        let spec = node.spec.ok_or_else(|| InvalidField::missing("spec"))?;
        Ok(Self {
            id: names::parse_node("name", &node.name)?,
            incarnation: Incarnation(node.incarnation),
            spec: spec.try_into().within("spec")?,
            scheduling: scheduling_from_wire("scheduling", node.scheduling)?,
            registered_at: required("register_time", node.register_time.as_ref())?,
            revision: parse_etag("etag", &node.etag)?,
        })
    }
}

/// The operator's word of a number.
///
/// # Errors
/// Names `field` when it is unspecified or there is no such word.
pub fn scheduling_from_wire(field: &str, number: i32) -> Result<Scheduling, InvalidField> {
    match v1::NodeScheduling::try_from(number) {
        Ok(v1::NodeScheduling::Open) => Ok(Scheduling::Open),
        Ok(v1::NodeScheduling::Cordoned) => Ok(Scheduling::Cordoned),
        Ok(v1::NodeScheduling::Unspecified) => Err(InvalidField::missing(field)),
        Err(_) => Err(InvalidField::new(field, format!("there is no scheduling {number}"))),
    }
}
