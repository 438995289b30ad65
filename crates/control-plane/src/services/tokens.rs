//! Bearer tokens for tenants' HTTP endpoints: JWTs signed with Ed25519, and the keys that sign them. Tokens are not stored;
//! the nodes hold the public keys.

use std::time::Duration;

use ed25519_dalek::SigningKey as Ed25519Key;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tenantry_proto::convert;
use tenantry_proto::v1::{CreateTenantTokenResponse, TokenKeyInfo, TokenKeyPhase, TokenScope};
use tenantry_state::{KeyPhase, LONGEST_TOKEN_TTL, SecretKey, SigningKey};
use tenantry_types::{Tenant, UnixMillis};
use tonic::Status;

use super::status;

const DAY_SECONDS: u64 = 86_400;
const LONGEST_TTL_SECONDS: u64 = LONGEST_TOKEN_TTL.as_secs();

/// How long nodes have to get to know a new key, unless the caller says otherwise. A node follows within a second, and
/// one that cannot for longer than this is shown as down.
const ACTIVATION_DELAY: Duration = Duration::from_secs(60);
const LONGEST_ACTIVATION_DELAY: Duration = Duration::from_secs(7 * DAY_SECONDS);

/// What a tenant-node reads.
#[derive(Debug, Serialize)]
struct Claims {
    sub: String,
    scope: &'static str,
    iat: u64,
    exp: u64,
    /// The tenant's token generation at the time.
    #[serde(rename = "gen")]
    generation: u64,
}

/// A fresh key pair under a fresh id, which signs from `signs_from` on.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn new_key(signs_from: UnixMillis) -> Result<SigningKey, getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let public = Ed25519Key::from_bytes(&seed).verifying_key().to_bytes();
    Ok(SigningKey {
        key_id: uuid::Uuid::new_v4().simple().to_string(),
        public,
        secret: SecretKey::new(seed),
        signs_from,
    })
}

/// From when on a key signs that is added at `now`.
///
/// # Errors
/// When the delay is too long.
pub(super) fn activation(now: UnixMillis, delay_seconds: u64) -> Result<UnixMillis, Status> {
    let delay = match delay_seconds {
        0 => ACTIVATION_DELAY,
        seconds => Duration::from_secs(seconds),
    };
    if delay > LONGEST_ACTIVATION_DELAY {
        return Err(status::invalid_field(
            "activation_delay_seconds",
            "must be at most 7 days",
        ));
    }
    Ok(now.plus(delay))
}

/// What operators may know of a key.
pub(super) fn info(key: &SigningKey, phase: KeyPhase) -> TokenKeyInfo {
    let (phase, retired_at) = match phase {
        KeyPhase::Waiting => (TokenKeyPhase::Waiting, None),
        KeyPhase::Signing => (TokenKeyPhase::Signing, None),
        KeyPhase::Superseded { spent_at } => (TokenKeyPhase::Superseded, Some(spent_at)),
    };
    let from_the_beginning = key.signs_from == UnixMillis::default();
    TokenKeyInfo {
        key_id: key.key_id.clone(),
        phase: phase.into(),
        sign_time: (!from_the_beginning).then(|| convert::timestamp(key.signs_from)),
        retire_time: retired_at.map(convert::timestamp),
    }
}

/// Signs a token for `tenant`.
///
/// # Errors
/// When the scope is missing or the lifetime is too long.
pub(super) fn sign(
    key: &SigningKey,
    tenant: &Tenant,
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
        sub: tenant.uid.to_string(),
        scope,
        iat: issued,
        exp: issued + ttl,
        generation: tenant.token_generation.get(),
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
