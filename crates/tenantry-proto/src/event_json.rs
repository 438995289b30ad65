//! Events as JSON, in one form for webhooks, `tenantctl` and everybody else. docs/events.md describes it; a test holds the
//! two together.
//!
//! Names are short (`acme`, not `tenants/acme`), times are RFC 3339, enums are words in kebab case. A value that there is none
//! of is null, never left out; a number of an enum that this binary does not know is `unrecognized`.

use serde_json::{Value, json};

use crate::v1;
use crate::v1::event_detail::Kind;
use crate::v1::event_origin::Origin;

/// What a number of an enum is called that this binary does not know.
const UNRECOGNIZED: Option<&str> = Some("unrecognized");

/// The event. A kind that this binary does not know has an empty `detail`.
#[must_use]
pub fn event(event: &v1::Event) -> Value {
    let detail = event.detail.as_ref().and_then(|detail| detail.kind.as_ref());
    json!({
        "sequence": event.sequence,
        "occur_time": time(event.occur_time.as_ref()),
        "severity": severity(event.severity),
        "kind": event.kind,
        "tenant": given(&event.tenant),
        "tenant_uid": given(&event.tenant_uid),
        "origin": event.origin.as_ref().and_then(|origin| origin.origin.as_ref()).map(origin),
        "detail": detail.map_or_else(|| json!({}), detail_of),
    })
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::Node(node) => json!({
            "type": "node",
            "node": short(&node.node),
            "incarnation": node.incarnation,
            "sequence": node.sequence,
        }),
        Origin::ControlPlane(member) => json!({ "type": "control_plane", "member_id": member.member_id }),
    }
}

fn detail_of(kind: &Kind) -> Value {
    match kind {
        Kind::HotspotRaised(raised) => json!({ "score": raised.score, "terms": terms(raised.terms.as_ref()) }),
        Kind::HotspotCleared(cleared) => {
            let end = end(cleared.end);
            let score = end.is_none().then_some(cleared.score);
            json!({ "score": score, "terms": terms(cleared.terms.as_ref()), "end": end })
        }
        Kind::SpikeRaised(raised) => {
            let figures = raised.figures.unwrap_or_default();
            json!({
                "requests_per_minute": figures.requests_per_minute,
                "norm_per_minute": figures.norm_per_minute,
            })
        }
        Kind::SpikeCleared(cleared) => json!({
            "requests_per_minute": cleared.figures.map(|figures| figures.requests_per_minute),
            "norm_per_minute": cleared.figures.map(|figures| figures.norm_per_minute),
            "end": end(cleared.end),
        }),
        Kind::NodeExceededRaised(raised) => {
            let figures = raised.figures.unwrap_or_default();
            json!({ "cpu_millicores": figures.cpu_millicores, "node_millicores": figures.node_millicores })
        }
        Kind::NodeExceededCleared(cleared) => json!({
            "cpu_millicores": cleared.figures.map(|figures| figures.cpu_millicores),
            "node_millicores": cleared.figures.map(|figures| figures.node_millicores),
            "end": end(cleared.end),
        }),
        Kind::ClassChanged(change) => json!({
            "from": tier(change.from),
            "to": tier(change.to),
            "database_bytes": change.database_bytes,
            "requests_last_day": change.requests_last_day,
        }),
        Kind::TierChanged(change) => json!({ "from": tier(change.from), "to": tier(change.to) }),
        Kind::QuotaCrossed(crossing) => json!({
            "quota": quota_kind(crossing.quota),
            "percent": crossing.percent,
            "used": crossing.used,
            "limit": crossing.limit,
        }),
        Kind::MoveProposed(proposed) => {
            let hot = given(&proposed.hot_tenant_uid);
            let cause = if hot.is_some() { "beside-hot" } else { "hot" };
            json!({ "node": short(&proposed.node), "cause": cause, "hot_tenant_uid": hot })
        }
        Kind::MoveWithdrawn(withdrawn) => json!({ "node": short(&withdrawn.node) }),
        Kind::DedicatedNodeWanted(wanted) => json!({ "node": short(&wanted.node), "neighbours": wanted.neighbours }),
        Kind::NodeRegistered(node) => json!({ "incarnation": node.incarnation }),
        Kind::NodeAvailabilityChanged(change) => json!({
            "node": short(&change.node),
            "from": availability(change.from),
            "to": availability(change.to),
        }),
        Kind::NodeSchedulingChanged(change) => json!({ "node": short(&change.node) }),
        Kind::EventsDropped(dropped) => json!({ "count": dropped.count }),
        Kind::ConfigRefused(refused) => json!({ "records": refused.records, "example": refused.example }),
        Kind::ConfigAccepted(v1::ConfigAccepted {}) => json!({}),
        Kind::TokensRevoked(revoked) => json!({ "generation": revoked.generation }),
        Kind::TokenKeyAdded(added) => json!({ "key_id": added.key_id, "sign_time": time(added.sign_time.as_ref()) }),
        Kind::TokenKeyRetired(retired) => json!({ "key_id": retired.key_id }),
        Kind::LeaderChanged(change) => json!({
            "from_member_id": (change.from_member_id > 0).then_some(change.from_member_id),
            "to_member_id": change.to_member_id,
            "term": change.term,
        }),
        Kind::MemberChanged(change) => json!({
            "member_id": change.member_id,
            "from": member_kind(change.from),
            "to": member_kind(change.to),
        }),
        Kind::MemberRemoved(removed) => json!({ "member_id": removed.member_id }),
        Kind::ClusterRestored(restored) => json!({ "cluster_epoch": restored.cluster_epoch }),
        Kind::WebhookFailing(failing) => json!({ "webhook": short(&failing.webhook), "failure": failing.failure }),
        Kind::WebhookRecovered(recovered) => json!({ "webhook": short(&recovered.webhook) }),
        Kind::WebhookDisabled(disabled) => {
            json!({ "webhook": short(&disabled.webhook), "by": disabled_by(disabled.by) })
        }
        Kind::WebhookGaveUp(gave_up) => json!({
            "webhook": short(&gave_up.webhook),
            "first_sequence": gave_up.first_sequence,
            "last_sequence": gave_up.last_sequence,
        }),
    }
}

fn terms(terms: Option<&v1::ScoreTerms>) -> Option<Value> {
    terms.map(|terms| {
        json!({
            "database": terms.database,
            "requests": terms.requests,
            "cpu": terms.cpu,
            "memory": terms.memory,
        })
    })
}

/// Why the control plane ended a condition; `None` where the node measured that it is over.
fn end(end: i32) -> Option<&'static str> {
    match v1::ConditionEnd::try_from(end) {
        Ok(v1::ConditionEnd::TenantDeleted) => Some("tenant-deleted"),
        Ok(v1::ConditionEnd::TenantMoved) => Some("tenant-moved"),
        Ok(v1::ConditionEnd::RecordLost) => Some("record-lost"),
        Ok(v1::ConditionEnd::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| short(text).to_owned())
}

/// The last part of a resource name.
fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.map(ToString::to_string)
}

fn severity(number: i32) -> Option<&'static str> {
    match v1::EventSeverity::try_from(number) {
        Ok(v1::EventSeverity::Info) => Some("info"),
        Ok(v1::EventSeverity::Warning) => Some("warning"),
        Ok(v1::EventSeverity::Critical) => Some("critical"),
        Ok(v1::EventSeverity::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}

fn tier(number: i32) -> Option<&'static str> {
    match v1::Tier::try_from(number) {
        Ok(v1::Tier::Micro) => Some("micro"),
        Ok(v1::Tier::Small) => Some("small"),
        Ok(v1::Tier::Medium) => Some("medium"),
        Ok(v1::Tier::Large) => Some("large"),
        Ok(v1::Tier::Enterprise) => Some("enterprise"),
        Ok(v1::Tier::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}

fn quota_kind(number: i32) -> Option<&'static str> {
    match v1::QuotaKind::try_from(number) {
        Ok(v1::QuotaKind::RequestsPerDay) => Some("requests-per-day"),
        Ok(v1::QuotaKind::Database) => Some("database"),
        Ok(v1::QuotaKind::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}

fn availability(number: i32) -> Option<&'static str> {
    match v1::NodeAvailability::try_from(number) {
        Ok(v1::NodeAvailability::Up) => Some("up"),
        Ok(v1::NodeAvailability::Suspect) => Some("suspect"),
        Ok(v1::NodeAvailability::Down) => Some("down"),
        Ok(v1::NodeAvailability::Unknown) => Some("unknown"),
        Ok(v1::NodeAvailability::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}

fn member_kind(number: i32) -> Option<&'static str> {
    match v1::MemberKind::try_from(number) {
        Ok(v1::MemberKind::Voter) => Some("voter"),
        Ok(v1::MemberKind::Learner) => Some("learner"),
        Ok(v1::MemberKind::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}

fn disabled_by(number: i32) -> Option<&'static str> {
    match v1::WebhookDisabledBy::try_from(number) {
        Ok(v1::WebhookDisabledBy::Operator) => Some("operator"),
        Ok(v1::WebhookDisabledBy::Receiver) => Some("receiver"),
        Ok(v1::WebhookDisabledBy::Unspecified) => None,
        Err(_) => UNRECOGNIZED,
    }
}
