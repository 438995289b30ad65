//! `event.proto`: what happened.

use tenantry_types::{
    ClusterEpoch, Condition, DisabledBy, EventDetail, EventSequence, Incarnation, MemberId, MemberKind, MoveCause,
    QuotaKind, Reachability, TokenGeneration,
};

use super::condition::{
    cleared_from_wire, cleared_to_wire, hotspot_from_wire, node_share_from_wire, raised_to_wire, spike_from_wire,
};
use super::field::{InvalidField, Within, read};
use super::names::{self, bare_uid};
use super::node::scheduling_from_wire;
use super::placement_service::key_id;
use super::tier::{required_tier, to_wire};
use super::time::{required, timestamp};
use crate::v1;
use crate::v1::event_detail::Kind;

/// Texts from elsewhere that an event may carry.
const LONGEST_TEXT: usize = 500;

impl From<&EventDetail> for v1::EventDetail {
    fn from(detail: &EventDetail) -> Self {
        Self {
            kind: Some(kind_to_wire(detail)),
        }
    }
}

fn kind_to_wire(detail: &EventDetail) -> Kind {
    match detail {
        EventDetail::Raised(figures) => raised_to_wire(figures),
        EventDetail::Cleared(cleared) => cleared_to_wire(cleared),
        EventDetail::ClassChanged {
            from,
            to,
            database_bytes,
            requests_last_day,
        } => Kind::ClassChanged(v1::ClassChanged {
            from: to_wire(*from),
            to: to_wire(*to),
            database_bytes: *database_bytes,
            requests_last_day: *requests_last_day,
        }),
        EventDetail::TierChanged { from, to } => Kind::TierChanged(v1::TierChanged {
            from: to_wire(*from),
            to: to_wire(*to),
        }),
        EventDetail::QuotaCrossed {
            quota,
            percent,
            used,
            limit,
        } => Kind::QuotaCrossed(v1::QuotaCrossed {
            quota: match quota {
                QuotaKind::RequestsPerDay => v1::QuotaKind::RequestsPerDay,
                QuotaKind::Database => v1::QuotaKind::Database,
            }
            .into(),
            percent: *percent,
            used: *used,
            limit: *limit,
        }),
        EventDetail::MoveProposed { node, cause } => Kind::MoveProposed(v1::MoveProposed {
            node: names::node(node),
            hot_tenant_uid: match cause {
                MoveCause::Hot => String::new(),
                MoveCause::BesideHot { hot } => hot.to_string(),
            },
        }),
        EventDetail::MoveWithdrawn { node } => Kind::MoveWithdrawn(v1::MoveWithdrawn {
            node: names::node(node),
        }),
        EventDetail::DedicatedNodeWanted { node, neighbours } => Kind::DedicatedNodeWanted(v1::DedicatedNodeWanted {
            node: names::node(node),
            neighbours: *neighbours,
        }),
        EventDetail::NodeRegistered { incarnation } => Kind::NodeRegistered(v1::NodeRegistered {
            incarnation: incarnation.get(),
        }),
        EventDetail::NodeAvailability { node, from, to } => {
            Kind::NodeAvailabilityChanged(v1::NodeAvailabilityChanged {
                node: names::node(node),
                from: reachability_to_wire(*from),
                to: reachability_to_wire(Some(*to)),
            })
        }
        EventDetail::NodeScheduling { node, scheduling } => Kind::NodeSchedulingChanged(v1::NodeSchedulingChanged {
            node: names::node(node),
            scheduling: v1::NodeScheduling::from(*scheduling).into(),
        }),
        EventDetail::EventsDropped { count } => Kind::EventsDropped(v1::EventsDropped { count: *count }),
        EventDetail::ConfigRefused { records, example } => Kind::ConfigRefused(v1::ConfigRefused {
            records: *records,
            example: example.clone(),
        }),
        EventDetail::ConfigAccepted => Kind::ConfigAccepted(v1::ConfigAccepted {}),
        EventDetail::TokensRevoked { generation } => Kind::TokensRevoked(v1::TokensRevoked {
            generation: generation.get(),
        }),
        EventDetail::TokenKeyAdded { key_id, signs_from } => Kind::TokenKeyAdded(v1::TokenKeyAdded {
            key_id: key_id.clone(),
            sign_time: Some(timestamp(*signs_from)),
        }),
        EventDetail::TokenKeyRetired { key_id } => {
            Kind::TokenKeyRetired(v1::TokenKeyRetired { key_id: key_id.clone() })
        }
        EventDetail::LeaderChanged { from, to, term } => Kind::LeaderChanged(v1::LeaderChanged {
            from_member_id: from.map_or(0, MemberId::get),
            to_member_id: to.get(),
            term: *term,
        }),
        EventDetail::MemberChanged { member, from, to } => Kind::MemberChanged(v1::MemberChanged {
            member_id: member.get(),
            from: from.map_or(v1::MemberKind::Unspecified, v1::MemberKind::from).into(),
            to: v1::MemberKind::from(*to).into(),
        }),
        EventDetail::MemberRemoved { member } => Kind::MemberRemoved(v1::MemberRemoved {
            member_id: member.get(),
        }),
        EventDetail::ClusterRestored { epoch } => Kind::ClusterRestored(v1::ClusterRestored {
            cluster_epoch: epoch.get(),
        }),
        EventDetail::WebhookFailing { webhook, failure } => Kind::WebhookFailing(v1::WebhookFailing {
            webhook: names::webhook(webhook),
            failure: failure.clone(),
        }),
        EventDetail::WebhookRecovered { webhook } => Kind::WebhookRecovered(v1::WebhookRecovered {
            webhook: names::webhook(webhook),
        }),
        EventDetail::WebhookDisabled { webhook, by } => Kind::WebhookDisabled(v1::WebhookDisabled {
            webhook: names::webhook(webhook),
            by: match by {
                DisabledBy::Operator => v1::WebhookDisabledBy::Operator,
                DisabledBy::Receiver => v1::WebhookDisabledBy::Receiver,
            }
            .into(),
        }),
        EventDetail::WebhookGaveUp { webhook, first, last } => Kind::WebhookGaveUp(v1::WebhookGaveUp {
            webhook: names::webhook(webhook),
            first_sequence: first.get(),
            last_sequence: last.get(),
        }),
    }
}

impl TryFrom<v1::EventDetail> for EventDetail {
    type Error = InvalidField;

    fn try_from(detail: v1::EventDetail) -> Result<Self, InvalidField> {
        match detail.kind.ok_or_else(|| InvalidField::missing("kind"))? {
            Kind::HotspotRaised(raised) => hotspot_from_wire(raised.score, raised.terms)
                .within("hotspot_raised")
                .map(Self::Raised),
            Kind::HotspotCleared(cleared) => cleared_from_wire(Condition::Hotspot, cleared.end, || {
                hotspot_from_wire(cleared.score, cleared.terms)
            })
            .within("hotspot_cleared")
            .map(Self::Cleared),
            Kind::SpikeRaised(raised) => spike_from_wire(raised.figures).within("spike_raised").map(Self::Raised),
            Kind::SpikeCleared(cleared) => {
                cleared_from_wire(Condition::Spike, cleared.end, || spike_from_wire(cleared.figures))
                    .within("spike_cleared")
                    .map(Self::Cleared)
            }
            Kind::NodeExceededRaised(raised) => node_share_from_wire(raised.figures)
                .within("node_exceeded_raised")
                .map(Self::Raised),
            Kind::NodeExceededCleared(cleared) => cleared_from_wire(Condition::NodeExceeded, cleared.end, || {
                node_share_from_wire(cleared.figures)
            })
            .within("node_exceeded_cleared")
            .map(Self::Cleared),
            Kind::ClassChanged(changed) => Ok(Self::ClassChanged {
                from: required_tier("class_changed.from", changed.from)?,
                to: required_tier("class_changed.to", changed.to)?,
                database_bytes: changed.database_bytes,
                requests_last_day: changed.requests_last_day,
            }),
            Kind::TierChanged(changed) => Ok(Self::TierChanged {
                from: required_tier("tier_changed.from", changed.from)?,
                to: required_tier("tier_changed.to", changed.to)?,
            }),
            Kind::QuotaCrossed(crossed) => Ok(Self::QuotaCrossed {
                quota: quota_kind("quota_crossed.quota", crossed.quota)?,
                percent: crossed.percent,
                used: crossed.used,
                limit: crossed.limit,
            }),
            Kind::MoveProposed(proposed) => Ok(Self::MoveProposed {
                node: names::parse_node("move_proposed.node", &proposed.node)?,
                cause: match proposed.hot_tenant_uid.as_str() {
                    "" => MoveCause::Hot,
                    uid => MoveCause::BesideHot {
                        hot: bare_uid("move_proposed.hot_tenant_uid", uid)?,
                    },
                },
            }),
            Kind::MoveWithdrawn(withdrawn) => Ok(Self::MoveWithdrawn {
                node: names::parse_node("move_withdrawn.node", &withdrawn.node)?,
            }),
            Kind::DedicatedNodeWanted(wanted) => Ok(Self::DedicatedNodeWanted {
                node: names::parse_node("dedicated_node_wanted.node", &wanted.node)?,
                neighbours: wanted.neighbours,
            }),
            Kind::NodeRegistered(registered) => Ok(Self::NodeRegistered {
                incarnation: Incarnation(registered.incarnation),
            }),
            Kind::NodeAvailabilityChanged(changed) => availability(&changed).within("node_availability_changed"),
            Kind::NodeSchedulingChanged(changed) => Ok(Self::NodeScheduling {
                node: names::parse_node("node_scheduling_changed.node", &changed.node)?,
                scheduling: scheduling_from_wire("node_scheduling_changed.scheduling", changed.scheduling)?,
            }),
            Kind::EventsDropped(dropped) => Ok(Self::EventsDropped { count: dropped.count }),
            Kind::ConfigRefused(refused) => Ok(Self::ConfigRefused {
                records: refused.records,
                example: bounded("config_refused.example", refused.example)?,
            }),
            Kind::ConfigAccepted(v1::ConfigAccepted {}) => Ok(Self::ConfigAccepted),
            Kind::TokensRevoked(revoked) => Ok(Self::TokensRevoked {
                generation: TokenGeneration(revoked.generation),
            }),
            Kind::TokenKeyAdded(added) => Ok(Self::TokenKeyAdded {
                key_id: key_id("token_key_added.key_id", added.key_id)?,
                signs_from: required("token_key_added.sign_time", added.sign_time.as_ref())?,
            }),
            Kind::TokenKeyRetired(retired) => Ok(Self::TokenKeyRetired {
                key_id: key_id("token_key_retired.key_id", retired.key_id)?,
            }),
            Kind::LeaderChanged(changed) => Ok(Self::LeaderChanged {
                from: match changed.from_member_id {
                    0 => None,
                    id => Some(member("leader_changed.from_member_id", id)?),
                },
                to: member("leader_changed.to_member_id", changed.to_member_id)?,
                term: changed.term,
            }),
            Kind::MemberChanged(changed) => Ok(Self::MemberChanged {
                member: member("member_changed.member_id", changed.member_id)?,
                from: member_kind("member_changed.from", changed.from)?,
                to: member_kind("member_changed.to", changed.to)?
                    .ok_or_else(|| InvalidField::missing("member_changed.to"))?,
            }),
            Kind::MemberRemoved(removed) => Ok(Self::MemberRemoved {
                member: member("member_removed.member_id", removed.member_id)?,
            }),
            Kind::ClusterRestored(restored) => Ok(Self::ClusterRestored {
                epoch: ClusterEpoch(restored.cluster_epoch),
            }),
            Kind::WebhookFailing(failing) => Ok(Self::WebhookFailing {
                webhook: names::parse_webhook("webhook_failing.webhook", &failing.webhook)?,
                failure: bounded("webhook_failing.failure", failing.failure)?,
            }),
            Kind::WebhookRecovered(recovered) => Ok(Self::WebhookRecovered {
                webhook: names::parse_webhook("webhook_recovered.webhook", &recovered.webhook)?,
            }),
            Kind::WebhookDisabled(disabled) => Ok(Self::WebhookDisabled {
                webhook: names::parse_webhook("webhook_disabled.webhook", &disabled.webhook)?,
                by: match v1::WebhookDisabledBy::try_from(disabled.by) {
                    Ok(v1::WebhookDisabledBy::Operator) => DisabledBy::Operator,
                    Ok(v1::WebhookDisabledBy::Receiver) => DisabledBy::Receiver,
                    _ => return Err(InvalidField::missing("webhook_disabled.by")),
                },
            }),
            Kind::WebhookGaveUp(gave_up) => Ok(Self::WebhookGaveUp {
                webhook: names::parse_webhook("webhook_gave_up.webhook", &gave_up.webhook)?,
                first: EventSequence(gave_up.first_sequence),
                last: EventSequence(gave_up.last_sequence),
            }),
        }
    }
}

fn availability(changed: &v1::NodeAvailabilityChanged) -> Result<EventDetail, InvalidField> {
    Ok(EventDetail::NodeAvailability {
        node: names::parse_node("node", &changed.node)?,
        from: reachability_from_wire("from", changed.from)?,
        to: reachability_from_wire("to", changed.to)?.ok_or_else(|| InvalidField::missing("to"))?,
    })
}

/// The number of what is recorded of a node; unspecified for nothing.
#[must_use]
pub fn reachability_to_wire(reachability: Option<Reachability>) -> i32 {
    match reachability {
        None => v1::NodeAvailability::Unspecified,
        Some(Reachability::Up) => v1::NodeAvailability::Up,
        Some(Reachability::Suspect) => v1::NodeAvailability::Suspect,
        Some(Reachability::Down) => v1::NodeAvailability::Down,
    }
    .into()
}

/// What a number says of a node; `None` when it is unspecified.
///
/// # Errors
/// Names `field` when it is something that is not recorded.
pub fn reachability_from_wire(field: &str, number: i32) -> Result<Option<Reachability>, InvalidField> {
    match v1::NodeAvailability::try_from(number) {
        Ok(v1::NodeAvailability::Unspecified) => Ok(None),
        Ok(v1::NodeAvailability::Up) => Ok(Some(Reachability::Up)),
        Ok(v1::NodeAvailability::Suspect) => Ok(Some(Reachability::Suspect)),
        Ok(v1::NodeAvailability::Down) => Ok(Some(Reachability::Down)),
        Ok(v1::NodeAvailability::Unknown) | Err(_) => Err(InvalidField::new(field, "must be up, suspect or down")),
    }
}

impl From<MemberKind> for v1::MemberKind {
    fn from(kind: MemberKind) -> Self {
        match kind {
            MemberKind::Voter => Self::Voter,
            MemberKind::Learner => Self::Learner,
        }
    }
}

/// A member's part; `None` when it is unspecified.
///
/// # Errors
/// Names `field` when there is no such part.
pub fn member_kind(field: &str, number: i32) -> Result<Option<MemberKind>, InvalidField> {
    match v1::MemberKind::try_from(number) {
        Ok(v1::MemberKind::Unspecified) => Ok(None),
        Ok(v1::MemberKind::Voter) => Ok(Some(MemberKind::Voter)),
        Ok(v1::MemberKind::Learner) => Ok(Some(MemberKind::Learner)),
        Err(_) => Err(InvalidField::new(field, format!("there is no kind of member {number}"))),
    }
}

fn member(field: &str, id: u64) -> Result<MemberId, InvalidField> {
    read(field, MemberId::new(id))
}

fn bounded(field: &str, text: String) -> Result<String, InvalidField> {
    if text.len() > LONGEST_TEXT {
        return Err(InvalidField::new(
            field,
            format!("may have at most {LONGEST_TEXT} bytes"),
        ));
    }
    Ok(text)
}

fn quota_kind(field: &str, number: i32) -> Result<QuotaKind, InvalidField> {
    match v1::QuotaKind::try_from(number) {
        Ok(v1::QuotaKind::RequestsPerDay) => Ok(QuotaKind::RequestsPerDay),
        Ok(v1::QuotaKind::Database) => Ok(QuotaKind::Database),
        Ok(v1::QuotaKind::Unspecified) => Err(InvalidField::missing(field)),
        Err(_) => Err(InvalidField::new(field, format!("there is no quota {number}"))),
    }
}
