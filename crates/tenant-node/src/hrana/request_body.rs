//! Reads a request's body whole, within the tenant's limit.
//!
//! A compressed body is refused, not decoded: it could grow a thousandfold, and no SDK sends one.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Request};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::problems;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// Reads to the end, at most `limit` bytes.
///
/// # Errors
/// When the body is encoded or larger, or breaks off.
pub(super) async fn read(request: Request<Body>, limit: u64) -> Result<Bytes, Problem> {
    if let Some(encoding) = encoding(request.headers()) {
        return Err(problems::encoded_body(encoding));
    }
    let mut body = request.into_body();
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

/// The encoding of a body that is not sent as it is.
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_ENCODING)?;
    let name = value.to_str().unwrap_or("?").trim();
    (!name.is_empty() && !name.eq_ignore_ascii_case("identity")).then_some(name)
}
