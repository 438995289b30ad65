//! What every answer says of the tenant's limits.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use tenantry_types::UnixMillis;

use crate::quota::{
    RATE_LIMIT, RATE_LIMIT_POLICY, RequestLimits, Standing, passing_number, policy_field, rate_limit_field, seconds_up,
};

const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// Unix time in seconds, as most of those who send it do.
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which fields there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `RateLimit-Policy` and `RateLimit`.
    Draft,
    /// Those, and the three that came before them.
    DraftAndLegacy,
}

/// The fields of one answer.
#[derive(Debug)]
pub(super) struct Fields {
    policy: HeaderValue,
    standing: Option<Standing>,
    /// The wall clock, where the old fields are wanted: they name a moment by it.
    legacy_at: Option<UnixMillis>,
}

impl Fields {
    /// Without what is left, as long as that is not known.
    pub(super) fn new(limits: &RequestLimits, policy: Option<HeaderValue>, legacy_at: Option<UnixMillis>) -> Self {
        Self {
            policy: policy.unwrap_or_else(|| policy_field(limits)),
            standing: None,
            legacy_at,
        }
    }

    pub(super) const fn with(mut self, standing: Standing) -> Self {
        self.standing = Some(standing);
        self
    }

    pub(super) fn put_into<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        headers.insert(RATE_LIMIT_POLICY, self.policy);
        let Some(standing) = self.standing else { return };
        headers.insert(RATE_LIMIT, rate_limit_field(&standing));
        if let Some(wall) = self.legacy_at {
            put_legacy(headers, &standing, wall);
        }
    }
}

/// Of the daily limit alone: the old fields have no name for a second one.
fn put_legacy(headers: &mut HeaderMap, standing: &Standing, wall: UnixMillis) {
    headers.insert(LEGACY_LIMIT, passing_number(standing.daily_limit));
    headers.insert(LEGACY_REMAINING, passing_number(standing.daily_remaining()));
    if let Some(wait) = standing.daily_wait {
        let reset = (wall.0 / 1_000).saturating_add(seconds_up(wait));
        headers.insert(LEGACY_RESET, passing_number(reset));
    }
}
