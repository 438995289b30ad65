//! The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10, structured fields of RFC 9651).
//!
//! `r` is what is left, `t` the whole seconds until more is left, rounded up, and absent where that is not known.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::header_text::{lasting_value, passing_value};
use super::limits::RequestLimits;
use super::standing::{Policy, Standing};

/// Says which limits there are.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Says what is left of them.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// The largest integer of a structured field.
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// The value of `RateLimit-Policy`. Worth keeping: it changes with the limits alone.
#[must_use]
pub fn policy_field(limits: &RequestLimits) -> HeaderValue {
    lasting_value(|text| {
        let daily = limits.requests_per_day.min(MAX_INTEGER);
        text.member(Policy::Daily.as_str())
            .parameter("q", daily)
            .parameter("w", DAY_SECONDS);
        if let Some(burst) = limits.burst {
            let window = burst.size.div_ceil(burst.requests_per_second.max(1)).max(1);
            text.member(Policy::Burst.as_str())
                .parameter("q", burst.size.into())
                .parameter("w", window.into());
        }
        text.member(Policy::Concurrent.as_str())
            .parameter("q", limits.concurrent_requests.into())
            .string_parameter("qu", "concurrent-requests");
    })
}

/// The value of `RateLimit`.
#[must_use]
pub fn rate_limit_field(standing: &Standing) -> HeaderValue {
    passing_value(|text| {
        let daily = standing.daily_remaining().min(MAX_INTEGER);
        text.member(Policy::Daily.as_str()).parameter("r", daily);
        if let Some(wait) = standing.daily_wait {
            text.parameter("t", seconds_up(wait));
        }
        if let Some(burst) = standing.burst {
            text.member(Policy::Burst.as_str())
                .parameter("r", burst.remaining.into())
                .parameter("t", seconds_up(burst.wait));
        }
        text.member(Policy::Concurrent.as_str())
            .parameter("r", standing.concurrent_remaining().into());
    })
}

/// Whole seconds that are not shorter than `wait`.
pub(crate) fn seconds_up(wait: Duration) -> u64 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    seconds.min(MAX_INTEGER)
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Burst, TierDefinition};

    use super::super::standing::BurstStanding;
    use super::*;

    #[test]
    fn the_fields_read_as_in_the_draft() {
        let mut limits = RequestLimits::from(&TierDefinition::defaults()[0].quota);
        assert_eq!(
            policy_field(&limits),
            r#""daily";q=1000;w=86400, "concurrent";q=5;qu="concurrent-requests""#
        );
        let burst = Burst {
            requests_per_second: 20,
            size: 50,
        };
        limits.burst = Some(burst);
        assert_eq!(
            policy_field(&limits),
            r#""daily";q=1000;w=86400, "burst";q=50;w=3, "concurrent";q=5;qu="concurrent-requests""#
        );
        let mut standing = Standing {
            daily_limit: 1000,
            daily_used: 10,
            daily_wait: Some(Duration::from_millis(1500)),
            burst: Some(BurstStanding {
                limit: burst,
                remaining: 0,
                wait: Duration::from_millis(50),
            }),
            concurrent_limit: 5,
            concurrent: 1,
        };
        assert_eq!(
            rate_limit_field(&standing),
            r#""daily";r=990;t=2, "burst";r=0;t=1, "concurrent";r=4"#
        );
        standing.daily_used = 0;
        standing.daily_wait = None;
        standing.burst = None;
        standing.daily_limit = u64::MAX;
        assert_eq!(
            rate_limit_field(&standing),
            r#""daily";r=999999999999999, "concurrent";r=4"#
        );
    }
}
