//! `event.proto`.

use tenantry_types::{
    Event, EventDetail, EventOrigin, EventSequence, HotspotScore, Incarnation, MemberId, QuotaKind, ReportSequence,
    ScoreTerms, Severity, TokenGeneration,
};

use super::field::{InvalidField, Within, read};
use super::names::{self, bare_uid};
use super::placement_service::key_id;
use super::tier::{required_tier, to_wire};
use super::time::{required, timestamp};
use super::usage::share;
use crate::v1;
use crate::v1::event_detail::Kind;
use crate::v1::event_origin::Origin;

impl From<Severity> for v1::EventSeverity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
        }
    }
}

/// The severity of a number; `None` when it is unspecified.
///
/// # Errors
/// Names `field` when there is no such severity.
pub fn severity_from_wire(field: &str, number: i32) -> Result<Option<Severity>, InvalidField> {
    match v1::EventSeverity::try_from(number) {
        Ok(v1::EventSeverity::Unspecified) => Ok(None),
        Ok(v1::EventSeverity::Info) => Ok(Some(Severity::Info)),
        Ok(v1::EventSeverity::Warning) => Ok(Some(Severity::Warning)),
        Err(_) => Err(InvalidField::new(field, format!("there is no severity {number}"))),
    }
}

impl From<&ScoreTerms> for v1::ScoreTerms {
    fn from(terms: &ScoreTerms) -> Self {
        let ScoreTerms {
            database,
            requests,
            cpu,
            memory,
        } = *terms;
        Self {
            database,
            requests,
            cpu,
            memory,
        }
    }
}

impl TryFrom<v1::ScoreTerms> for ScoreTerms {
    type Error = InvalidField;

    fn try_from(terms: v1::ScoreTerms) -> Result<Self, InvalidField> {
        Ok(Self {
            database: share("database", terms.database)?,
            requests: share("requests", terms.requests)?,
            cpu: share("cpu", terms.cpu)?,
            memory: share("memory", terms.memory)?,
        })
    }
}

impl From<&EventDetail> for v1::EventDetail {
    fn from(detail: &EventDetail) -> Self {
        let kind = match detail {
            EventDetail::HotspotRaised { score, terms } => Kind::HotspotRaised(v1::HotspotRaised {
                score: score.get(),
                terms: Some(terms.into()),
            }),
            EventDetail::HotspotCleared { score, terms } => Kind::HotspotCleared(v1::HotspotCleared {
                score: score.get(),
                terms: Some(terms.into()),
            }),
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
            EventDetail::NodeRegistered { incarnation } => Kind::NodeRegistered(v1::NodeRegistered {
                incarnation: incarnation.get(),
            }),
            EventDetail::EventsDropped { count } => Kind::EventsDropped(v1::EventsDropped { count: *count }),
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
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::EventDetail> for EventDetail {
    type Error = InvalidField;

    fn try_from(detail: v1::EventDetail) -> Result<Self, InvalidField> {
        match detail.kind.ok_or_else(|| InvalidField::missing("kind"))? {
            Kind::HotspotRaised(raised) => {
                let (score, terms) = score(raised.score, raised.terms).within("hotspot_raised")?;
                Ok(Self::HotspotRaised { score, terms })
            }
            Kind::HotspotCleared(cleared) => {
                let (score, terms) = score(cleared.score, cleared.terms).within("hotspot_cleared")?;
                Ok(Self::HotspotCleared { score, terms })
            }
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
            Kind::NodeRegistered(registered) => Ok(Self::NodeRegistered {
                incarnation: Incarnation(registered.incarnation),
            }),
            Kind::EventsDropped(dropped) => Ok(Self::EventsDropped { count: dropped.count }),
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
        }
    }
}

fn score(score: f64, terms: Option<v1::ScoreTerms>) -> Result<(HotspotScore, ScoreTerms), InvalidField> {
    let terms = terms.ok_or_else(|| InvalidField::missing("terms"))?;
    let score = HotspotScore::clamped(share("score", score)?);
    Ok((score, terms.try_into().within("terms")?))
}

fn quota_kind(field: &str, number: i32) -> Result<QuotaKind, InvalidField> {
    match v1::QuotaKind::try_from(number) {
        Ok(v1::QuotaKind::RequestsPerDay) => Ok(QuotaKind::RequestsPerDay),
        Ok(v1::QuotaKind::Database) => Ok(QuotaKind::Database),
        Ok(v1::QuotaKind::Unspecified) => Err(InvalidField::missing(field)),
        Err(_) => Err(InvalidField::new(field, format!("there is no quota {number}"))),
    }
}

impl From<&EventOrigin> for v1::EventOrigin {
    fn from(origin: &EventOrigin) -> Self {
        let origin = match origin {
            EventOrigin::Node {
                node,
                incarnation,
                sequence,
            } => Origin::Node(v1::NodeOrigin {
                node: names::node(node),
                incarnation: incarnation.get(),
                sequence: sequence.get(),
            }),
            EventOrigin::ControlPlane { member } => Origin::ControlPlane(v1::ControlPlaneOrigin {
                member_id: member.get(),
            }),
        };
        Self { origin: Some(origin) }
    }
}

impl TryFrom<v1::EventOrigin> for EventOrigin {
    type Error = InvalidField;

    fn try_from(origin: v1::EventOrigin) -> Result<Self, InvalidField> {
        match origin.origin.ok_or_else(|| InvalidField::missing("origin"))? {
            Origin::Node(origin) => Ok(Self::Node {
                node: names::parse_node("node.node", &origin.node)?,
                incarnation: Incarnation(origin.incarnation),
                sequence: ReportSequence(origin.sequence),
            }),
            Origin::ControlPlane(origin) => Ok(Self::ControlPlane {
                member: read("control_plane.member_id", MemberId::new(origin.member_id))?,
            }),
        }
    }
}

impl From<&Event> for v1::Event {
    fn from(event: &Event) -> Self {
        let (tenant, tenant_uid) = match &event.tenant {
            None => (String::new(), String::new()),
            Some((uid, name)) => (names::tenant(name), uid.to_string()),
        };
        Self {
            sequence: event.sequence.get(),
            occur_time: Some(timestamp(event.occurred_at)),
            severity: v1::EventSeverity::from(event.detail.severity()).into(),
            origin: Some((&event.origin).into()),
            tenant,
            tenant_uid,
            kind: event.detail.kind().to_owned(),
            detail: Some((&event.detail).into()),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = InvalidField;

    /// Severity and kind follow from the detail and are not read.
    fn try_from(event: v1::Event) -> Result<Self, InvalidField> {
        let origin = event.origin.ok_or_else(|| InvalidField::missing("origin"))?;
        let detail = event.detail.ok_or_else(|| InvalidField::missing("detail"))?;
        let tenant = if event.tenant.is_empty() && event.tenant_uid.is_empty() {
            None
        } else {
            let uid = bare_uid("tenant_uid", &event.tenant_uid)?;
            Some((uid, names::parse_tenant("tenant", &event.tenant)?))
        };
        Ok(Self {
            sequence: EventSequence(event.sequence),
            occurred_at: required("occur_time", event.occur_time.as_ref())?,
            origin: origin.try_into().within("origin")?,
            tenant,
            detail: detail.try_into().within("detail")?,
        })
    }
}
