//! Batons: unforgeable names of streams. Signed with a key that lives as long as the process, as streams do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tenantry_types::TenantUid;

/// What a baton says once its signature was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Baton {
    pub(super) stream: u64,
    /// Counts the requests of the stream: a baton is good for one.
    pub(super) sequence: u64,
}

const NUMBER_BYTES: usize = 8;
const SIGNED_BYTES: usize = 2 * NUMBER_BYTES;

/// Signs and checks batons.
pub(super) struct BatonKey([u8; 32]);

impl BatonKey {
    pub(super) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(super) fn sign(&self, tenant: TenantUid, baton: Baton) -> String {
        let mut bytes = Vec::with_capacity(SIGNED_BYTES + 32);
        bytes.extend_from_slice(&baton.stream.to_be_bytes());
        bytes.extend_from_slice(&baton.sequence.to_be_bytes());
        let signature = self.mac(tenant, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&signature);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The baton, if this process made it for this tenant. Takes the same time for every wrong signature.
    pub(super) fn check(&self, tenant: TenantUid, text: &str) -> Option<Baton> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(SIGNED_BYTES)?;
        self.mac(tenant, signed).verify_slice(signature).ok()?;
        let (stream, sequence) = signed.split_at_checked(NUMBER_BYTES)?;
        Some(Baton {
            stream: u64::from_be_bytes(stream.try_into().ok()?),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        })
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, tenant: TenantUid, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of 32 bytes");
        mac.update(&tenant.as_u128().to_be_bytes());
        mac.update(signed);
        mac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENANT: TenantUid = TenantUid::from_u128(1);

    proptest! {
        #[test]
        fn a_baton_reads_back_for_its_own_tenant_and_key_only(stream: u64, sequence: u64) {
            let key = BatonKey::new([7; 32]);
            let baton = Baton { stream, sequence };
            let text = key.sign(TENANT, baton);
            prop_assert_eq!(key.check(TENANT, &text), Some(baton));
            prop_assert_eq!(key.check(TenantUid::from_u128(2), &text), None);
            prop_assert_eq!(BatonKey::new([8; 32]).check(TENANT, &text), None);
        }

        #[test]
        fn a_changed_baton_is_refused(position in 0usize..64, change in 1u8..=255) {
            let key = BatonKey::new([7; 32]);
            let text = key.sign(TENANT, Baton { stream: 1, sequence: 2 });
            let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            let position = position % bytes.len();
            bytes[position] ^= change;
            prop_assert_eq!(key.check(TENANT, &URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,100}") {
            prop_assert_eq!(BatonKey::new([7; 32]).check(TENANT, &text), None);
        }
    }
}
