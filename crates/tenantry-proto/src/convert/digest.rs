//! Hashes over messages: of the routing table's records, and of requests.
//!
//! A record's digest is the first 8 bytes of SHA-256 over its kind and its encoded message. The XOR over all records of a
//! table is the table's digest, so that it can be kept up to date record by record. Messages are encoded in the order of
//! field numbers and hold no unordered maps: equal messages have equal digests. A peer of another version may know
//! fields that we do not, and then comes to another digest; a difference calls for a resync, not for an error.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::v1;

/// The digest of a tenant's record.
#[must_use]
pub fn tenant_route(record: &v1::TenantRoute) -> u64 {
    digest("tenant", record)
}

/// The digest of a node's record.
#[must_use]
pub fn node_route(record: &v1::NodeRoute) -> u64 {
    digest("node", record)
}

/// The digest of a token key's record.
#[must_use]
pub fn token_key(record: &v1::TokenKey) -> u64 {
    digest("key", record)
}

/// The digest of a tier's record.
#[must_use]
pub fn tier(record: &v1::TierDefinition) -> u64 {
    digest("tier", record)
}

/// Tells a retried request from another one under the same id: a hash over the method's name and the whole message, its
/// request id included.
#[must_use]
pub fn request(method: &str, message: &impl Message) -> u64 {
    digest(method, message)
}

fn digest(kind: &str, message: &impl Message) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(message.encode_to_vec());
    let hash = hasher.finalize();
    hash.iter()
        .take(8)
        .fold(0, |word: u64, byte| (word << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_hashed_with_its_kind_and_its_content() {
        let record = v1::NodeRoute {
            node_id: "n1".to_owned(),
            peer_address: "127.0.0.1:8421".to_owned(),
        };
        let moved = v1::NodeRoute {
            peer_address: "127.0.0.1:8422".to_owned(),
            ..record.clone()
        };
        assert_eq!(node_route(&record), node_route(&record.clone()));
        assert_ne!(node_route(&record), node_route(&moved));
        assert_ne!(node_route(&record), request("other", &record));
    }

    /// Nodes and members of all versions compare these.
    #[test]
    fn the_digest_of_a_given_record_never_changes() {
        let record = v1::NodeRoute {
            node_id: "n1".to_owned(),
            peer_address: "127.0.0.1:8421".to_owned(),
        };
        assert_eq!(node_route(&record), GOLDEN, "{:#x}", node_route(&record));
    }

    const GOLDEN: u64 = 0xe28c_0992_0d6e_7451;
}
