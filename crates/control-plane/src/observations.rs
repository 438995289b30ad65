//! What the leader has heard from tenant-nodes: signs of life, load and tenants' use. Never replicated.
//!
//! Rebuilt within one heartbeat after an election. Pure: the caller passes the time, as a duration since any fixed point.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tenantry_types::{Availability, Incarnation, NodeId, NodeLoad, TenantUid, TenantUsage};

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
    usage: HashMap<TenantUid, TenantUsage>,
}

/// All nodes' latest heartbeats.
#[derive(Debug, Default)]
pub struct Observations {
    nodes: BTreeMap<NodeId, Observation>,
}

impl Observations {
    /// Takes a heartbeat in. An older incarnation than the one known is ignored: that process is gone.
    ///
    /// A report replaces the use of the tenants in it; the others keep what was last said, since a heartbeat names the
    /// busiest only.
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
        known.usage.extend(usage.into_iter().map(|usage| (usage.tenant, usage)));
    }

    /// Forgets everything: this member leads no longer, and what it heard grows old.
    pub fn forget(&mut self) {
        self.nodes.clear();
    }

    /// What the silence of a node means.
    #[must_use]
    pub fn availability(&self, node: &NodeId, now: Duration, patience: &Patience) -> Availability {
        let Some(observation) = self.nodes.get(node) else {
            return Availability::Unknown;
        };
        let silence = now.saturating_sub(observation.heard_at);
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
        self.nodes.get(node)?.usage.get(&tenant).cloned()
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
