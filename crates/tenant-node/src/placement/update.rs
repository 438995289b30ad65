//! Takes what the control plane says into a routing table. Pure.
//!
//! A record that does not parse is an error of that record: a whole table with one is refused, and the last good table
//! stays in force.

use tenantry_proto::convert::InvalidField;
use tenantry_proto::v1;
use tenantry_types::{ClusterEpoch, ClusterUid, NodeRoute, Revision, TenantRoute, TenantUid, TierDefinition, TokenKey};

use super::RoutingTable;

/// A record of the routing table that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name}: {reason}")]
pub struct InvalidRecord {
    /// What kind of record.
    pub kind: &'static str,
    /// Which one, as far as it can be told.
    pub name: String,
    /// What is wrong with it.
    pub reason: InvalidField,
}

/// Reads a record, and says which one it was when that fails.
fn read<M, T>(kind: &'static str, name: impl Into<String>, message: M) -> Result<T, InvalidRecord>
where
    T: TryFrom<M, Error = InvalidField>,
{
    T::try_from(message).map_err(|reason| InvalidRecord {
        kind,
        name: name.into(),
        reason,
    })
}

/// A whole table.
///
/// # Errors
/// Names the first record that makes no sense.
pub(super) fn replace(
    revision: Revision,
    (cluster, epoch): (ClusterUid, ClusterEpoch),
    tenants: Vec<v1::TenantRoute>,
    nodes: Vec<v1::NodeRoute>,
    keys: Vec<v1::TokenKey>,
    tiers: Vec<v1::TierDefinition>,
) -> Result<RoutingTable, InvalidRecord> {
    let mut table = RoutingTable::default();
    table.cluster = Some(cluster);
    table.cluster_epoch = epoch;
    let rest = v1::RoutingDelta {
        nodes,
        token_keys: keys,
        tiers,
        ..v1::RoutingDelta::default()
    };
    change(
        &mut table,
        v1::RoutingDelta {
            revision: revision.get(),
            tenants,
            ..rest
        },
    )?;
    Ok(table)
}

/// What one revision changed. On an error the table is half changed: work on a copy.
///
/// # Errors
/// Names the first record that makes no sense.
pub(super) fn change(table: &mut RoutingTable, delta: v1::RoutingDelta) -> Result<(), InvalidRecord> {
    for uid in delta.removed_tenant_uids {
        let invalid = |error: tenantry_types::InvalidId| InvalidRecord {
            kind: "removed tenant",
            name: uid.clone(),
            reason: InvalidField::new("removed_tenant_uids", error),
        };
        table.remove_tenant(uid.parse::<TenantUid>().map_err(invalid)?);
    }
    for message in delta.tenants {
        table.put_tenant(read::<_, TenantRoute>("tenant", message.tenant_id.clone(), message)?);
    }
    for message in delta.nodes {
        table.put_node(read::<_, NodeRoute>("node", message.node_id.clone(), message)?);
    }
    if !delta.token_keys.is_empty() {
        let keys = delta.token_keys.into_iter();
        let keys: Result<Vec<TokenKey>, _> = keys
            .map(|message| read("token key", message.key_id.clone(), message))
            .collect();
        table.set_token_keys(keys?);
    }
    if !delta.tiers.is_empty() {
        let tiers = delta.tiers.into_iter();
        let tiers: Result<Vec<TierDefinition>, _> = tiers
            .map(|message| read("tier", message.tier.to_string(), message))
            .collect();
        table.set_tiers(tiers?);
    }
    table.revision = Revision(delta.revision);
    Ok(())
}
