//! What the control plane does about events by itself, and whether it may.

use crate::{NodeId, TenantUid, UnixMillis};

/// Whether the control plane does something by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    /// It does.
    #[default]
    On,
    /// It leaves that to operators.
    Off,
}

impl Switch {
    /// Whether it is [`On`](Self::On).
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// What the control plane does by itself. Data in the state machine: an operator can switch each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reactions {
    /// Gives AUTO tenants another tier.
    pub tier_changes: Switch,
    /// Proposes moves of hot tenants or of their neighbours.
    pub move_proposals: Switch,
    /// Asks for a node when an enterprise tenant is placed beside others, or becomes one there.
    pub dedicated_nodes: Switch,
    /// Records when tenants pass a share of a limit.
    pub quota_warnings: Switch,
}

/// A tenant that should leave its node: the planner's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveProposal {
    /// The node to leave.
    pub node: NodeId,
    /// Why.
    pub cause: MoveCause,
    /// Since when it is proposed.
    pub since: UnixMillis,
}

/// Why a tenant should move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveCause {
    /// It is hot itself.
    Hot,
    /// It stands beside a hot tenant that is harder to move.
    BesideHot {
        /// Which.
        hot: TenantUid,
    },
}

impl MoveCause {
    /// The hot tenant, of `proposed` itself or beside it.
    #[must_use]
    pub const fn hot_tenant(&self, proposed: TenantUid) -> TenantUid {
        match self {
            Self::Hot => proposed,
            Self::BesideHot { hot } => *hot,
        }
    }
}
