//! What the leader has heard from tenant-nodes: signs of life, load and tenants' use. Never replicated.
//!
//! Rebuilt within one heartbeat after an election. Pure: the caller passes the time, as a duration since any fixed point.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tenantry_types::{Availability, Incarnation, NodeId, NodeLoad, TenantUid, TenantUsage, UsageOrder};

/// Usage that was heard longer ago is not ranked.
const RANKED_FOR: Duration = Duration::from_secs(60);

/// When silence means what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often nodes are asked to send a heartbeat.
    pub heartbeat_interval: Duration,
    /// Silent for longer than this: suspect.
    pub suspect_after: Duration,
    /// Silent for longer than this: down.
    pub down_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
            suspect_after: Duration::from_secs(7),
            down_after: Duration::from_secs(30),
        }
    }
}

/// One node's latest heartbeat.
#[derive(Debug, Clone)]
struct Observation {
    incarnation: Incarnation,
    heard_at: Duration,
    load: NodeLoad,
    usage: HashMap<TenantUid, HeardUsage>,
}

/// What was last said of one tenant.
#[derive(Debug, Clone)]
struct HeardUsage {
    heard_at: Duration,
    usage: TenantUsage,
}

/// The tenants that use most, and of how many they are the first.
#[derive(Debug)]
pub struct UsageRanking {
    /// With the nodes that reported them, most first.
    pub first: Vec<(NodeId, TenantUsage)>,
    /// Tenants that were heard of lately.
    pub measured: u64,
}

/// All nodes' latest heartbeats.
#[derive(Debug, Default)]
pub struct Observations {
    nodes: BTreeMap<NodeId, Observation>,
    /// Since when this member listens; `None` while another leads.
    listening_since: Option<Duration>,
}

impl Observations {
    /// Takes a heartbeat in. An older incarnation than the one known is ignored: that process is gone.
    ///
    /// A report replaces the use of the tenants in it; the others keep what was last said, since a heartbeat of a node with
    /// many tenants does not name all.
    pub fn hear(
        &mut self,
        node: &NodeId,
        incarnation: Incarnation,
        now: Duration,
        load: NodeLoad,
        usage: impl IntoIterator<Item = TenantUsage>,
    ) {
        let known = self.nodes.entry(node.clone()).or_insert_with(|| Observation {
            incarnation,
            heard_at: now,
            load,
            usage: HashMap::new(),
        });
        if incarnation < known.incarnation {
            return;
        }
        known.incarnation = incarnation;
        known.heard_at = now;
        known.load = load;
        let heard = |usage: TenantUsage| (usage.tenant, HeardUsage { heard_at: now, usage });
        known.usage.extend(usage.into_iter().map(heard));
    }

    /// Forgets everything: this member leads no longer, and what it heard grows old.
    pub fn forget(&mut self) {
        self.nodes.clear();
        self.listening_since = None;
    }

    /// This member leads: nodes send their heartbeats here from now on, and from when on silence means something.
    pub fn listen(&mut self, now: Duration) {
        self.listening_since.get_or_insert(now);
    }

    /// What the silence of a node means.
    #[must_use]
    pub fn availability(&self, node: &NodeId, now: Duration, patience: &Patience) -> Availability {
        let silence = match (self.nodes.get(node), self.listening_since) {
            (Some(observation), _) => now.saturating_sub(observation.heard_at),
            // Never heard of: that is news only when it would have been down by now.
            (None, Some(since)) if now.saturating_sub(since) > patience.down_after => return Availability::Down,
            (None, _) => return Availability::Unknown,
        };
        if silence > patience.down_after {
            Availability::Down
        } else if silence > patience.suspect_after {
            Availability::Suspect
        } else {
            Availability::Up
        }
    }

    /// A node's latest load.
    #[must_use]
    pub fn load(&self, node: &NodeId) -> Option<NodeLoad> {
        self.nodes.get(node).map(|observation| observation.load)
    }

    /// A tenant's latest use, as reported by the node that serves it.
    #[must_use]
    pub fn usage(&self, node: &NodeId, tenant: TenantUid) -> Option<TenantUsage> {
        let heard = self.nodes.get(node)?.usage.get(&tenant)?;
        Some(heard.usage.clone())
    }

    /// The first `limit` tenants by `order` among those that were heard of in the last minute: an older figure of a rate says
    /// nothing about now. A pass over all of them that keeps no more than `limit`, and asks `served`, whether that node
    /// serves the tenant, only of those that would be among the first so far.
    pub fn rank(
        &self,
        order: UsageOrder,
        limit: usize,
        now: Duration,
        mut served: impl FnMut(&NodeId, TenantUid) -> bool,
    ) -> UsageRanking {
        let mut first = BTreeMap::new();
        let mut measured = 0_u64;
        let all = self
            .nodes
            .iter()
            .flat_map(|(node, observation)| observation.usage.values().map(move |heard| (node, heard)));
        for (node, HeardUsage { heard_at, usage }) in all {
            if now.saturating_sub(*heard_at) > RANKED_FOR {
                continue;
            }
            measured += 1;
            // Ascending, so that the last of the first is at hand; of equal ones the lower uid is the better one.
            let place = (order.rank(usage), Reverse(usage.tenant));
            let last = first.first_key_value().map(|(last, _)| *last);
            let has_room = first.len() < limit || last.is_some_and(|last| place > last);
            if place.0 == 0 || !has_room || !served(node, usage.tenant) {
                continue;
            }
            first.insert(place, (node, usage));
            if first.len() > limit {
                first.pop_first();
            }
        }
        let descending = first.into_values().rev();
        UsageRanking {
            first: descending.map(|(node, usage)| (node.clone(), usage.clone())).collect(),
            measured,
        }
    }

    /// Drops the use of tenants that a node serves no longer, so that memory follows the placements.
    pub fn retain_usage(&mut self, mut served: impl FnMut(&NodeId, TenantUid) -> bool) {
        for (node, observation) in &mut self.nodes {
            observation.usage.retain(|tenant, _| served(node, *tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_types::{Epoch, GrowthRate, HotspotScore, Tier, TierDefinition, UnixMillis};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn node() -> NodeId {
        NodeId::new("node-1").unwrap()
    }

    #[test]
    fn silence_turns_up_into_suspect_and_down() {
        let patience = Patience::default();
        let mut observations = Observations::default();
        let at = |observations: &Observations, seconds| observations.availability(&node(), seconds * SECOND, &patience);
        assert_eq!(at(&observations, 0), Availability::Unknown);
        observations.hear(&node(), Incarnation(1), 10 * SECOND, NodeLoad::default(), []);
        let cases = [
            (10, Availability::Up),
            (17, Availability::Up),
            (18, Availability::Suspect),
            (41, Availability::Down),
        ];
        for (seconds, expected) in cases {
            assert_eq!(at(&observations, seconds), expected, "{seconds}");
        }
        observations.hear(&node(), Incarnation(1), 50 * SECOND, NodeLoad::default(), []);
        assert_eq!(at(&observations, 51), Availability::Up);
    }

    #[test]
    fn a_node_that_a_new_leader_never_hears_of_is_unknown_and_then_down() {
        let patience = Patience::default();
        let mut observations = Observations::default();
        let at = |observations: &Observations, seconds| observations.availability(&node(), seconds * SECOND, &patience);
        assert_eq!(at(&observations, 1_000), Availability::Unknown, "another member leads");
        observations.listen(1_000 * SECOND);
        observations.listen(1_020 * SECOND);
        assert_eq!(at(&observations, 1_030), Availability::Unknown);
        assert_eq!(at(&observations, 1_031), Availability::Down);
        observations.forget();
        assert_eq!(at(&observations, 1_031), Availability::Unknown);
    }

    /// Tenant number `uid` with that many requests; its other figures differ, so that orders do, too.
    fn usage(uid: u128, requests: u64) -> TenantUsage {
        TenantUsage {
            tenant: TenantUid::from_u128(uid),
            epoch: Epoch(1),
            measured_at: UnixMillis(0),
            quota: TierDefinition::built_in(Tier::Small).quota,
            requests_last_day: 0,
            concurrent_requests: 0,
            database_bytes: 1_000 - requests.min(1_000),
            wal_bytes: 0,
            free_bytes: 0,
            growth: GrowthRate::NotEnoughData,
            requests_last_minute: requests,
            errors_last_minute: requests / 3,
            peak_requests_per_minute: 0,
            average_response_micros: None,
            error_ratio: None,
            cpu_millicores: requests % 7,
            memory_bytes: 0,
            rows_read: 0,
            rows_written: 0,
            observed_class: Tier::Micro,
            hotspot: HotspotScore::default(),
        }
    }

    fn hear(observations: &mut Observations, node: &NodeId, at: Duration, usage: Vec<TenantUsage>) {
        observations.hear(node, Incarnation(1), at, NodeLoad::default(), usage);
    }

    fn uids(ranking: &UsageRanking) -> Vec<u128> {
        let uids = ranking.first.iter().map(|(_, usage)| usage.tenant.as_u128());
        uids.collect()
    }

    proptest! {
        #[test]
        fn the_first_by_any_order_are_those_of_a_sorted_list(
            requests in proptest::collection::vec(0_u64..40, 0..60), limit in 1_usize..20, split in 0_usize..60,
        ) {
            let all: Vec<_> = (1..).zip(&requests).map(|(uid, requests)| usage(uid, *requests)).collect();
            let mut observations = Observations::default();
            let (one, other) = all.split_at(split.min(all.len()));
            hear(&mut observations, &node(), SECOND, one.to_vec());
            hear(&mut observations, &NodeId::new("node-2").unwrap(), SECOND, other.to_vec());
            for order in UsageOrder::ALL {
                let mut sorted: Vec<_> = all.iter().filter(|usage| order.rank(usage) > 0).collect();
                sorted.sort_by_key(|usage| (Reverse(order.rank(usage)), usage.tenant));
                let expected: Vec<_> = sorted.iter().take(limit).map(|usage| usage.tenant.as_u128()).collect();
                let ranking = observations.rank(order, limit, SECOND, |_, _| true);
                prop_assert_eq!(uids(&ranking), expected);
                prop_assert_eq!(ranking.measured, all.len() as u64);
            }
        }
    }

    #[test]
    fn what_was_heard_long_ago_or_of_a_node_that_serves_it_no_longer_is_not_ranked() {
        let mut observations = Observations::default();
        let other = NodeId::new("node-2").unwrap();
        hear(&mut observations, &node(), SECOND, vec![usage(1, 9), usage(2, 5)]);
        hear(&mut observations, &other, 2 * SECOND, vec![usage(1, 3)]);
        let rank = |observations: &Observations, at: u32| {
            let served = |by: &NodeId, uid: TenantUid| (uid.as_u128() == 1) == (*by == other);
            observations.rank(UsageOrder::Requests, 10, at * SECOND, served)
        };
        let ranking = rank(&observations, 61);
        assert_eq!(uids(&ranking), [2, 1]);
        assert_eq!(ranking.first[1].0, other);
        // A tenant that a later heartbeat does not name keeps its figures, for a while.
        hear(&mut observations, &node(), 50 * SECOND, vec![usage(3, 1)]);
        assert_eq!(uids(&rank(&observations, 62)), [1, 3]);
        assert_eq!(uids(&rank(&observations, 111)), [0; 0]);
        assert!(observations.usage(&node(), TenantUid::from_u128(2)).is_some());
    }

    #[test]
    fn a_heartbeat_of_an_older_incarnation_is_ignored() {
        let mut observations = Observations::default();
        let load = |open_tenants| NodeLoad {
            open_tenants,
            ..NodeLoad::default()
        };
        observations.hear(&node(), Incarnation(2), SECOND, load(2), []);
        observations.hear(&node(), Incarnation(1), 2 * SECOND, load(1), []);
        assert_eq!(observations.load(&node()).map(|load| load.open_tenants), Some(2));
    }
}
