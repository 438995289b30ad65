//! The headers that nodes add for each other. Stripped from what clients send and are sent, so that nobody can forge them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tenantry_types::Epoch;

use super::ingress::Forwarded;
use crate::http::problem::Problem;

const TENANT_UID: HeaderName = HeaderName::from_static("x-tenantry-tenant-uid");
const EPOCH: HeaderName = HeaderName::from_static("x-tenantry-epoch");

/// All of them begin so, those of other versions, too.
const PREFIX: &str = "x-tenantry-";

/// Removes them.
pub(super) fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Says in a refusal which epoch this node knows.
pub(super) fn with_known_epoch(refusal: Problem, known: Option<Epoch>) -> Problem {
    match known {
        Some(epoch) => refusal.with_header(EPOCH, HeaderValue::from(epoch.get())),
        None => refusal,
    }
}

/// The epoch that a refusing node knows.
pub(super) fn known_epoch(headers: &HeaderMap) -> Option<Epoch> {
    headers.get(EPOCH)?.to_str().ok()?.parse().ok().map(Epoch)
}

/// Sets them.
pub(super) fn write(headers: &mut HeaderMap, forwarded: Forwarded) {
    if let Ok(uid) = HeaderValue::from_str(&forwarded.tenant.to_string()) {
        headers.insert(TENANT_UID, uid);
    }
    headers.insert(EPOCH, HeaderValue::from(forwarded.epoch.get()));
}

/// Reads them.
///
/// # Errors
/// A 400 that names the header that is missing or malformed.
pub(super) fn read(headers: &HeaderMap) -> Result<Forwarded, Problem> {
    fn field<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<T, Problem> {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "not-forwarded",
                    format!("{name} is missing or malformed"),
                )
                .with("field", name.as_str())
            })
    }
    Ok(Forwarded {
        tenant: field(headers, &TENANT_UID)?,
        epoch: Epoch(field(headers, &EPOCH)?),
    })
}

#[cfg(test)]
mod tests {
    use tenantry_types::TenantUid;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_stripped_is_gone() {
        let forwarded = Forwarded {
            tenant: TenantUid::from_u128(7),
            epoch: Epoch(3),
        };
        let mut headers = HeaderMap::new();
        write(&mut headers, forwarded);
        headers.insert("x-tenantry-of-a-later-version", HeaderValue::from_static("1"));
        assert_eq!(read(&headers).ok(), Some(forwarded));
        strip(&mut headers);
        assert!(headers.is_empty());
        assert_eq!(read(&headers).unwrap_err().status(), 400);
    }
}
