//! What the text of a bearer token proves: who signed it, for whom, for what and until when.
//!
//! Must not look at clocks, at the tenant that a request names, or at what is revoked. What is proved here stays true for
//! ever; whether it counts at this moment is asked at every request, by `authenticate`.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use tenantry_types::{TenantUid, TokenGeneration, TokenKey};

use super::context::Access;

/// Tokens of ours have some 350 bytes. Longer ones are refused before they cost anything.
const MAX_TOKEN_BYTES: usize = 4_096;

/// What a token says, signed by one of our keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProvenToken {
    /// Whom it speaks for.
    pub(super) subject: TenantUid,
    /// What it allows.
    pub(super) access: Access,
    /// The subject's token generation when it was signed.
    pub(super) generation: TokenGeneration,
    /// It is not good before, in seconds since 1970; zero where it does not say.
    pub(super) not_before: u64,
    /// It is not good from then on, in seconds since 1970.
    pub(super) expires_at: u64,
    /// The public key that its signature fits.
    pub(super) signed_by: [u8; 32],
}

/// Why a text proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// Not a JWT, or longer than any of ours.
    #[error("the token is malformed")]
    Malformed,
    /// Its key was retired, or the control plane has not told this node of it yet.
    #[error("the token's key is not known here: it was retired, or this node has not heard of it yet")]
    UnknownKey,
    /// Changed, or signed by somebody else.
    #[error("the token's signature does not fit")]
    WrongSignature,
    /// A claim is missing or of the wrong type, or another algorithm is named.
    #[error("the token does not hold what a tenant's token must hold")]
    WrongContent,
    /// Its subject is not a uid.
    #[error("the token names no tenant")]
    NoTenant,
    /// Its scope is none of ours.
    #[error("the token's scope is neither `ro` nor `full`")]
    UnknownScope,
}

/// The claims as they are signed. All but `nbf` and `gen` must be there.
#[derive(Debug, Deserialize)]
struct Claims {
    /// The tenant's uid, 32 hexadecimal digits.
    sub: String,
    /// `ro` or `full`.
    scope: String,
    /// Seconds since 1970.
    exp: u64,
    /// Seconds since 1970.
    #[serde(default)]
    nbf: u64,
    /// Tokens from before there were generations are of the first one.
    #[serde(default, rename = "gen")]
    generation: u64,
}

/// Checks the signature of `token` with the key that it names, and reads it.
///
/// # Errors
/// When it proves nothing.
pub(super) fn prove(token: &str, keys: &[TokenKey]) -> Result<ProvenToken, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    let named = header.kid.ok_or(TokenError::WrongContent)?;
    let key = keys.iter().find(|key| key.id == named).ok_or(TokenError::UnknownKey)?;
    // One algorithm, whatever the header says. Times are judged at each request, and not by the library's clock.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(&key.public_key), &validation)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenError::WrongSignature,
            _ => TokenError::WrongContent,
        })?
        .claims;
    Ok(ProvenToken {
        subject: claims.sub.parse().map_err(|_| TokenError::NoTenant)?,
        access: match claims.scope.as_str() {
            "ro" => Access::ReadOnly,
            "full" => Access::Full,
            _ => return Err(TokenError::UnknownScope),
        },
        generation: TokenGeneration(claims.generation),
        not_before: claims.nbf,
        expires_at: claims.exp,
        signed_by: key.public_key,
    })
}

#[cfg(test)]
pub(super) mod tests {
    //! Also signs tokens for the tests of the layer.
    use ed25519_dalek::SigningKey;
    use ed25519_dalek::pkcs8::EncodePrivateKey as _;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    /// The public half of key `number`, named `kNUMBER`.
    pub(in super::super) fn key(number: u8) -> TokenKey {
        TokenKey {
            id: format!("k{number}"),
            public_key: SigningKey::from_bytes(&[number; 32]).verifying_key().to_bytes(),
        }
    }

    /// A token signed with key `number`, which it names as `kid`.
    pub(in super::super) fn signed_as(kid: Option<&str>, number: u8, claims: &Value) -> String {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(Algorithm::EdDSA)
        };
        let der = SigningKey::from_bytes(&[number; 32]).to_pkcs8_der().unwrap();
        encode(&header, claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap()
    }

    pub(in super::super) fn signed(number: u8, claims: &Value) -> String {
        signed_as(Some(&format!("k{number}")), number, claims)
    }

    fn claims() -> Value {
        json!({"sub": TenantUid::from_u128(1).to_string(), "scope": "ro", "exp": 2_000})
    }

    /// As [`claims`], with one of them replaced, or taken out by null.
    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    }

    #[test]
    fn a_token_without_the_later_claims_is_of_the_first_generation_and_good_at_once() {
        let proven = prove(&signed(1, &claims()), &[key(2), key(1)]).unwrap();
        let expected = ProvenToken {
            subject: TenantUid::from_u128(1),
            access: Access::ReadOnly,
            generation: TokenGeneration::ZERO,
            not_before: 0,
            expires_at: 2_000,
            signed_by: key(1).public_key,
        };
        assert_eq!(proven, expected);
        let mut later = with("gen", json!(7));
        later["nbf"] = json!(1_000);
        let proven = prove(&signed(1, &later), &[key(1)]).unwrap();
        assert_eq!((proven.generation, proven.not_before), (TokenGeneration(7), 1_000));
    }

    #[test]
    fn a_text_that_proves_nothing_is_refused_for_what_is_wrong_with_it() {
        let good = signed(1, &claims());
        let (body, signature) = good.rsplit_once('.').unwrap();
        let other = signed(1, &with("scope", json!("full")));
        let swapped = format!("{body}.{}", other.rsplit_once('.').unwrap().1);
        let hmac = encode(
            &Header {
                kid: Some("k1".into()),
                ..Header::new(Algorithm::HS256)
            },
            &claims(),
            &EncodingKey::from_secret(&key(1).public_key),
        );
        let cases = [
            (String::new(), TokenError::Malformed),
            ("a.b.c".to_owned(), TokenError::Malformed),
            (format!("{body}.{}", "A".repeat(5_000)), TokenError::Malformed),
            (
                format!("{}.{signature}", &body[..body.len() - 4]),
                TokenError::WrongSignature,
            ),
            (swapped, TokenError::WrongSignature),
            (signed_as(Some("k1"), 2, &claims()), TokenError::WrongSignature),
            (signed_as(None, 1, &claims()), TokenError::WrongContent),
            (hmac.unwrap(), TokenError::WrongContent),
            (signed(2, &claims()), TokenError::UnknownKey),
            (signed(1, &with("exp", Value::Null)), TokenError::WrongContent),
            (signed(1, &with("exp", json!(-1))), TokenError::WrongContent),
            (signed(1, &with("sub", Value::Null)), TokenError::WrongContent),
            (signed(1, &with("gen", json!("x"))), TokenError::WrongContent),
            (signed(1, &with("sub", json!("acme"))), TokenError::NoTenant),
            (signed(1, &with("scope", json!("root"))), TokenError::UnknownScope),
        ];
        for (token, expected) in cases {
            assert_eq!(prove(&token, &[key(1)]), Err(expected), "{token}");
        }
    }
}
