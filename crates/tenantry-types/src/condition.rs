//! Conditions of a tenant that are raised when they set in and cleared when they are over.
//!
//! A node measures them; the control plane ends them where the node can no longer say so itself.

use crate::{EventSequence, Incarnation, NodeId, UnixMillis};

/// A number from 0 (idle) to 1 (at every limit).
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct HotspotScore(f64);

impl HotspotScore {
    /// Clamps into 0..=1; not-a-number becomes 0.
    #[must_use]
    pub fn clamped(value: f64) -> Self {
        Self(if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The parts of a hotspot score, each use over limit, capped at 1, before weighing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ScoreTerms {
    /// Database bytes over their limit.
    pub database: f64,
    /// Requests of the last 24 hours over their limit.
    pub requests: f64,
    /// CPU time over the share.
    pub cpu: f64,
    /// Memory over its limit.
    pub memory: f64,
}

/// What can set in and be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The tenant is near its limits.
    Hotspot,
    /// The tenant gets far more requests than it usually does.
    Spike,
    /// The tenant alone takes most of its node's processors.
    NodeExceeded,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hotspot, Self::Spike, Self::NodeExceeded];

    /// The name in kebab case; kinds of events are this and `-raised` or `-cleared`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hotspot => "hotspot",
            Self::Spike => "spike",
            Self::NodeExceeded => "node-exceeded",
        }
    }
}

/// A condition with the figures that it was told by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConditionFigures {
    /// See [`Condition::Hotspot`].
    Hotspot {
        /// The score.
        score: HotspotScore,
        /// Its parts.
        terms: ScoreTerms,
    },
    /// See [`Condition::Spike`].
    Spike {
        /// Requests in the last full minute.
        requests_per_minute: u64,
        /// What is usual for the tenant at this hour.
        norm_per_minute: f64,
    },
    /// See [`Condition::NodeExceeded`].
    NodeExceeded {
        /// CPU time of the tenant's queries, in thousandths of one core.
        cpu_millicores: u64,
        /// What the node has, in thousandths of one core.
        node_millicores: u64,
    },
}

impl ConditionFigures {
    /// Of which condition.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Hotspot { .. } => Condition::Hotspot,
            Self::Spike { .. } => Condition::Spike,
            Self::NodeExceeded { .. } => Condition::NodeExceeded,
        }
    }
}

/// How a condition came to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cleared {
    /// The node measured that it is over.
    Subsided(ConditionFigures),
    /// The control plane ended it: the node that raised it has no more to say.
    Ended(Condition, EndReason),
}

impl Cleared {
    /// Which condition.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Subsided(figures) => figures.condition(),
            Self::Ended(condition, _) => *condition,
        }
    }
}

/// Why the control plane ended a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndReason {
    /// The tenant was deleted.
    TenantDeleted,
    /// Another node serves the tenant now, and measures anew.
    TenantMoved,
    /// The node came back without its record of what it had raised.
    RecordLost,
}

/// A condition that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCondition {
    /// The node that raised it.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// When it set in, by that node's clock.
    pub since: UnixMillis,
    /// The event that says so.
    pub event: EventSequence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_always_between_0_and_1() {
        assert_eq!(
            [f64::NAN, -1.0, 0.5, 7.0].map(|value| HotspotScore::clamped(value).get()),
            [0.0, 0.0, 0.5, 1.0]
        );
    }
}
