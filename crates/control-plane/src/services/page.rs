//! Pages of lists (AIP-158). A token holds the key to resume after, so pages stay true while the list changes; that of a
//! list that every member answers also holds the revision of its page, so that the next one is not from before it.

use std::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenantry_proto::v1;
use tenantry_state::{TenantKey, TenantLife};
use tenantry_types::{EventSequence, NodeId, Revision, TenantName};
use tonic::Status;

use super::status;

const DEFAULT_SIZE: usize = 100;
const LARGEST_SIZE: usize = 1_000;

/// How many entries a page has.
///
/// # Errors
/// When the request asks for a negative number.
pub(super) fn size(requested: i32) -> Result<usize, Status> {
    match usize::try_from(requested) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(LARGEST_SIZE)),
        Err(_) => Err(status::invalid_field("page_size", "must not be negative")),
    }
}

/// Identifies the filter that a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query(u64);

/// A stable hash of the filter: a token of one list is refused by another.
pub(super) fn query(filter: &impl Hash) -> Query {
    // FNV-1a, since tokens must be good on every member and after an upgrade of one of them.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    filter.hash(&mut hasher);
    Query(hasher.finish())
}

fn seal(query: Query, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{:016x}{key}", query.0))
}

fn open(token: &str, query: Query) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = || status::invalid_field("page_token", "is not a token of this list");
    let text = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(invalid)?;
    let (of, key) = text.split_at_checked(16).ok_or_else(invalid)?;
    if u64::from_str_radix(of, 16) != Ok(query.0) {
        return Err(invalid());
    }
    Ok(Some(key.to_owned()))
}

/// The token that resumes a list of tenants after `key`, on a page of `revision`.
pub(super) fn tenant_token(key: &TenantKey, revision: Revision, query: Query) -> String {
    let life = match key.life {
        TenantLife::Active => 'a',
        TenantLife::Deleted => 'd',
    };
    seal(query, &format!("{:016x}{life}{}{}", revision.get(), key.uid, key.name))
}

/// The key that a token resumes after, `None` for the beginning, and the revision of the page before.
///
/// # Errors
/// When the token is not one of this list.
pub(super) fn tenant_after(token: &str, query: Query) -> Result<(Option<TenantKey>, Revision), Status> {
    let invalid = || status::invalid_field("page_token", "is not a token of this list");
    let read = |text: String| {
        let (revision, rest) = text.split_at_checked(16)?;
        let revision = Revision(u64::from_str_radix(revision, 16).ok()?);
        let (life, rest) = rest.split_at_checked(1)?;
        let (uid, name) = rest.split_at_checked(32)?;
        let life = match life {
            "a" => TenantLife::Active,
            "d" => TenantLife::Deleted,
            _ => return None,
        };
        let key = TenantKey {
            name: TenantName::new(name).ok()?,
            life,
            uid: uid.parse().ok()?,
        };
        Some((Some(key), revision))
    };
    match open(token, query)? {
        None => Ok((None, Revision::ZERO)),
        Some(text) => read(text).ok_or_else(invalid),
    }
}

/// The token that resumes a list of nodes after `node`.
pub(super) fn node_token(node: &NodeId) -> String {
    seal(query(&"nodes"), node.as_str())
}

/// The node that a token resumes after; `None` for the beginning.
///
/// # Errors
/// When the token is not one of this list.
pub(super) fn node_after(token: &str) -> Result<Option<NodeId>, Status> {
    let invalid = |_| status::invalid_field("page_token", "is not a token of this list");
    open(token, query(&"nodes"))?
        .map(|text| NodeId::new(&text).map_err(invalid))
        .transpose()
}

/// Identifies a list of events.
pub(super) fn event_query(filter: &v1::EventFilter, newest_first: bool) -> Query {
    use prost::Message as _;
    query(&("events", filter.encode_to_vec(), newest_first))
}

/// The token that resumes a list of events after `sequence`.
pub(super) fn event_token(sequence: EventSequence, query: Query) -> String {
    seal(query, &sequence.get().to_string())
}

/// The event that a token resumes after; `None` for the beginning.
///
/// # Errors
/// When the token is not one of this list.
pub(super) fn event_after(token: &str, query: Query) -> Result<Option<EventSequence>, Status> {
    let invalid = |_| status::invalid_field("page_token", "is not a token of this list");
    open(token, query)?
        .map(|text| text.parse().map(EventSequence).map_err(invalid))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_cap() {
        assert_eq!(size(0).unwrap(), 100);
        assert_eq!(size(7).unwrap(), 7);
        assert_eq!(size(5_000).unwrap(), 1_000);
        assert_eq!(size(-1).unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn a_token_of_tenants_holds_its_place_and_its_revision() {
        let key = TenantKey {
            name: TenantName::new("acme").unwrap(),
            life: TenantLife::Deleted,
            uid: tenantry_types::TenantUid::from_u128(7),
        };
        let of = query(&"a filter");
        let token = tenant_token(&key, Revision(300), of);
        assert_eq!(tenant_after(&token, of).unwrap(), (Some(key), Revision(300)));
        assert_eq!(tenant_after("", of).unwrap(), (None, Revision::ZERO));
        assert!(tenant_after(&token, query(&"another filter")).is_err());
        assert!(tenant_after(&seal(of, "00000000000000zz"), of).is_err());
    }

    #[test]
    fn a_token_resumes_its_own_list_only() {
        let node = NodeId::new("node-1").unwrap();
        assert_eq!(node_after(&node_token(&node)).unwrap(), Some(node.clone()));
        assert_eq!(node_after("").unwrap(), None);
        let other = seal(query(&"tenants"), "node-1");
        for bad in [
            other.as_str(),
            "x",
            "????",
            &URL_SAFE_NO_PAD.encode("short"),
            &URL_SAFE_NO_PAD.encode("äöüäöüäöüäöü"),
        ] {
            assert!(node_after(bad).is_err(), "{bad}");
        }
    }
}
