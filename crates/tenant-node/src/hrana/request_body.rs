//! Reads a request's body whole, within the tenant's limit.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::problems;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// Reads to the end, at most `limit` bytes.
///
/// # Errors
/// When the body is larger, or breaks off.
pub(super) async fn read(mut body: Body, limit: u64) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit {
        return Err(problems::large_body(limit));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| problems::unread_body(&error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if u64::try_from(read.len() + data.len()).unwrap_or(u64::MAX) > limit {
            return Err(problems::large_body(limit));
        }
        if read.is_empty() && body.is_end_stream() {
            // All in one piece, as most are.
            return Ok(data);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}
