//! Asks the planner where a tenant should go, with what this leader knows of the nodes.

use tenantry_state::planner::{self, ClusterView, Decision, InFlight, NodeObservation, PlacementRequest};
use tenantry_types::Tier;

use super::control_plane::ControlPlane;

/// A decision on its way into the log. While it lives, it counts as load on the chosen node, so that a burst of new tenants
/// does not land on one that only looks empty.
pub(crate) struct Placing<'a> {
    control_plane: &'a ControlPlane,
    /// What the planner decided.
    pub(crate) decision: Decision,
    tier: Tier,
}

/// The planner's decision for a tenant of `tier`, drawn from the applied state and the heartbeats.
pub(crate) fn choose(control_plane: &ControlPlane, tier: Tier) -> Placing<'_> {
    let published = control_plane.published.current();
    let state = &published.state;
    let now = control_plane.uptime();
    let observed = control_plane.observations(|observations| {
        let observe = |node: &std::sync::Arc<tenantry_types::Node>| {
            let availability = observations.availability(&node.id, now, &control_plane.patience);
            let disk_free = observations.load(&node.id).map(|load| load.disk_free);
            (
                node.id.clone(),
                NodeObservation {
                    availability,
                    disk_free,
                },
            )
        };
        state.nodes_after(None).map(observe).collect()
    });
    let request = PlacementRequest {
        tier,
        weight: state.tiers().get(tier).weight,
        seed: rand::random(),
    };
    // One lock for the look and the entry, or two creations at once would see the same load.
    let mut in_flight = control_plane.in_flight.lock();
    let decision = planner::choose(&ClusterView::of(state, &observed, &in_flight), &request);
    in_flight.extend(decision.chosen.clone().map(|node| InFlight { node, tier }));
    drop(in_flight);
    Placing {
        control_plane,
        decision,
        tier,
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        let Some(node) = &self.decision.chosen else { return };
        let mut in_flight = self.control_plane.in_flight.lock();
        if let Some(index) = in_flight
            .iter()
            .position(|entry| entry.node == *node && entry.tier == self.tier)
        {
            in_flight.swap_remove(index);
        }
    }
}
