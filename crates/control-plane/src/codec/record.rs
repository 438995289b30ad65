//! Rows of the state.

use std::sync::Arc;

use tenantry_proto::convert::{Within, node_to_proto, stored_to_proto};
use tenantry_proto::internal::v1 as wire;
use tenantry_proto::internal::v1::snapshot_record::Record as Wire;
use tenantry_state::{Record, ReportCursor};
use tenantry_types::{EventSequence, Incarnation, NodeId, ReportSequence, Revision, UnixMillis};

use super::DecodeError;
use super::command::{key_from_wire, key_to_wire, read, tiers_from_wire, tiers_to_wire};
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
        } => Wire::Head(wire::SnapshotHead {
            version: SNAPSHOT_VERSION,
            revision: revision.get(),
            clock_ms: clock.0,
            last_event_sequence: last_event.get(),
            cluster: cluster.as_ref().map(cluster_to_wire),
            tiers: tiers_to_wire(tiers),
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
    };
    Ok(Part::Record(record))
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
    })
}
