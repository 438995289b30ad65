//! How nodes that may take a tenant are ordered.

use tenantry_types::{NodeId, Tier};

use super::NodeView;

/// A hot tenant weighs this much beside its tier's weight: as much as another tenant of the largest tier at first.
const HOT_TENANT_WEIGHT: u64 = 20;

/// How good a node is for a tenant: less is better, and the order of the fields is the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Whether an enterprise tenant would have to share.
    pub company: Company,
    /// Weight with the new tenant and with what hot ones add, in millionths of the tenants that the node offers to take.
    pub load_micros: u64,
    /// Tenants without the new one.
    pub tenants: u64,
    /// Settles ties.
    pub node: NodeId,
}

/// Whether an enterprise tenant has its node to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Company {
    /// Nobody who wants a node of its own is disturbed.
    Suitable,
    /// An enterprise tenant and others would share the node.
    Shared,
}

impl Score {
    /// The score of `node` for a tenant of `tier` with the tier's `weight`.
    #[must_use]
    pub fn of(node: &NodeView, tier: Tier, weight: u32) -> Self {
        let would_share = match tier {
            Tier::Enterprise => node.tenants > 0,
            _ => node.enterprise_tenants > 0,
        };
        let heat = node.hot_tenants.saturating_mul(HOT_TENANT_WEIGHT);
        let load = node.weight.saturating_add(heat).saturating_add(u64::from(weight));
        let millionths = u128::from(load) * 1_000_000 / u128::from(node.capacity.max_tenants.max(1));
        Self {
            company: if would_share {
                Company::Shared
            } else {
                Company::Suitable
            },
            load_micros: u64::try_from(millionths).unwrap_or(u64::MAX),
            tenants: node.tenants,
            node: node.id.clone(),
        }
    }

    /// Weighted load over capacity, with the new tenant: 0 upwards.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure to show")]
    pub fn load(&self) -> f64 {
        self.load_micros as f64 / 1e6
    }
}
