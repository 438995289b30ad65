//! What a node must know to serve a tenant, or to forward its requests.

use crate::{
    DomainName, Durability, EffectiveQuota, Node, NodeId, Placement, Tenant, TenantName, TenantUid, Tier,
    TierDefinition, TokenGeneration,
};

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
    /// Its tokens of earlier generations are revoked.
    pub token_generation: TokenGeneration,
}

impl TenantRoute {
    /// The route of `tenant`, whose contracted tier is defined by `tier`.
    #[must_use]
    pub fn of(tenant: &Tenant, tier: &TierDefinition) -> Self {
        Self {
            uid: tenant.uid,
            name: tenant.name.clone(),
            domains: tenant.spec.domains.clone(),
            placement: tenant.placement.clone(),
            tier: tenant.spec.tier,
            quota: tenant.effective_quota(tier),
            durability: tenant.spec.durability,
            token_generation: tenant.token_generation,
        }
    }
}

/// One node in the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoute {
    /// Which.
    pub id: NodeId,
    /// Where it takes forwarded requests, `host:port`.
    pub peer_address: String,
}

impl NodeRoute {
    /// The route to `node`.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        Self {
            id: node.id.clone(),
            peer_address: node.spec.endpoints.peer.clone(),
        }
    }
}

/// A key that tenants' tokens are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// As in the `kid` header of a token.
    pub id: String,
    /// An Ed25519 public key.
    pub public_key: [u8; 32],
}
