//! `event.proto`: events and who says so. What happened is in `event_detail.rs`.

use tenantry_types::{Event, EventOrigin, EventSequence, Incarnation, MemberId, ReportSequence, Severity};

use super::field::{InvalidField, Within, read};
use super::names::{self, bare_uid};
use super::time::{required, timestamp};
use crate::v1;
use crate::v1::event_origin::Origin;

impl From<Severity> for v1::EventSeverity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
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
        Ok(v1::EventSeverity::Critical) => Ok(Some(Severity::Critical)),
        Err(_) => Err(InvalidField::new(field, format!("there is no severity {number}"))),
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
