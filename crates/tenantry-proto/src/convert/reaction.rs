//! What the control plane does by itself, in `notification_service.proto`.

use tenantry_types::{Reactions, Switch};

use crate::v1;

impl From<&Reactions> for v1::Reactions {
    fn from(reactions: &Reactions) -> Self {
        let Reactions {
            tier_changes,
            move_proposals,
            dedicated_nodes,
            quota_warnings,
        } = *reactions;
        let off = |switch: Switch| !switch.is_on();
        Self {
            tier_changes_off: off(tier_changes),
            move_proposals_off: off(move_proposals),
            dedicated_nodes_off: off(dedicated_nodes),
            quota_warnings_off: off(quota_warnings),
        }
    }
}

impl From<v1::Reactions> for Reactions {
    fn from(reactions: v1::Reactions) -> Self {
        let switch = |off| if off { Switch::Off } else { Switch::On };
        Self {
            tier_changes: switch(reactions.tier_changes_off),
            move_proposals: switch(reactions.move_proposals_off),
            dedicated_nodes: switch(reactions.dedicated_nodes_off),
            quota_warnings: switch(reactions.quota_warnings_off),
        }
    }
}
