//! Rows of the state.

use std::sync::Arc;

use tenantry_proto::convert::webhook::{
    dead_letter_from_wire, dead_letter_to_wire, stored_webhook, webhook_from_stored,
};
use tenantry_proto::convert::{
    InvalidField, Within, condition_from_wire, node_to_proto, reachability_from_wire, reachability_to_wire,
    stored_to_proto,
};
use tenantry_proto::internal::v1 as wire;
use tenantry_proto::internal::v1::snapshot_record::Record as Wire;
use tenantry_proto::v1;
use tenantry_state::{MoveDecision, Record, ReportCursor};
use tenantry_types::{
    ActiveCondition, EventSequence, Incarnation, MoveCause, MoveProposal, NodeId, ReportSequence, Revision, UnixMillis,
    WebhookName,
};

use super::DecodeError;
use super::command::{key_from_wire, key_to_wire, read, tiers_from_wire, tiers_to_wire};
use super::event_commands::{members_from_wire, members_to_wire, move_from_wire, move_to_wire};
use super::outcome::{cluster_from_wire, cluster_to_wire, stored_request_from_wire, stored_request_to_wire};
use super::snapshot::SNAPSHOT_VERSION;

pub(super) fn to_wire(record: &Record) -> Wire {
    match record {
        Record::Head {
            revision,
            clock,
            last_event,
            cluster,
            tiers,
            reactions,
        } => Wire::Head(wire::SnapshotHead {
            version: SNAPSHOT_VERSION,
            revision: revision.get(),
            clock_ms: clock.0,
            last_event_sequence: last_event.get(),
            cluster: cluster.as_ref().map(cluster_to_wire),
            tiers: tiers_to_wire(tiers),
            reactions: Some(reactions.into()),
        }),
        Record::Tenant(tenant) => Wire::Tenant(stored_to_proto(tenant)),
        Record::Node(node) => Wire::Node(node_to_proto(node)),
        Record::Event(event) => Wire::Event((&**event).into()),
        Record::Cursor(node, cursor) => Wire::Cursor(wire::ReportCursor {
            node_id: node.to_string(),
            incarnation: cursor.incarnation.get(),
            sequence: cursor.sequence.get(),
        }),
        Record::Request(stored) => Wire::Request(stored_request_to_wire(stored)),
        Record::Key(key) => Wire::SigningKey(key_to_wire(key)),
        Record::Condition(tenant, condition, active) => Wire::Condition(wire::RaisedCondition {
            tenant_uid: tenant.to_string(),
            kind: v1::ConditionKind::from(*condition).into(),
            node_id: active.node.to_string(),
            incarnation: active.incarnation.get(),
            since_ms: active.since.0,
            event_sequence: active.event.get(),
        }),
        Record::Move(tenant, proposal) => Wire::Move(wire::ProposedMove {
            decision: Some(move_to_wire(&MoveDecision {
                tenant: *tenant,
                hot: proposal.cause.hot_tenant(*tenant),
                node: proposal.node.clone(),
            })),
            since_ms: proposal.since.0,
        }),
        Record::Availability(node, now) => Wire::Availability(wire::RecordedAvailability {
            node_id: node.to_string(),
            availability: reachability_to_wire(Some(*now)),
        }),
        Record::Members(members) => Wire::Members(members_to_wire(members)),
        Record::Webhook(webhook) => Wire::Webhook(stored_webhook(webhook)),
        Record::DeadLetter(name, letter) => Wire::DeadLetter(wire::StoredDeadLetter {
            webhook_id: name.to_string(),
            letter: Some(dead_letter_to_wire(letter)),
        }),
    }
}

/// A part of the stream.
pub(super) enum Part {
    /// The head, or a row of a table.
    Record(Record),
    /// The end.
    End(wire::SnapshotEnd),
}

pub(super) fn from_wire(record: Wire) -> Result<Part, DecodeError> {
    let record = match record {
        Wire::End(end) => return Ok(Part::End(end)),
        Wire::Head(head) => head_from_wire(head)?,
        Wire::Tenant(tenant) => Record::Tenant(Arc::new(tenant.try_into().within("tenant")?)),
        Wire::Node(node) => Record::Node(Arc::new(node.try_into().within("node")?)),
        Wire::Event(event) => Record::Event(Arc::new(event.try_into().within("event")?)),
        Wire::Cursor(cursor) => Record::Cursor(
            read("cursor.node_id", NodeId::new(&cursor.node_id))?,
            ReportCursor {
                incarnation: Incarnation(cursor.incarnation),
                sequence: ReportSequence(cursor.sequence),
            },
        ),
        Wire::Request(stored) => Record::Request(Arc::new(stored_request_from_wire(stored).within("request")?)),
        Wire::SigningKey(key) => Record::Key(Arc::new(key_from_wire(key).within("signing_key")?)),
        Wire::Condition(raised) => condition_from_record(&raised).within("condition")?,
        Wire::Move(proposed) => move_from_record(&proposed).within("move")?,
        Wire::Availability(recorded) => Record::Availability(
            read("availability.node_id", NodeId::new(&recorded.node_id))?,
            reachability_from_wire("availability.availability", recorded.availability)?
                .ok_or_else(|| InvalidField::missing("availability.availability"))?,
        ),
        Wire::Members(members) => Record::Members(Arc::new(members_from_wire(&members).within("members")?)),
        Wire::Webhook(stored) => Record::Webhook(Arc::new(webhook_from_stored(stored).within("webhook")?)),
        Wire::DeadLetter(stored) => {
            let letter = stored
                .letter
                .ok_or_else(|| InvalidField::missing("dead_letter.letter"))?;
            let name = read("dead_letter.webhook_id", WebhookName::new(&stored.webhook_id))?;
            Record::DeadLetter(name, Arc::new(dead_letter_from_wire(letter)))
        }
    };
    Ok(Part::Record(record))
}

fn condition_from_record(raised: &wire::RaisedCondition) -> Result<Record, InvalidField> {
    let active = ActiveCondition {
        node: read("node_id", NodeId::new(&raised.node_id))?,
        incarnation: Incarnation(raised.incarnation),
        since: UnixMillis(raised.since_ms),
        event: EventSequence(raised.event_sequence),
    };
    let tenant = read("tenant_uid", raised.tenant_uid.parse())?;
    let condition = condition_from_wire("kind", raised.kind)?;
    Ok(Record::Condition(tenant, condition, Arc::new(active)))
}

fn move_from_record(proposed: &wire::ProposedMove) -> Result<Record, InvalidField> {
    let decision = proposed
        .decision
        .as_ref()
        .ok_or_else(|| InvalidField::missing("decision"))?;
    let MoveDecision { tenant, hot, node } = move_from_wire(decision).within("decision")?;
    let cause = if tenant == hot {
        MoveCause::Hot
    } else {
        MoveCause::BesideHot { hot }
    };
    let since = UnixMillis(proposed.since_ms);
    Ok(Record::Move(tenant, Arc::new(MoveProposal { node, cause, since })))
}

fn head_from_wire(head: wire::SnapshotHead) -> Result<Record, DecodeError> {
    if head.version != SNAPSHOT_VERSION {
        return Err(DecodeError::UnknownVersion {
            found: head.version,
            known: SNAPSHOT_VERSION,
        });
    }
    let cluster = head.cluster.as_ref().map(cluster_from_wire).transpose();
    Ok(Record::Head {
        revision: Revision(head.revision),
        clock: UnixMillis(head.clock_ms),
        last_event: EventSequence(head.last_event_sequence),
        cluster: cluster.within("head.cluster")?,
        tiers: Box::new(tiers_from_wire("head.tiers", head.tiers)?),
        // Absent in what was written before there were switches: all on.
        reactions: head.reactions.map(Into::into).unwrap_or_default(),
    })
}
