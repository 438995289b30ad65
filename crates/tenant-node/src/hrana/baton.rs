//! Batons: unforgeable texts that lead a request to its stream, or hold all that there is of one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tenantry_types::TenantUid;

/// What a baton says once its signature was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Baton {
    /// The node keeps something of the stream, under this number. Good for one request.
    Kept(u64),
    /// There is no more of the stream than this. Good for ever, and for any number of requests: each has a stream of its own.
    Stateless { last_insert_rowid: i64 },
}

const KEPT: u8 = 1;
const STATELESS: u8 = 2;
/// The kind, and a number.
const SIGNED_BYTES: usize = 1 + 8;

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
        let (kind, number) = match baton {
            Baton::Kept(stream) => (KEPT, stream.to_be_bytes()),
            Baton::Stateless { last_insert_rowid } => (STATELESS, last_insert_rowid.to_be_bytes()),
        };
        let mut bytes = Vec::with_capacity(SIGNED_BYTES + 32);
        bytes.push(kind);
        bytes.extend_from_slice(&number);
        let signature = self.mac(tenant, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&signature);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The baton, if it was made with this key for this tenant. Takes the same time for every wrong signature.
    pub(super) fn check(&self, tenant: TenantUid, text: &str) -> Option<Baton> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(SIGNED_BYTES)?;
        self.mac(tenant, signed).verify_slice(signature).ok()?;
        let (kind, number) = signed.split_first()?;
        let number = number.try_into().ok()?;
        match *kind {
            KEPT => Some(Baton::Kept(u64::from_be_bytes(number))),
            STATELESS => Some(Baton::Stateless {
                last_insert_rowid: i64::from_be_bytes(number),
            }),
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
            any::<i64>().prop_map(|last_insert_rowid| Baton::Stateless { last_insert_rowid }),
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
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", BatonKey::new([7; 32])), "BatonKey");
    }
}
