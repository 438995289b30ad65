//! Asks the planner where a tenant should go, with what this leader knows of the nodes.

use tenantry_state::{ClusterView, Decision, NodeView, PlacementRequest};
use tenantry_types::Tier;

use super::control_plane::ControlPlane;

/// The planner's decision for a new tenant of `tier`, drawn from the applied state and the heartbeats.
pub(super) fn choose(control_plane: &ControlPlane, tier: Tier) -> Decision {
    let published = control_plane.published.current();
    let state = &published.state;
    let now = control_plane.uptime();
    let nodes = control_plane.observations(|observations| {
        state
            .nodes_after(None)
            .map(|node| {
                let availability = observations.availability(&node.id, now, &control_plane.patience);
                NodeView::of(state, node, availability, observations.load(&node.id))
            })
            .collect()
    });
    tenantry_state::choose(&ClusterView { nodes }, &PlacementRequest { tier, seed: rand::random() })
}
