//! The nodes as the planner sees them: replicated facts, the leader's observations, and placements on their way.

use std::collections::BTreeMap;

use tenantry_types::{Availability, ByteSize, NodeCapacity, NodeId, Scheduling, Tier};

use crate::State;

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Which.
    pub id: NodeId,
    /// What the leader makes of its heartbeats.
    pub availability: Availability,
    /// The operator's word.
    pub scheduling: Scheduling,
    /// What it offers.
    pub capacity: NodeCapacity,
    /// Bytes of disk that are free; `None` while no heartbeat has said so.
    pub disk_free: Option<ByteSize>,
    /// Tenants placed on it or on their way to it.
    pub tenants: u64,
    /// Those of them that are of the enterprise tier.
    pub enterprise_tenants: u64,
    /// The weights of those tenants, summed up.
    pub weight: u64,
    /// How many of its tenants are hot.
    pub hot_tenants: u64,
}

/// All nodes, ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    nodes: Vec<NodeView>,
}

/// What the leader knows of a node beside the replicated state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeObservation {
    /// From its heartbeats.
    pub availability: Availability,
    /// From its latest heartbeat; `None` before the first.
    pub disk_free: Option<ByteSize>,
}

/// A placement that was proposed and is not applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Where to.
    pub node: NodeId,
    /// The tenant's tier.
    pub tier: Tier,
}

impl ClusterView {
    /// A view of these nodes; the order they come in does not matter.
    #[must_use]
    pub fn new(mut nodes: Vec<NodeView>) -> Self {
        nodes.sort_by(|one, other| one.id.cmp(&other.id));
        nodes.dedup_by(|later, earlier| later.id == earlier.id);
        Self { nodes }
    }

    /// The registered nodes. One that was not observed is of unknown availability, and takes no tenant.
    #[must_use]
    pub fn of(state: &State, observed: &BTreeMap<NodeId, NodeObservation>, in_flight: &[InFlight]) -> Self {
        let nodes = state.nodes_after(None).map(|node| {
            let observation = observed.get(&node.id);
            let placed = state.tenants_on(&node.id);
            let mut view = NodeView {
                id: node.id.clone(),
                availability: observation.map_or(Availability::Unknown, |seen| seen.availability),
                scheduling: node.scheduling,
                capacity: node.spec.capacity,
                disk_free: observation.and_then(|seen| seen.disk_free),
                tenants: placed.map_or(0, |tenants| tenants.count()),
                enterprise_tenants: placed.map_or(0, |tenants| tenants.of_tier(Tier::Enterprise)),
                weight: state.weight_on(&node.id),
                hot_tenants: state.hot_tenants_on(&node.id),
            };
            for coming in in_flight.iter().filter(|coming| coming.node == node.id) {
                view.tenants = view.tenants.saturating_add(1);
                view.enterprise_tenants += u64::from(coming.tier == Tier::Enterprise);
                view.weight = view
                    .weight
                    .saturating_add(u64::from(state.tiers().get(coming.tier).weight));
            }
            view
        });
        Self::new(nodes.collect())
    }

    /// All nodes, in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> &[NodeView] {
        &self.nodes
    }
}
