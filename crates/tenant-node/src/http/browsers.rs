//! What browsers need in order to call a tenant's database from a page of another origin.
//!
//! Any page may call: a tenant is proved by its token, which no browser adds by itself. Must not stand below anything that
//! wants a token, since browsers ask without one whether they may send it.

use std::time::Duration;

use http::header::{HeaderName, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::body::Body;
use super::when_asked::WhenAsked;
use crate::layers::Ingress;

/// How long a browser may remember that it may call.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers preflights, and lets pages read answers and refusals.
pub(super) fn cross_origin() -> WhenAsked<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        // SDKs add headers of their own, so whatever is asked for is allowed.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            RETRY_AFTER,
            WWW_AUTHENTICATE,
        ])
        .max_age(REMEMBERED);
    WhenAsked::new(layer, is_from_page)
}

/// What another node forwards, that node answers to the page.
fn is_from_page(request: &Request<Body>) -> bool {
    request.headers().contains_key(ORIGIN) && request.extensions().get() != Some(&Ingress::Peer)
}
