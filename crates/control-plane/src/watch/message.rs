//! Messages of the routing watch as the bytes that go over the wire.

use bytes::Bytes;
use prost::Message as _;
use tenantry_proto::v1::PlacementServiceWatchResponse;
use tenantry_proto::v1::placement_service_watch_response::Part;

/// The message that consists of `part`.
pub(crate) fn encoded(part: Part) -> Bytes {
    PlacementServiceWatchResponse { part: Some(part) }
        .encode_to_vec()
        .into()
}
