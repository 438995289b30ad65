//! Facts that nodes and the control plane report.

use crate::{
    EventSequence, Incarnation, MemberId, NodeId, ReportSequence, TenantName, TenantUid, Tier, TokenGeneration,
    UnixMillis,
};

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

/// Which quota an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Requests in 24 hours.
    RequestsPerDay,
    /// Bytes of the database.
    Database,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventDetail {
    /// A tenant's score rose above the threshold and stayed there.
    HotspotRaised {
        /// The score at the crossing.
        score: HotspotScore,
        /// Its parts.
        terms: ScoreTerms,
    },
    /// The score fell below the lower threshold.
    HotspotCleared {
        /// The score at the crossing.
        score: HotspotScore,
        /// Its parts.
        terms: ScoreTerms,
    },
    /// Size or traffic put the tenant into another class.
    ClassChanged {
        /// The class before.
        from: Tier,
        /// The class now.
        to: Tier,
        /// Database bytes that it rests on.
        database_bytes: u64,
        /// Requests in 24 hours that it rests on.
        requests_last_day: u64,
    },
    /// The contracted tier of an AUTO tenant was changed by the control plane.
    TierChanged {
        /// The tier before.
        from: Tier,
        /// The tier now.
        to: Tier,
    },
    /// Use passed a share of a limit.
    QuotaCrossed {
        /// Which limit.
        quota: QuotaKind,
        /// The share that was passed, in percent: 80, 95 or 100.
        percent: u32,
        /// Use at the crossing.
        used: u64,
        /// The limit at the crossing.
        limit: u64,
    },
    /// A node registered: first start or restart.
    NodeRegistered {
        /// Its start.
        incarnation: Incarnation,
    },
    /// A node's outbox was full and had to drop events.
    EventsDropped {
        /// How many.
        count: u64,
    },
    /// All of a tenant's tokens so far were revoked.
    TokensRevoked {
        /// Tokens of earlier generations are refused from now on.
        generation: TokenGeneration,
    },
    /// A token key was added: nodes verify with it at once.
    TokenKeyAdded {
        /// Which.
        key_id: String,
        /// From when on it signs new tokens.
        signs_from: UnixMillis,
    },
    /// A token key was taken out: what it signed is refused from now on.
    TokenKeyRetired {
        /// Which.
        key_id: String,
    },
}

impl EventDetail {
    /// The names of all kinds, as [`kind`](Self::kind) gives them.
    pub const KINDS: [&'static str; 10] = [
        "hotspot-raised",
        "hotspot-cleared",
        "class-changed",
        "tier-changed",
        "quota-crossed",
        "node-registered",
        "events-dropped",
        "tokens-revoked",
        "token-key-added",
        "token-key-retired",
    ];

    /// The name of the kind in kebab case, as in filters and on the command line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HotspotRaised { .. } => "hotspot-raised",
            Self::HotspotCleared { .. } => "hotspot-cleared",
            Self::ClassChanged { .. } => "class-changed",
            Self::TierChanged { .. } => "tier-changed",
            Self::QuotaCrossed { .. } => "quota-crossed",
            Self::NodeRegistered { .. } => "node-registered",
            Self::EventsDropped { .. } => "events-dropped",
            Self::TokensRevoked { .. } => "tokens-revoked",
            Self::TokenKeyAdded { .. } => "token-key-added",
            Self::TokenKeyRetired { .. } => "token-key-retired",
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::HotspotRaised { .. } | Self::EventsDropped { .. } => Severity::Warning,
            Self::QuotaCrossed { percent, .. } if *percent >= 95 => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

/// How much an event matters to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the record.
    Info,
    /// Worth a look.
    Warning,
}

/// An event on its way from a node, before the control plane has numbered it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedEvent {
    /// Its place in the node's outbox.
    pub sequence: ReportSequence,
    /// When the node saw it.
    pub occurred_at: UnixMillis,
    /// Whom it is about; `None` for the node itself.
    pub tenant: Option<TenantUid>,
    /// What happened.
    pub detail: EventDetail,
}

/// Who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventOrigin {
    /// A tenant-node.
    Node {
        /// Which.
        node: NodeId,
        /// Which start of it.
        incarnation: Incarnation,
        /// The place in its outbox.
        sequence: ReportSequence,
    },
    /// A member of the control plane.
    ControlPlane {
        /// The leader that decided.
        member: MemberId,
    },
}

/// An event in the replicated log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the log.
    pub sequence: EventSequence,
    /// When it happened, by the clock of its origin.
    pub occurred_at: UnixMillis,
    /// Who says so.
    pub origin: EventOrigin,
    /// Whom it is about.
    pub tenant: Option<(TenantUid, TenantName)>,
    /// What happened.
    pub detail: EventDetail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed() {
        let (score, terms) = (HotspotScore::clamped(0.8), ScoreTerms::default());
        let (from, to) = (Tier::Micro, Tier::Small);
        let quota = QuotaKind::Database;
        let all = [
            EventDetail::HotspotRaised { score, terms },
            EventDetail::HotspotCleared { score, terms },
            EventDetail::ClassChanged {
                from,
                to,
                database_bytes: 0,
                requests_last_day: 0,
            },
            EventDetail::TierChanged { from, to },
            EventDetail::QuotaCrossed {
                quota,
                percent: 80,
                used: 8,
                limit: 10,
            },
            EventDetail::NodeRegistered {
                incarnation: Incarnation(1),
            },
            EventDetail::EventsDropped { count: 1 },
            EventDetail::TokensRevoked {
                generation: TokenGeneration(1),
            },
            EventDetail::TokenKeyAdded {
                key_id: "k2".to_owned(),
                signs_from: UnixMillis(1),
            },
            EventDetail::TokenKeyRetired {
                key_id: "k1".to_owned(),
            },
        ];
        assert_eq!(all.map(|detail| detail.kind()), EventDetail::KINDS);
    }

    #[test]
    fn a_score_is_always_between_0_and_1() {
        assert_eq!(
            [f64::NAN, -1.0, 0.5, 7.0].map(|value| HotspotScore::clamped(value).get()),
            [0.0, 0.0, 0.5, 1.0]
        );
    }
}
