//! What is sent: the event as JSON in the frame that Standard Webhooks recommends.

use bytes::Bytes;
use serde_json::{Value, json};
use tenantry_proto::{event_json, v1};
use tenantry_types::{ClusterUid, Event, EventSequence};

/// The id of the message about an event: the same at every attempt and from every leader, and no other event's, in this
/// cluster or another.
#[must_use]
pub(super) fn message_id(cluster: ClusterUid, sequence: EventSequence) -> String {
    format!("evt_{cluster}_{sequence}")
}

/// The body of the message about an event.
#[must_use]
pub(super) fn event_body(event: &Event) -> Bytes {
    let message = v1::Event::from(event);
    let time = message.occur_time.as_ref().map(ToString::to_string);
    body(event.detail.kind(), time.as_deref(), &event_json::event(&message))
}

/// The body of the message that only tests whether messages arrive.
#[must_use]
pub(super) fn test_body(webhook: &str, time: &str) -> Bytes {
    body("webhook-test", Some(time), &json!({ "webhook": webhook }))
}

fn body(kind: &str, time: Option<&str>, data: &Value) -> Bytes {
    Bytes::from(json!({ "type": kind, "timestamp": time, "data": data }).to_string())
}
