//! A tenant as the replicated state knows it.

use crate::{
    DomainName, EffectiveQuota, Epoch, ExplainedQuota, Labels, NodeId, QuotaOverrides, Revision, TenantName, TenantUid,
    Tier, TierDefinition, TierPolicy, TokenGeneration, UnixMillis,
};

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the fsync on the serving node.
    #[default]
    Local,
    /// After the write is in the object store.
    Replicated,
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSpec {
    /// The contracted tier.
    pub tier: Tier,
    /// Who may change `tier`.
    pub tier_policy: TierPolicy,
    /// Limits that differ from the tier's.
    pub quota: QuotaOverrides,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Free-form pairs.
    pub labels: Labels,
    /// Further hosts that lead to this tenant.
    pub domains: Vec<DomainName>,
}

/// Whether a tenant takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantState {
    /// Served.
    Active,
    /// Not served; its data is kept until `purge_at`.
    Deleted {
        /// When it was deleted.
        deleted_at: UnixMillis,
        /// From when its data may be removed for good.
        purge_at: UnixMillis,
    },
}

/// Who serves a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The serving node.
    pub node: NodeId,
    /// Grows with every change of the node.
    pub epoch: Epoch,
}

/// One tenant: spec and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Never reused.
    pub uid: TenantUid,
    /// Unique among tenants that are not deleted.
    pub name: TenantName,
    /// What was asked for.
    pub spec: TenantSpec,
    /// Whether it is served.
    pub state: TenantState,
    /// Who serves it; `None` until a node with room exists.
    pub placement: Option<Placement>,
    /// The class that its size and traffic would put it in, as last reported.
    pub observed_class: Option<Tier>,
    /// Its tokens of earlier generations are revoked.
    pub token_generation: TokenGeneration,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it last changed.
    pub updated_at: UnixMillis,
    /// The revision of its last change: the etag.
    pub revision: Revision,
}

impl Tenant {
    /// Each limit with where it comes from, given the definition of this tenant's tier.
    #[must_use]
    pub fn explained_quota(&self, tier: &TierDefinition) -> ExplainedQuota {
        ExplainedQuota::of(&tier.quota, &self.spec.quota)
    }

    /// The limits in force, given the definition of this tenant's tier.
    #[must_use]
    pub fn effective_quota(&self, tier: &TierDefinition) -> EffectiveQuota {
        self.explained_quota(tier).effective()
    }

    /// Whether it takes requests.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.state, TenantState::Active)
    }
}
