//! Who should leave a node because a tenant on it is hot. The leader decides with it; `apply` only checks that the decision
//! still fits.
//!
//! A hot tenant is moved itself, unless it is dear to move: then its busiest neighbours are, which are many and small.
//! Nobody moves where there is no other node, or no neighbour to be spared.

use std::cmp::Reverse;

use tenantry_types::{NodeId, Scheduling, Tenant, TenantUid, Tier};

use crate::State;

/// From this size on a database is dear to move.
const DEAR_BYTES: u64 = 1 << 30;
/// How many neighbours of one hot tenant are proposed at once.
const NEIGHBOURS: usize = 3;

/// A move to propose because a tenant is hot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveDecision {
    /// The tenant that should leave.
    pub tenant: TenantUid,
    /// The hot tenant: the same, or one beside it.
    pub hot: TenantUid,
    /// The node that both are on.
    pub node: NodeId,
}

/// What a tenant was last measured to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeasuredLoad {
    /// CPU time of its queries, in thousandths of one core.
    pub cpu_millicores: u64,
    /// Requests in the last full minute.
    pub requests_per_minute: u64,
    /// Bytes of its database.
    pub database_bytes: u64,
}

/// What to propose now that `hot` has become hot on the node that serves it; `load` tells what its neighbours use, for those
/// that anything is known of. Empty: nothing.
#[must_use]
pub fn propose(state: &State, hot: &Tenant, load: impl Fn(TenantUid) -> Option<MeasuredLoad>) -> Vec<MoveDecision> {
    let Some(placement) = hot.placement.as_ref().filter(|_| hot.is_active()) else {
        return Vec::new();
    };
    let node = &placement.node;
    let elsewhere = state
        .nodes_after(None)
        .any(|other| other.id != *node && other.scheduling == Scheduling::Open);
    let neighbours = || {
        let there = state.tenants_on(node).into_iter().flat_map(|tenants| tenants.uids());
        there.filter(|uid| *uid != hot.uid)
    };
    if !elsewhere || !state.reactions().move_proposals.is_on() || neighbours().next().is_none() {
        return Vec::new();
    }
    let decision = |tenant| MoveDecision {
        tenant,
        hot: hot.uid,
        node: node.clone(),
    };
    let measured = load(hot.uid).unwrap_or_default();
    let dear = hot.spec.tier >= Tier::Large || measured.database_bytes >= DEAR_BYTES;
    if !dear {
        return vec![decision(hot.uid)];
    }
    let mut busiest: Vec<_> = neighbours()
        .filter_map(|uid| load(uid).map(|load| (uid, load)))
        .filter(|(_, load)| load.cpu_millicores > 0 && load.database_bytes < DEAR_BYTES)
        .collect();
    busiest.sort_by_key(|(uid, load)| (Reverse((load.cpu_millicores, load.requests_per_minute)), *uid));
    busiest
        .into_iter()
        .take(NEIGHBOURS)
        .map(|(uid, _)| decision(uid))
        .collect()
}

#[cfg(test)]
#[path = "move_policy_tests.rs"]
mod tests;
