//! What a node must know to serve a tenant, or to forward its requests.

use crate::{DomainName, Durability, EffectiveQuota, NodeId, Placement, TenantName, TenantUid, Tier};

/// One tenant in the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRoute {
    /// Never reused.
    pub uid: TenantUid,
    /// Unique in the table.
    pub name: TenantName,
    /// Further hosts that lead to it.
    pub domains: Vec<DomainName>,
    /// Who serves it; `None` while no node has room.
    pub placement: Option<Placement>,
    /// The contracted tier.
    pub tier: Tier,
    /// The limits in force.
    pub quota: EffectiveQuota,
    /// When a write is acknowledged.
    pub durability: Durability,
}

/// One node in the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoute {
    /// Which.
    pub id: NodeId,
    /// Where it takes forwarded requests, `host:port`.
    pub peer_address: String,
}

/// A key that tenants' tokens are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// As in the `kid` header of a token.
    pub id: String,
    /// An Ed25519 public key.
    pub public_key: [u8; 32],
}
