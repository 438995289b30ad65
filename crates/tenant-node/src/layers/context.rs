//! What the layers found out about a request, handed on in its extensions.

use tenantry_layers::KnownTenant;
use tenantry_layers::quota::RequestLimits;
use tenantry_types::{EffectiveQuota, Epoch, TenantName, TenantUid};

/// What the caller's token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Statements that only read.
    ReadOnly,
    /// Everything a tenant may do.
    Full,
}

/// The tenant that a request is for, served by this node. Put into the request's extensions by the `route` layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantContext {
    /// Names the folder, the counters and the events.
    pub uid: TenantUid,
    /// For logs and labels.
    pub name: TenantName,
    /// The placement that this node serves it under.
    pub epoch: Epoch,
    /// Its share of the node beside other tenants: the weight of its tier.
    pub weight: u32,
    /// The limits in force.
    pub quota: EffectiveQuota,
    /// What the caller may do.
    pub access: Access,
}

impl KnownTenant for TenantContext {
    fn uid(&self) -> TenantUid {
        self.uid
    }

    fn name(&self) -> &TenantName {
        &self.name
    }

    fn limits(&self) -> RequestLimits {
        RequestLimits::from(&self.quota)
    }
}
