//! Compression of answers, for clients that ask for it.
//!
//! Streams are compressed piece by piece. Must not touch small answers, for which it costs more than it saves, nor those that
//! another node has compressed already.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::when_asked::WhenAsked;

/// Smaller answers go as they are, in bytes.
const SMALL: u64 = 2_048;

/// Compresses with gzip, which every client knows, at the level that costs least: the node's processors are for SQL.
pub(super) fn compression() -> WhenAsked<CompressionLayer<SizeAbove>> {
    let layer = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(SMALL));
    WhenAsked::new(layer, |request| asks_for_gzip(request.headers()))
}

/// Whether gzip is named at all; the layer weighs what is said of it.
fn asks_for_gzip(headers: &HeaderMap) -> bool {
    let names_it = |value: &http::HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|item| {
            item.trim_ascii()
                .get(..4)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"))
        })
    };
    headers.get_all(ACCEPT_ENCODING).iter().any(names_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_asked_for_by_name() {
        let asks = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            asks_for_gzip(&headers)
        };
        assert!(asks("gzip") && asks("br, GZIP;q=0.5") && asks("deflate,gzip"));
        assert!(!asks("") && !asks("identity") && !asks("br") && !asks("*") && !asks("gz"));
        assert!(!asks_for_gzip(&HeaderMap::new()));
    }
}
