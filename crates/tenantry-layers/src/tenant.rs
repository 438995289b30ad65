//! What the layers must know of a request's tenant.

use tenantry_types::{TenantName, TenantUid};

use crate::quota::RequestLimits;

/// The tenant of a request, as a layer above found it. The layers look for it in the request's extensions.
pub trait KnownTenant: Clone + Send + Sync + 'static {
    /// Names its counters and its ledger for good.
    fn uid(&self) -> TenantUid;

    /// For logs and labels.
    fn name(&self) -> &TenantName;

    /// The limits in force for this request. They may differ from those of the request before; what is counted stays.
    fn limits(&self) -> RequestLimits;
}

/// The simplest [`KnownTenant`], as [`crate::ResolveLayer`] puts it into requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Names its counters and its ledger for good.
    pub uid: TenantUid,
    /// For logs and labels.
    pub name: TenantName,
    /// The limits in force.
    pub limits: RequestLimits,
}

impl KnownTenant for Tenant {
    fn uid(&self) -> TenantUid {
        self.uid
    }

    fn name(&self) -> &TenantName {
        &self.name
    }

    fn limits(&self) -> RequestLimits {
        self.limits
    }
}
