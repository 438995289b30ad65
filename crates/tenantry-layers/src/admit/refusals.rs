//! The answers that this layer gives by itself.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::fields::Fields;
use crate::problem::Problem;
use crate::quota::{Policy, QuotaError, Refusal, seconds_up};

/// A limit of the tenant's is reached.
pub(super) fn quota_exceeded(fields: Fields, refusal: &Refusal, retry_after: u64) -> Response<Full<Bytes>> {
    let violated: Vec<Policy> = refusal.violated().collect();
    let policy = violated.first().copied().unwrap_or(Policy::Daily);
    let (limit, used) = refusal.standing.limit_and_use(policy);
    let detail = match policy {
        Policy::Daily => format!("The tenant has used {used} of {limit} requests in 24 hours."),
        Policy::Burst => format!("The tenant has sent more than {limit} requests at once; slow down."),
        Policy::Concurrent => format!("The tenant has {used} requests being served, of {limit} allowed at one moment."),
    };
    let names: Vec<&str> = violated.iter().map(|policy| policy.as_str()).collect();
    let mut standing = refusal.standing;
    // The draft wants both fields to name one moment.
    let moment = Duration::from_secs(retry_after);
    match policy {
        // Where nothing is allowed, the field names no moment.
        Policy::Daily => standing.daily_wait = standing.daily_wait.map(|_| moment),
        Policy::Burst => {
            if let Some(burst) = &mut standing.burst {
                burst.wait = moment;
            }
        }
        Policy::Concurrent => {}
    }
    let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", detail)
        .with("violated-policies", names)
        .with("limit", limit)
        .with("used", used)
        .retry_after(retry_after)
        .into_response();
    fields.with(standing).put_into(&mut response);
    response
}

/// We cannot count.
pub(super) fn quota_unavailable(fields: Fields, error: QuotaError) -> Response<Full<Bytes>> {
    let detail = format!("This service cannot count the request at the moment: {error}.");
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "quota-unavailable", detail)
        .retry_after(jittered_seconds(Duration::from_secs(1), rand::random()))
        .into_response();
    fields.put_into(&mut response);
    response
}

/// No layer above said whose request it is.
pub(super) fn no_tenant() -> Response<Full<Bytes>> {
    tracing::error!("a request reached the quotas without a tenant");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The request could not be attributed to a tenant.",
    )
    .into_response()
}

/// Whole seconds from 1, never before `wait` is over, and up to a tenth (1 to 300 s) later, so that the clients of a
/// tenant do not all come back in the same second. `random` is from 0 up to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product is between 0 and 301"
)]
pub(super) fn jittered_seconds(wait: Duration, random: f64) -> u64 {
    let seconds = seconds_up(wait).max(1);
    let spread = (seconds / 10).clamp(1, 300);
    seconds
        .saturating_add(((spread + 1) as f64 * random.clamp(0.0, 1.0)) as u64)
        .min(seconds + spread)
}
