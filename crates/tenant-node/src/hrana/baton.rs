//! Batons: unforgeable texts that lead a request to its stream, or hold all that there is of one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tenantry_types::TenantUid;

use crate::database::WriteHistory;

/// What a baton says once its signature was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Baton {
    /// The node keeps something of the stream, under this number. Good for one request.
    Kept(u64),
    /// There is no more of the stream than this. Good for ever, and for any number of requests: each has a stream of its own.
    Stateless(WriteHistory),
}

const KEPT: u8 = 1;
/// Of earlier versions, with the row id alone. Some SDKs never begin another stream, so it has to stay good.
const STATELESS_WITH_ROWID: u8 = 2;
const STATELESS: u8 = 3;
/// The kind, and at most three numbers.
const MOST_SIGNED_BYTES: usize = 1 + 3 * 8;
const SIGNATURE_BYTES: usize = 32;

/// Signs and checks batons.
#[derive(Clone)]
pub struct BatonKey([u8; 32]);

impl BatonKey {
    /// The key of these bytes, which nobody else may know.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(super) fn sign(&self, tenant: TenantUid, baton: Baton) -> String {
        let mut bytes = Vec::with_capacity(MOST_SIGNED_BYTES + SIGNATURE_BYTES);
        match baton {
            Baton::Kept(stream) => {
                bytes.push(KEPT);
                bytes.extend_from_slice(&stream.to_be_bytes());
            }
            Baton::Stateless(history) => {
                bytes.push(STATELESS);
                bytes.extend_from_slice(&history.last_insert_rowid.to_be_bytes());
                bytes.extend_from_slice(&history.changes.to_be_bytes());
                bytes.extend_from_slice(&history.total_changes.to_be_bytes());
            }
        }
        self.sign_bytes(tenant, bytes)
    }

    fn sign_bytes(&self, tenant: TenantUid, mut bytes: Vec<u8>) -> String {
        let signature = self.mac(tenant, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&signature);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The baton, if it was made with this key for this tenant. Takes the same time for every wrong signature.
    pub(super) fn check(&self, tenant: TenantUid, text: &str) -> Option<Baton> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        self.mac(tenant, signed).verify_slice(signature).ok()?;
        let (kind, numbers) = signed.split_first()?;
        match (*kind, numbers.as_chunks().0) {
            (KEPT, [stream]) => Some(Baton::Kept(u64::from_be_bytes(*stream))),
            (STATELESS_WITH_ROWID, [rowid]) => Some(Baton::Stateless(WriteHistory {
                last_insert_rowid: i64::from_be_bytes(*rowid),
                ..WriteHistory::default()
            })),
            (STATELESS, [rowid, changes, total_changes]) => Some(Baton::Stateless(WriteHistory {
                last_insert_rowid: i64::from_be_bytes(*rowid),
                changes: u64::from_be_bytes(*changes),
                total_changes: u64::from_be_bytes(*total_changes),
            })),
            _ => None,
        }
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, tenant: TenantUid, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of 32 bytes");
        mac.update(&tenant.as_u128().to_be_bytes());
        mac.update(signed);
        mac
    }
}

impl fmt::Debug for BatonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatonKey")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENANT: TenantUid = TenantUid::from_u128(1);

    fn batons() -> impl Strategy<Value = Baton> {
        prop_oneof![
            any::<u64>().prop_map(Baton::Kept),
            any::<(i64, u64, u64)>().prop_map(|(last_insert_rowid, changes, total_changes)| {
                Baton::Stateless(WriteHistory {
                    last_insert_rowid,
                    changes,
                    total_changes,
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_baton_reads_back_for_its_own_tenant_and_key_only(baton in batons()) {
            let key = BatonKey::new([7; 32]);
            let text = key.sign(TENANT, baton);
            prop_assert_eq!(key.check(TENANT, &text), Some(baton));
            prop_assert_eq!(key.check(TenantUid::from_u128(2), &text), None);
            prop_assert_eq!(BatonKey::new([8; 32]).check(TENANT, &text), None);
        }

        #[test]
        fn a_changed_baton_is_refused(baton in batons(), position in 0usize..64, change in 1u8..=255) {
            let key = BatonKey::new([7; 32]);
            let mut bytes = URL_SAFE_NO_PAD.decode(key.sign(TENANT, baton)).unwrap();
            let position = position % bytes.len();
            bytes[position] ^= change;
            prop_assert_eq!(key.check(TENANT, &URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,100}") {
            prop_assert_eq!(BatonKey::new([7; 32]).check(TENANT, &text), None);
        }
    }

    #[test]
    fn a_baton_that_has_only_the_row_id_is_good() {
        let key = BatonKey::new([7; 32]);
        let mut bytes = vec![STATELESS_WITH_ROWID];
        bytes.extend_from_slice(&42_i64.to_be_bytes());
        let history = WriteHistory {
            last_insert_rowid: 42,
            ..WriteHistory::default()
        };
        let text = key.sign_bytes(TENANT, bytes);
        assert_eq!(key.check(TENANT, &text), Some(Baton::Stateless(history)));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", BatonKey::new([7; 32])), "BatonKey");
    }
}
