//! Which tenants use most at this moment, over all nodes: from what the leader has heard, named by the replicated state.

use tenantry_proto::convert::names;
use tenantry_proto::v1;
use tenantry_types::UsageOrder;

use super::control_plane::ControlPlane;
use crate::machine::Published;

/// The first `limit` tenants by `order`. A report of a node that does not serve the tenant any more does not count.
pub(super) fn ranked(
    control_plane: &ControlPlane,
    published: &Published,
    order: UsageOrder,
    limit: usize,
) -> v1::ListTenantUsageResponse {
    let state = &published.state;
    let now = control_plane.uptime();
    let ranking = control_plane.observations(|observations| {
        observations.rank(order, limit, now, |node, uid| {
            let tenant = state.tenant(uid).filter(|tenant| tenant.is_active());
            tenant
                .and_then(|tenant| tenant.placement.as_ref())
                .is_some_and(|placement| placement.node == *node)
        })
    });
    let tenants = ranking.first.iter().filter_map(|(node, usage)| {
        let tenant = state.tenant(usage.tenant)?;
        Some(v1::RankedTenant {
            name: names::tenant(&tenant.name),
            node: names::node(node),
            usage: Some(usage.into()),
        })
    });
    v1::ListTenantUsageResponse {
        tenants: tenants.collect(),
        measured_tenants: ranking.measured,
    }
}
