//! Signatures after the Standard Webhooks specification: HMAC-SHA256 over id, time and body.
//!
//! A secret must not get into a log: only [`Secret::exposed`] shows one.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

const SECRET_PREFIX: &str = "whsec_";
const SIGNATURE_PREFIX: &str = "v1,";
/// The bounds that the specification sets, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What a sender and a receiver share: 24 to 64 bytes, written as `whsec_` and base64.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Text that is no secret. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no webhook secret: {rule}")]
pub struct InvalidSecret {
    /// The rule that was broken.
    pub rule: &'static str,
}

impl Secret {
    /// A new secret from 32 bytes, which the caller takes from the system's source of randomness.
    #[must_use]
    pub fn generate(random: [u8; 32]) -> Self {
        Self(Box::new(random))
    }

    /// A secret of these bytes.
    ///
    /// # Errors
    /// There are fewer than 24 or more than 64.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidSecret> {
        if SECRET_BYTES.contains(&bytes.len()) {
            Ok(Self(bytes.into()))
        } else {
            Err(InvalidSecret {
                rule: "it has 24 to 64 bytes",
            })
        }
    }

    /// The bytes, for keeping. Not for logs.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret as its receiver is told it. Not for logs.
    #[must_use]
    pub fn exposed(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, id: &str, timestamp: u64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length will do");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        mac
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    /// Reads `whsec_` and base64 with its padding.
    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let invalid = |rule| InvalidSecret { rule };
        let encoded = text
            .strip_prefix(SECRET_PREFIX)
            .ok_or(invalid("it begins with whsec_"))?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| invalid("base64 with padding follows whsec_"))?;
        Self::new(&bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The signature of a message, as `v1,` and base64. `timestamp` is in seconds since 1970.
///
/// `id` must hold no full stop, else two messages can have one signature; [`Message`](crate::Message) sees to that.
#[must_use]
pub fn sign(secret: &Secret, id: &str, timestamp: u64, body: &[u8]) -> String {
    let signature = secret.mac(id, timestamp, body).finalize().into_bytes();
    format!("{SIGNATURE_PREFIX}{}", STANDARD.encode(signature))
}

/// A signature by each secret, with blanks between them: while a secret is rotated, a receiver knows the old one or the new
/// one.
#[must_use]
pub fn sign_all(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures: Vec<_> = secrets.iter().map(|secret| sign(secret, id, timestamp, body)).collect();
    signatures.join(" ")
}

/// Whether one of `signatures`, the text of a `webhook-signature` header, is by `secret`. Takes equal time wherever a
/// signature differs.
///
/// A receiver must refuse old timestamps besides, or whoever recorded a message can send it again.
#[must_use]
pub fn verify(secret: &Secret, id: &str, timestamp: u64, body: &[u8], signatures: &str) -> bool {
    let mac = secret.mac(id, timestamp, body);
    signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix(SIGNATURE_PREFIX))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|signature| mac.clone().verify_slice(&signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> Secret {
        SECRET.parse().unwrap()
    }

    #[test]
    fn the_published_message_gets_the_published_signature() {
        assert_eq!(sign(&secret(), ID, TIMESTAMP, BODY), SIGNATURE);
    }

    #[test]
    fn a_signature_holds_for_this_secret_id_time_and_body_alone() {
        let holds =
            |secret: &Secret, id, timestamp, body, signatures: &str| verify(secret, id, timestamp, body, signatures);
        assert!(holds(&secret(), ID, TIMESTAMP, BODY, SIGNATURE));
        assert!(!holds(&Secret::generate([7; 32]), ID, TIMESTAMP, BODY, SIGNATURE));
        assert!(!holds(&secret(), "msg_other", TIMESTAMP, BODY, SIGNATURE));
        assert!(!holds(&secret(), ID, TIMESTAMP + 1, BODY, SIGNATURE));
        assert!(!holds(&secret(), ID, TIMESTAMP, b"{}", SIGNATURE));
        for nonsense in [
            "",
            "v1,",
            "v1",
            "v1,!",
            "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            &SIGNATURE[3..],
        ] {
            assert!(!holds(&secret(), ID, TIMESTAMP, BODY, nonsense), "{nonsense}");
        }
    }

    #[test]
    fn while_secrets_are_rotated_both_receivers_can_verify() {
        let new = Secret::generate([7; 32]);
        let signatures = sign_all(&[new.clone(), secret()], ID, TIMESTAMP, BODY);
        assert_eq!(signatures.split(' ').count(), 2);
        assert!(verify(&secret(), ID, TIMESTAMP, BODY, &signatures));
        assert!(verify(&new, ID, TIMESTAMP, BODY, &signatures));
        assert!(!verify(&Secret::generate([8; 32]), ID, TIMESTAMP, BODY, &signatures));
    }

    #[test]
    fn secrets_are_read_as_they_are_shown_and_debug_hides_them() {
        assert_eq!(secret().exposed(), SECRET);
        let new = Secret::generate([7; 32]);
        assert_eq!(new.exposed().parse::<Secret>().unwrap().exposed(), new.exposed());
        assert_eq!(format!("{new:?}"), "Secret(…)");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let encoded = |length: usize| format!("whsec_{}", STANDARD.encode(vec![1_u8; length]));
        for length in [24, 32, 64] {
            assert!(encoded(length).parse::<Secret>().is_ok(), "{length}");
        }
        for bad in [
            String::new(),
            "whsec_".to_owned(),
            SECRET[6..].to_owned(),
            format!("{SECRET}!"),
            SECRET.to_uppercase(),
            encoded(23),
            encoded(65),
        ] {
            let error = bad.parse::<Secret>().unwrap_err().to_string();
            assert!(bad.len() <= "whsec_".len() || !error.contains(&bad), "{error}");
        }
    }
}
