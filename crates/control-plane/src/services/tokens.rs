//! Bearer tokens for tenants' HTTP endpoints: JWTs signed with Ed25519. Nothing is stored; the nodes hold the public key.

use ed25519_dalek::SigningKey as Ed25519Key;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tenantry_proto::convert;
use tenantry_proto::v1::{CreateTenantTokenResponse, TokenScope};
use tenantry_state::{SecretKey, SigningKey};
use tenantry_types::{TenantUid, UnixMillis};
use tonic::Status;

use super::status;

const DAY_SECONDS: u64 = 86_400;
const LONGEST_TTL_SECONDS: u64 = 366 * DAY_SECONDS;

/// What a tenant-node reads.
#[derive(Debug, Serialize)]
struct Claims {
    sub: String,
    scope: &'static str,
    iat: u64,
    exp: u64,
}

/// A fresh key pair. `seed` are 32 random bytes.
pub(crate) fn new_key(key_id: String, seed: [u8; 32]) -> SigningKey {
    let public = Ed25519Key::from_bytes(&seed).verifying_key().to_bytes();
    SigningKey {
        key_id,
        public,
        secret: SecretKey::new(seed),
    }
}

/// Signs a token for `tenant`.
///
/// # Errors
/// When the scope is missing or the lifetime is too long.
pub(super) fn sign(
    key: &SigningKey,
    tenant: TenantUid,
    scope: TokenScope,
    ttl_seconds: u64,
    now: UnixMillis,
) -> Result<CreateTenantTokenResponse, Status> {
    let scope = match scope {
        TokenScope::ReadOnly => "ro",
        TokenScope::Full => "full",
        TokenScope::Unspecified => return Err(status::invalid_field("scope", "must be given")),
    };
    let ttl = match ttl_seconds {
        0 => DAY_SECONDS,
        ttl if ttl > LONGEST_TTL_SECONDS => {
            return Err(status::invalid_field("ttl_seconds", "must be at most 366 days"));
        }
        ttl => ttl,
    };
    let issued = now.0 / 1_000;
    let claims = Claims {
        sub: tenant.to_string(),
        scope,
        iat: issued,
        exp: issued + ttl,
    };
    let header = Header {
        kid: Some(key.key_id.clone()),
        ..Header::new(Algorithm::EdDSA)
    };
    let der = Ed25519Key::from_bytes(key.secret.reveal())
        .to_pkcs8_der()
        .map_err(|error| status::internal(format!("the signing key cannot be used: {error}")))?;
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(der.as_bytes()))
        .map_err(|error| status::internal(format!("the token cannot be signed: {error}")))?;
    let expire_time = Some(convert::timestamp(UnixMillis(claims.exp * 1_000)));
    Ok(CreateTenantTokenResponse { token, expire_time })
}
