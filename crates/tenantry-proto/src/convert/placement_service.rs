//! The routing table in `placement_service.proto`.

use bytes::Bytes;
use tenantry_types::{NodeRoute, Placement, TenantName, TenantRoute, TokenGeneration, TokenKey};

use super::field::{InvalidField, Within, read};
use super::names::{bare_node, bare_uid};
use super::node::address;
use super::tenant::{domains, durability_from_wire, durability_to_wire, epoch};
use super::tier::{required_tier, to_wire};
use crate::v1;

impl From<&TenantRoute> for v1::TenantRoute {
    fn from(route: &TenantRoute) -> Self {
        let (node_id, epoch) = match &route.placement {
            None => (String::new(), 0),
            Some(placement) => (placement.node.to_string(), placement.epoch.get()),
        };
        Self {
            tenant_uid: route.uid.to_string(),
            tenant_id: route.name.to_string(),
            domains: route.domains.iter().map(ToString::to_string).collect(),
            node_id,
            epoch,
            tier: to_wire(route.tier),
            quota: Some((&route.quota).into()),
            durability: durability_to_wire(route.durability),
            token_generation: route.token_generation.get(),
        }
    }
}

impl TryFrom<v1::TenantRoute> for TenantRoute {
    type Error = InvalidField;

    fn try_from(route: v1::TenantRoute) -> Result<Self, InvalidField> {
        let placement = match (route.node_id.as_str(), route.epoch) {
            ("", 0) => None,
            (node, number) => Some(Placement {
                node: bare_node("node_id", node)?,
                epoch: epoch("epoch", number)?,
            }),
        };
        let quota = route.quota.ok_or_else(|| InvalidField::missing("quota"))?;
        Ok(Self {
            uid: bare_uid("tenant_uid", &route.tenant_uid)?,
            name: read("tenant_id", TenantName::new(&route.tenant_id))?,
            domains: domains("domains", &route.domains)?,
            placement,
            tier: required_tier("tier", route.tier)?,
            quota: quota.try_into().within("quota")?,
            durability: durability_from_wire("durability", route.durability)?,
            token_generation: TokenGeneration(route.token_generation),
        })
    }
}

impl From<&NodeRoute> for v1::NodeRoute {
    fn from(route: &NodeRoute) -> Self {
        Self {
            node_id: route.id.to_string(),
            peer_address: route.peer_address.clone(),
        }
    }
}

impl TryFrom<v1::NodeRoute> for NodeRoute {
    type Error = InvalidField;

    fn try_from(route: v1::NodeRoute) -> Result<Self, InvalidField> {
        Ok(Self {
            id: bare_node("node_id", &route.node_id)?,
            peer_address: address("peer_address", route.peer_address)?,
        })
    }
}

impl From<&TokenKey> for v1::TokenKey {
    fn from(key: &TokenKey) -> Self {
        Self {
            key_id: key.id.clone(),
            public_key: Bytes::copy_from_slice(&key.public_key),
        }
    }
}

impl TryFrom<v1::TokenKey> for TokenKey {
    type Error = InvalidField;

    fn try_from(key: v1::TokenKey) -> Result<Self, InvalidField> {
        Ok(Self {
            id: key_id("key_id", key.key_id)?,
            public_key: key_bytes("public_key", &key.public_key)?,
        })
    }
}

/// The id of a key: 1 to 128 printable ASCII characters.
///
/// # Errors
/// Names `field` when it is not that.
pub fn key_id(field: &str, text: String) -> Result<String, InvalidField> {
    if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(InvalidField::new(field, "must be 1 to 128 printable ASCII characters"))
    }
}

/// The 32 bytes of an Ed25519 key.
///
/// # Errors
/// Names `field` when there are more or fewer.
pub fn key_bytes(field: &str, bytes: &[u8]) -> Result<[u8; 32], InvalidField> {
    bytes
        .try_into()
        .map_err(|_| InvalidField::new(field, "must have 32 bytes"))
}
