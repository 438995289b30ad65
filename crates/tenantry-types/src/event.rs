//! Facts that nodes and the control plane report.

use crate::{
    Availability, Cleared, ClusterEpoch, Condition, ConditionFigures, DisabledBy, Epoch, EventSequence, Incarnation,
    MemberId, MoveCause, NodeId, ReportSequence, Scheduling, TenantName, TenantUid, Tier, TokenGeneration, UnixMillis,
    WebhookName,
};

/// Which quota an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Requests in 24 hours.
    RequestsPerDay,
    /// Bytes of the database.
    Database,
}

/// A member's part in the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    /// It has a vote.
    Voter,
    /// It only follows.
    Learner,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventDetail {
    /// A condition of a tenant set in.
    Raised(ConditionFigures),
    /// A condition of a tenant is over.
    Cleared(Cleared),
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
    /// The control plane proposes that the tenant leaves its node.
    MoveProposed {
        /// The node to leave.
        node: NodeId,
        /// Why.
        cause: MoveCause,
    },
    /// The reason to move the tenant is gone.
    MoveWithdrawn {
        /// The node that it may stay on.
        node: NodeId,
    },
    /// An enterprise tenant shares its node and should have one of its own.
    DedicatedNodeWanted {
        /// The node that it is on.
        node: NodeId,
        /// How many tenants are there beside it.
        neighbours: u64,
    },
    /// A node registered: first start or restart.
    NodeRegistered {
        /// Its start.
        incarnation: Incarnation,
    },
    /// The leader hears of a node again, or not any more.
    NodeAvailability {
        /// Which.
        node: NodeId,
        /// What was recorded before; `None` at the first time.
        from: Option<Reachability>,
        /// What it is.
        to: Reachability,
    },
    /// An operator closed a node to new tenants, or opened it.
    NodeScheduling {
        /// Which.
        node: NodeId,
        /// The operator's word.
        scheduling: Scheduling,
    },
    /// A node's outbox was full and had to drop events.
    EventsDropped {
        /// How many.
        count: u64,
    },
    /// A node refused a part of what the control plane told it, and keeps the last good one in force.
    ConfigRefused {
        /// How many records it refuses now.
        records: u64,
        /// One of them, and what is wrong with it.
        example: String,
    },
    /// A node refuses nothing any more.
    ConfigAccepted,
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
    /// Another member leads the control plane.
    LeaderChanged {
        /// Who led before; `None` for the first leader.
        from: Option<MemberId>,
        /// Who leads.
        to: MemberId,
        /// The Raft term that it leads in.
        term: u64,
    },
    /// A member joined the control plane, or has another part in it.
    MemberChanged {
        /// Which.
        member: MemberId,
        /// Its part before; `None` for a new member.
        from: Option<MemberKind>,
        /// Its part now.
        to: MemberKind,
    },
    /// A member is no longer part of the control plane.
    MemberRemoved {
        /// Which.
        member: MemberId,
    },
    /// The control plane was restored from a snapshot.
    ClusterRestored {
        /// The life that began with it.
        epoch: ClusterEpoch,
    },
    /// A webhook's receiver does not take messages.
    WebhookFailing {
        /// Which.
        webhook: WebhookName,
        /// What went wrong.
        failure: String,
    },
    /// A webhook's receiver takes messages again.
    WebhookRecovered {
        /// Which.
        webhook: WebhookName,
    },
    /// A webhook is silent until an operator enables it.
    WebhookDisabled {
        /// Which.
        webhook: WebhookName,
        /// Who wanted it so.
        by: DisabledBy,
    },
    /// An event was given up for a webhook.
    WebhookGaveUp {
        /// Which.
        webhook: WebhookName,
        /// The first event that was given up.
        first: EventSequence,
        /// The last one.
        last: EventSequence,
    },
}

/// What a node's silence means, once it was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
    /// Heard of lately.
    Up,
    /// Late.
    Suspect,
    /// Silent for so long that others would take over.
    Down,
}

impl Reachability {
    /// What the leader calls it.
    #[must_use]
    pub const fn availability(self) -> Availability {
        match self {
            Self::Up => Availability::Up,
            Self::Suspect => Availability::Suspect,
            Self::Down => Availability::Down,
        }
    }

    /// `None` for what is unknown.
    #[must_use]
    pub const fn of(availability: Availability) -> Option<Self> {
        match availability {
            Availability::Unknown => None,
            Availability::Up => Some(Self::Up),
            Availability::Suspect => Some(Self::Suspect),
            Availability::Down => Some(Self::Down),
        }
    }
}

impl EventDetail {
    /// The names of all kinds, as [`kind`](Self::kind) gives them.
    pub const KINDS: [&'static str; 32] = [
        "hotspot-raised",
        "hotspot-cleared",
        "spike-raised",
        "spike-cleared",
        "node-exceeded-raised",
        "node-exceeded-cleared",
        "class-changed",
        "tier-changed",
        "quota-crossed",
        "move-proposed",
        "move-withdrawn",
        "dedicated-node-wanted",
        "node-registered",
        "node-up",
        "node-suspect",
        "node-down",
        "node-cordoned",
        "node-uncordoned",
        "events-dropped",
        "config-refused",
        "config-accepted",
        "tokens-revoked",
        "token-key-added",
        "token-key-retired",
        "leader-changed",
        "member-changed",
        "member-removed",
        "cluster-restored",
        "webhook-failing",
        "webhook-recovered",
        "webhook-disabled",
        "webhook-gave-up",
    ];

    /// The name of the kind in kebab case, as in filters, messages to webhooks and on the command line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Raised(figures) => match figures.condition() {
                Condition::Hotspot => "hotspot-raised",
                Condition::Spike => "spike-raised",
                Condition::NodeExceeded => "node-exceeded-raised",
            },
            Self::Cleared(cleared) => match cleared.condition() {
                Condition::Hotspot => "hotspot-cleared",
                Condition::Spike => "spike-cleared",
                Condition::NodeExceeded => "node-exceeded-cleared",
            },
            Self::ClassChanged { .. } => "class-changed",
            Self::TierChanged { .. } => "tier-changed",
            Self::QuotaCrossed { .. } => "quota-crossed",
            Self::MoveProposed { .. } => "move-proposed",
            Self::MoveWithdrawn { .. } => "move-withdrawn",
            Self::DedicatedNodeWanted { .. } => "dedicated-node-wanted",
            Self::NodeRegistered { .. } => "node-registered",
            Self::NodeAvailability { to, .. } => match to {
                Reachability::Up => "node-up",
                Reachability::Suspect => "node-suspect",
                Reachability::Down => "node-down",
            },
            Self::NodeScheduling { scheduling, .. } => match scheduling {
                Scheduling::Cordoned => "node-cordoned",
                Scheduling::Open => "node-uncordoned",
            },
            Self::EventsDropped { .. } => "events-dropped",
            Self::ConfigRefused { .. } => "config-refused",
            Self::ConfigAccepted => "config-accepted",
            Self::TokensRevoked { .. } => "tokens-revoked",
            Self::TokenKeyAdded { .. } => "token-key-added",
            Self::TokenKeyRetired { .. } => "token-key-retired",
            Self::LeaderChanged { .. } => "leader-changed",
            Self::MemberChanged { .. } => "member-changed",
            Self::MemberRemoved { .. } => "member-removed",
            Self::ClusterRestored { .. } => "cluster-restored",
            Self::WebhookFailing { .. } => "webhook-failing",
            Self::WebhookRecovered { .. } => "webhook-recovered",
            Self::WebhookDisabled { .. } => "webhook-disabled",
            Self::WebhookGaveUp { .. } => "webhook-gave-up",
        }
    }

    /// The webhook that it is news of. Such news makes no news: two webhooks that both have trouble would tell each other of
    /// what they could not be told, for ever.
    #[must_use]
    pub const fn webhook(&self) -> Option<&WebhookName> {
        match self {
            Self::WebhookFailing { webhook, .. }
            | Self::WebhookRecovered { webhook }
            | Self::WebhookDisabled { webhook, .. }
            | Self::WebhookGaveUp { webhook, .. } => Some(webhook),
            _ => None,
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::QuotaCrossed { percent: 100.., .. }
            | Self::NodeAvailability {
                to: Reachability::Down, ..
            }
            | Self::Raised(ConditionFigures::NodeExceeded { .. }) => Severity::Critical,
            Self::Raised(_)
            | Self::QuotaCrossed { .. }
            | Self::NodeAvailability {
                to: Reachability::Suspect,
                ..
            }
            | Self::DedicatedNodeWanted { .. }
            | Self::EventsDropped { .. }
            | Self::ConfigRefused { .. }
            | Self::ClusterRestored { .. }
            | Self::WebhookFailing { .. }
            | Self::WebhookDisabled {
                by: DisabledBy::Receiver,
                ..
            }
            | Self::WebhookGaveUp { .. } => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// Who may say so.
    #[must_use]
    pub const fn reporter(&self) -> Reporter {
        match self {
            Self::Raised(_)
            | Self::Cleared(Cleared::Subsided(_))
            | Self::ClassChanged { .. }
            | Self::QuotaCrossed { .. }
            | Self::EventsDropped { .. }
            | Self::ConfigRefused { .. }
            | Self::ConfigAccepted => Reporter::Node,
            _ => Reporter::ControlPlane,
        }
    }
}

/// Who may report a kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporter {
    /// A tenant-node, from what it measured.
    Node,
    /// The control plane alone.
    ControlPlane,
}

/// How much an event matters to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the record.
    Info,
    /// Worth a look.
    Warning,
    /// Somebody is not served as they should be.
    Critical,
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
    /// The placement under which the node served the tenant then; `None` if that is not said.
    pub epoch: Option<Epoch>,
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
    use crate::{EndReason, HotspotScore, ScoreTerms};

    /// One of each kind, in the order of [`EventDetail::KINDS`].
    fn one_of_each() -> Vec<EventDetail> {
        let (score, terms) = (HotspotScore::clamped(0.8), ScoreTerms::default());
        let (tiers, quota) = ((Tier::Micro, Tier::Small), QuotaKind::Database);
        let (node, webhook) = (NodeId::new("n1").unwrap(), WebhookName::new("pager").unwrap());
        let member = MemberId::new(1).unwrap();
        let reachable = |to| EventDetail::NodeAvailability {
            node: node.clone(),
            from: None,
            to,
        };
        let scheduled = |scheduling| EventDetail::NodeScheduling {
            node: node.clone(),
            scheduling,
        };
        let ended = |condition| EventDetail::Cleared(Cleared::Ended(condition, EndReason::TenantDeleted));
        vec![
            EventDetail::Raised(ConditionFigures::Hotspot { score, terms }),
            EventDetail::Cleared(Cleared::Subsided(ConditionFigures::Hotspot { score, terms })),
            EventDetail::Raised(ConditionFigures::Spike {
                requests_per_minute: 400,
                norm_per_minute: 100.0,
            }),
            ended(Condition::Spike),
            EventDetail::Raised(ConditionFigures::NodeExceeded {
                cpu_millicores: 1_900,
                node_millicores: 2_000,
            }),
            ended(Condition::NodeExceeded),
            EventDetail::ClassChanged {
                from: tiers.0,
                to: tiers.1,
                database_bytes: 0,
                requests_last_day: 0,
            },
            EventDetail::TierChanged {
                from: tiers.0,
                to: tiers.1,
            },
            EventDetail::QuotaCrossed {
                quota,
                percent: 80,
                used: 8,
                limit: 10,
            },
            EventDetail::MoveProposed {
                node: node.clone(),
                cause: MoveCause::Hot,
            },
            EventDetail::MoveWithdrawn { node: node.clone() },
            EventDetail::DedicatedNodeWanted {
                node: node.clone(),
                neighbours: 3,
            },
            EventDetail::NodeRegistered {
                incarnation: Incarnation(1),
            },
            reachable(Reachability::Up),
            reachable(Reachability::Suspect),
            reachable(Reachability::Down),
            scheduled(Scheduling::Cordoned),
            scheduled(Scheduling::Open),
            EventDetail::EventsDropped { count: 1 },
            EventDetail::ConfigRefused {
                records: 1,
                example: "acme: no name".to_owned(),
            },
            EventDetail::ConfigAccepted,
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
            EventDetail::LeaderChanged {
                from: None,
                to: member,
                term: 2,
            },
            EventDetail::MemberChanged {
                member,
                from: None,
                to: MemberKind::Learner,
            },
            EventDetail::MemberRemoved { member },
            EventDetail::ClusterRestored {
                epoch: ClusterEpoch::FIRST,
            },
            EventDetail::WebhookFailing {
                webhook: webhook.clone(),
                failure: "refused".to_owned(),
            },
            EventDetail::WebhookRecovered {
                webhook: webhook.clone(),
            },
            EventDetail::WebhookDisabled {
                webhook: webhook.clone(),
                by: DisabledBy::Receiver,
            },
            EventDetail::WebhookGaveUp {
                webhook,
                first: EventSequence(1),
                last: EventSequence(1),
            },
        ]
    }

    #[test]
    fn every_kind_is_listed() {
        let kinds: Vec<_> = one_of_each().iter().map(EventDetail::kind).collect();
        assert_eq!(kinds, EventDetail::KINDS);
    }

    #[test]
    fn news_of_webhooks_is_known_by_its_kind() {
        for detail in one_of_each() {
            assert_eq!(
                detail.webhook().is_some(),
                detail.kind().starts_with("webhook-"),
                "{}",
                detail.kind()
            );
        }
    }

    #[test]
    fn conditions_name_their_kinds() {
        for condition in Condition::ALL {
            for end in ["raised", "cleared"] {
                let kind = format!("{}-{end}", condition.as_str());
                assert!(EventDetail::KINDS.contains(&kind.as_str()), "{kind}");
            }
        }
    }

    #[test]
    fn a_node_cannot_speak_for_the_control_plane() {
        let by_nodes: Vec<_> = one_of_each()
            .iter()
            .filter(|detail| detail.reporter() == Reporter::Node)
            .map(EventDetail::kind)
            .collect();
        let expected = [
            "hotspot-raised",
            "hotspot-cleared",
            "spike-raised",
            "node-exceeded-raised",
            "class-changed",
            "quota-crossed",
            "events-dropped",
            "config-refused",
            "config-accepted",
        ];
        assert_eq!(by_nodes, expected);
    }
}
