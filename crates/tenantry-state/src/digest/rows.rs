//! How tenants, nodes and tiers are hashed. Each is taken apart by name, so that a new field cannot be forgotten.

use tenantry_types::{
    Burst, Durability, EffectiveQuota, Node, NodeCapacity, NodeEndpoints, NodeId, NodeSpec, Placement, QuotaOverrides,
    Scheduling, Tenant, TenantSpec, TenantState, Tier, TierDefinition, TierPolicy,
};

use super::{Feed, Hasher};
use crate::{ClusterInfo, ReportCursor};

const TENANT: u8 = 1;
const NODE: u8 = 2;
const CURSOR: u8 = 4;

impl Feed for ClusterInfo {
    fn feed(&self, hasher: &mut Hasher) {
        let Self { uid, created_at, epoch } = self;
        hasher.wide(uid.as_u128());
        hasher.word(created_at.0);
        hasher.word(epoch.get());
    }
}

impl Feed for Tier {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.text(self.as_str());
    }
}

impl Feed for Burst {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            requests_per_second,
            size,
        } = self;
        hasher.word(u64::from(*requests_per_second));
        hasher.word(u64::from(*size));
    }
}

impl Feed for QuotaOverrides {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = self;
        for limit in [
            *database_bytes,
            *requests_per_day,
            concurrent_requests.map(u64::from),
            *query_time_ms,
            *memory_bytes,
            cpu_millicores.map(u64::from),
            *result_bytes,
            *request_bytes,
        ] {
            hasher.option(limit, Hasher::word);
        }
        hasher.option(burst.as_ref(), |hasher, burst| burst.feed(hasher));
    }
}

impl Feed for EffectiveQuota {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = self;
        for limit in [
            *database_bytes,
            *requests_per_day,
            u64::from(*concurrent_requests),
            *query_time_ms,
            *memory_bytes,
            u64::from(*cpu_millicores),
            *result_bytes,
            *request_bytes,
        ] {
            hasher.word(limit);
        }
        hasher.option(burst.as_ref(), |hasher, burst| burst.feed(hasher));
    }
}

impl Feed for TierDefinition {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            tier,
            quota,
            weight,
            observed_above_bytes,
            observed_above_requests,
        } = self;
        tier.feed(hasher);
        quota.feed(hasher);
        hasher.word(u64::from(*weight));
        hasher.word(*observed_above_bytes);
        hasher.word(*observed_above_requests);
    }
}

impl Feed for TenantSpec {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            tier,
            tier_policy,
            quota,
            durability,
            labels,
            domains,
        } = self;
        tier.feed(hasher);
        match tier_policy {
            TierPolicy::Pinned => hasher.byte(0),
            TierPolicy::Auto { max_tier } => {
                hasher.byte(1);
                max_tier.feed(hasher);
            }
        }
        quota.feed(hasher);
        hasher.byte(match durability {
            Durability::Local => 0,
            Durability::Replicated => 1,
        });
        feed_pairs(labels.pairs(), hasher);
        hasher.word(domains.len() as u64);
        domains.iter().for_each(|domain| hasher.text(domain.as_str()));
    }
}

pub(super) fn feed_pairs(pairs: &std::collections::BTreeMap<String, String>, hasher: &mut Hasher) {
    hasher.word(pairs.len() as u64);
    for (key, value) in pairs {
        hasher.text(key);
        hasher.text(value);
    }
}

impl Feed for Tenant {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            uid,
            name,
            spec,
            state,
            placement,
            observed_class,
            token_generation,
            created_at,
            updated_at,
            revision,
        } = self;
        hasher.byte(TENANT);
        hasher.wide(uid.as_u128());
        hasher.text(name.as_str());
        spec.feed(hasher);
        match state {
            TenantState::Active => hasher.byte(0),
            TenantState::Deleted { deleted_at, purge_at } => {
                hasher.byte(1);
                hasher.word(deleted_at.0);
                hasher.word(purge_at.0);
            }
        }
        hasher.option(placement.as_ref(), |hasher, Placement { node, epoch }| {
            hasher.text(node.as_str());
            hasher.word(epoch.get());
        });
        hasher.option(observed_class.as_ref(), |hasher, class| class.feed(hasher));
        hasher.word(created_at.0);
        hasher.word(updated_at.0);
        hasher.word(revision.get());
        hasher.later_word(token_generation.get());
    }
}

impl Feed for NodeSpec {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            endpoints: NodeEndpoints { data, peer, ops },
            capacity: NodeCapacity { max_tenants, disk },
            zone,
            labels,
        } = self;
        [data, peer, ops, zone].into_iter().for_each(|text| hasher.text(text));
        hasher.word(*max_tenants);
        hasher.word(disk.0);
        feed_pairs(labels.pairs(), hasher);
    }
}

impl Feed for Node {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            id,
            incarnation,
            spec,
            scheduling,
            registered_at,
            revision,
        } = self;
        hasher.byte(NODE);
        hasher.text(id.as_str());
        hasher.word(incarnation.get());
        spec.feed(hasher);
        hasher.byte(match scheduling {
            Scheduling::Open => 0,
            Scheduling::Cordoned => 1,
        });
        hasher.word(registered_at.0);
        hasher.word(revision.get());
    }
}

impl Feed for (&NodeId, ReportCursor) {
    fn feed(&self, hasher: &mut Hasher) {
        let (node, ReportCursor { incarnation, sequence }) = self;
        hasher.byte(CURSOR);
        hasher.text(node.as_str());
        hasher.word(incarnation.get());
        hasher.word(sequence.get());
    }
}
