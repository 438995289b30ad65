//! Takes what the control plane says into a routing table. Pure.
//!
//! A record that makes no sense is refused by itself: the last good one of the same tenant, node, key or tier stays in force,
//! and all others are applied. Bad data of one tenant is no reason to serve another by old rules.

use std::sync::Arc;

use tenantry_proto::convert::{InvalidField, digest};
use tenantry_proto::v1;
use tenantry_types::{
    ClusterEpoch, ClusterUid, Epoch, NodeId, NodeRoute, Placement, Revision, TenantRoute, TenantUid, TokenGeneration,
};

use super::RoutingTable;
use super::table::Listed;

/// A record of the routing table that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?}: {reason}")]
pub(super) struct InvalidRecord {
    /// What kind of record.
    pub(super) kind: &'static str,
    /// Which one, as far as it can be told.
    pub(super) name: String,
    /// What is wrong with it.
    pub(super) reason: InvalidField,
}

/// Reads a record, and says which one it was when that fails.
fn read<M, T>(kind: &'static str, name: &str, message: M) -> Result<T, InvalidRecord>
where
    T: TryFrom<M, Error = InvalidField>,
{
    T::try_from(message).map_err(|reason| InvalidRecord {
        kind,
        name: name.to_owned(),
        reason,
    })
}

/// A whole table after `last`, of which only what a refused record leaves in force is kept. Also the records that were
/// refused.
pub(super) fn replace(
    last: &RoutingTable,
    (cluster, epoch): (ClusterUid, ClusterEpoch),
    records: v1::RoutingDelta,
) -> (RoutingTable, Vec<InvalidRecord>) {
    let mut table = RoutingTable::default();
    table.cluster = Some(cluster);
    table.cluster_epoch = epoch;
    let refused = apply(&mut table, last, records);
    (table, refused)
}

/// What one revision changed. Gives back the records that were refused.
pub(super) fn change(table: &mut RoutingTable, delta: v1::RoutingDelta) -> Vec<InvalidRecord> {
    let last = table.clone();
    apply(table, &last, delta)
}

fn apply(table: &mut RoutingTable, last: &RoutingTable, delta: v1::RoutingDelta) -> Vec<InvalidRecord> {
    let mut refused = Vec::new();
    for uid in delta.removed_tenant_uids {
        match uid.parse::<TenantUid>() {
            Ok(uid) => table.remove_tenant(uid),
            Err(error) => {
                table.forget_refused_tenant(&uid);
                refused.push(InvalidRecord {
                    kind: "removed tenant",
                    name: uid,
                    reason: InvalidField::new("removed_tenant_uids", error),
                });
            }
        }
    }
    let mut bad_tenants = Vec::new();
    for message in delta.tenants {
        match read::<_, TenantRoute>("tenant", &message.tenant_id, message.clone()) {
            Ok(route) => table.put_tenant(route),
            Err(error) => bad_tenants.push((message, error)),
        }
    }
    // After the good ones, so that what is kept of a refused one takes no name from them.
    for (message, error) in bad_tenants {
        let uid = message.tenant_uid.parse().ok();
        let kept = uid.and_then(|uid| last.tenant(uid)).map(|good| kept(good, &message));
        table.refuse_tenant(&message.tenant_uid, digest::tenant_route(&message), kept);
        refused.push(error);
    }
    for message in delta.nodes {
        match read::<_, NodeRoute>("node", &message.node_id, message.clone()) {
            Ok(node) => table.put_node(node),
            Err(error) => {
                let id = NodeId::new(&message.node_id).ok();
                let kept = id.and_then(|id| last.node(&id)).cloned();
                table.refuse_node(&message.node_id, digest::node_route(&message), kept);
                refused.push(error);
            }
        }
    }
    if !delta.token_keys.is_empty() {
        let keys = list(delta.token_keys, &mut refused, |message: &v1::TokenKey| Seen {
            kind: "token key",
            name: message.key_id.clone(),
            digest: digest::token_key(message),
            last_good: last.token_keys().iter().find(|key| key.id == message.key_id).cloned(),
        });
        table.list_token_keys(keys);
    }
    if !delta.tiers.is_empty() {
        let tiers = list(delta.tiers, &mut refused, |message: &v1::TierDefinition| Seen {
            kind: "tier",
            name: message.tier.to_string(),
            digest: digest::tier(message),
            last_good: last
                .tiers()
                .iter()
                .find(|definition| i32::from(v1::Tier::from(definition.tier)) == message.tier)
                .copied(),
        });
        table.list_tiers(tiers);
    }
    if let Some(example) = refused.last() {
        table.tell_of_refused(&example.to_string());
    }
    table.revision = Revision(delta.revision);
    refused
}

/// What is kept of a tenant whose record was refused: the last good route, but for what guards against two writers and
/// against revoked tokens. There the newer word counts, also where the rest of the record makes no sense.
fn kept(good: &Arc<TenantRoute>, message: &v1::TenantRoute) -> TenantRoute {
    let placement = match &good.placement {
        Some(placement) if message.epoch <= placement.epoch.get() => Some(placement.clone()),
        // Another node's from now on. Also where the record does not tell whose: then nobody's, as far as this node knows.
        _ => NodeId::new(&message.node_id).ok().map(|node| Placement {
            node,
            epoch: Epoch(message.epoch),
        }),
    };
    TenantRoute {
        placement,
        token_generation: good.token_generation.max(TokenGeneration(message.token_generation)),
        ..TenantRoute::clone(good)
    }
}

/// A record of a list, before it is read.
struct Seen<T> {
    kind: &'static str,
    name: String,
    digest: u64,
    last_good: Option<T>,
}

/// Reads records that are sent all together.
fn list<M, T>(messages: Vec<M>, refused: &mut Vec<InvalidRecord>, see: impl Fn(&M) -> Seen<T>) -> Listed<T>
where
    T: TryFrom<M, Error = InvalidField>,
{
    let before = refused.len();
    let (mut records, mut digest) = (Vec::with_capacity(messages.len()), 0);
    for message in messages {
        let seen = see(&message);
        digest ^= seen.digest;
        match read(seen.kind, &seen.name, message) {
            Ok(record) => records.push(record),
            Err(error) => {
                records.extend(seen.last_good);
                refused.push(error);
            }
        }
    }
    Listed {
        records: records.into(),
        digest,
        refused: refused.len() - before,
    }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
