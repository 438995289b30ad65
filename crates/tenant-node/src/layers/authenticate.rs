//! Step 2: may this caller speak for the tenant? Bearer tokens, verified with keys from the placement watch.
//!
//! Must not ask anyone over the network: a token is proved by its signature alone.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use tenantry_types::TenantUid;
use tower::{Layer, Service};

use super::context::Access;
use super::identify::TenantHint;
use super::route::resolve;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::placement::{RoutingTable, SharedRoutingTable};

/// Whether callers must prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Every request needs a valid token of its tenant.
    Required,
    /// Nobody is asked. For development on loopback only.
    Open,
}

/// What a token of ours says.
#[derive(Debug, Deserialize)]
struct Claims {
    /// The tenant's uid, 32 hexadecimal digits.
    sub: String,
    /// `ro` or `full`.
    scope: String,
}

/// Adds [`Authenticate`].
#[derive(Debug, Clone)]
pub struct AuthenticateLayer {
    authentication: Authentication,
    table: SharedRoutingTable,
}

impl AuthenticateLayer {
    /// Verifies with the keys in `table`.
    #[must_use]
    pub const fn new(authentication: Authentication, table: SharedRoutingTable) -> Self {
        Self { authentication, table }
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate {
            settings: self.clone(),
            inner,
        }
    }
}

/// Answers 401 without a valid token and 403 with another tenant's; passes on the others with their [`Access`].
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    settings: AuthenticateLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Authenticate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let access = match self.settings.authentication {
            Authentication::Open => Ok(Access::Full),
            Authentication::Required => {
                let table = self.settings.table.current();
                let tenant = request
                    .extensions()
                    .get::<TenantHint>()
                    .and_then(|hint| resolve(&table, hint));
                verify(request.headers(), &table, tenant.map(|route| route.uid))
            }
        };
        match access {
            Ok(access) => {
                request.extensions_mut().insert(access);
                Either::Right(self.inner.call(request))
            }
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}

/// `tenant` is the one that the request names; an unknown one is refused like another's, so that names don't leak.
fn verify(headers: &HeaderMap, table: &RoutingTable, tenant: Option<TenantUid>) -> Result<Access, Problem> {
    let value = headers
        .get(AUTHORIZATION)
        .ok_or_else(|| unauthenticated("send `Authorization: Bearer TOKEN`"))?;
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthenticated("the Authorization header is not `Bearer TOKEN`"))?;
    let header = jsonwebtoken::decode_header(token).map_err(|_| unauthenticated("the token is malformed"))?;
    let key = header.kid.as_deref().and_then(|kid| table.token_key(kid));
    let key = key.ok_or_else(|| unauthenticated("the token was signed with a key that is not in use"))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "sub"]);
    validation.validate_nbf = true;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(&key.public_key), &validation)
        .map_err(|error| {
            unauthenticated(match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => "the token has expired",
                jsonwebtoken::errors::ErrorKind::InvalidSignature => "the token's signature does not fit",
                _ => "the token does not hold what a tenant's token must hold",
            })
        })?
        .claims;
    let subject = claims
        .sub
        .parse::<TenantUid>()
        .map_err(|_| unauthenticated("the token names no tenant"))?;
    if tenant != Some(subject) {
        let detail = "the token was not made for this tenant";
        return Err(Problem::new(StatusCode::FORBIDDEN, "not-your-tenant", detail));
    }
    match claims.scope.as_str() {
        "ro" => Ok(Access::ReadOnly),
        "full" => Ok(Access::Full),
        _ => Err(unauthenticated("the token's scope is neither `ro` nor `full`")),
    }
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "not-authenticated", detail)
        .with("field", "Authorization")
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use ed25519_dalek::pkcs8::EncodePrivateKey as _;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;
    use tenantry_types::TokenKey;

    use super::*;

    const TENANT: TenantUid = TenantUid::from_u128(1);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn sign(seed: u8, claims: &serde_json::Value) -> String {
        let header = Header {
            kid: Some("k1".into()),
            ..Header::new(Algorithm::EdDSA)
        };
        let der = key(seed).to_pkcs8_der().unwrap();
        encode(&header, claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap()
    }

    fn check(token: Option<&str>) -> Result<Access, StatusCode> {
        let mut table = RoutingTable::default();
        let public_key = key(1).verifying_key().to_bytes();
        table.set_token_keys(vec![TokenKey {
            id: "k1".into(),
            public_key,
        }]);
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.parse().unwrap());
        }
        verify(&headers, &table, Some(TENANT)).map_err(|problem| problem.status())
    }

    fn bearer(seed: u8, tenant: TenantUid, scope: &str, expires: u64) -> String {
        format!(
            "Bearer {}",
            sign(
                seed,
                &json!({"sub": tenant.to_string(), "scope": scope, "exp": expires})
            )
        )
    }

    const FAR: u64 = 32_503_680_000;

    #[test]
    fn a_valid_token_gives_its_scope() {
        assert_eq!(check(Some(&bearer(1, TENANT, "full", FAR))), Ok(Access::Full));
        assert_eq!(check(Some(&bearer(1, TENANT, "ro", FAR))), Ok(Access::ReadOnly));
    }

    #[test]
    fn tokens_that_prove_nothing_are_refused() {
        let other = TenantUid::from_u128(2);
        let no_expiry = format!(
            "Bearer {}",
            sign(1, &json!({"sub": TENANT.to_string(), "scope": "full"}))
        );
        let cases = [
            (None, 401),
            (Some("Basic abc".to_owned()), 401),
            (Some("Bearer".to_owned()), 401),
            (Some("Bearer a.b.c".to_owned()), 401),
            (Some(bearer(2, TENANT, "full", FAR)), 401),
            (Some(bearer(1, TENANT, "full", 1)), 401),
            (Some(bearer(1, TENANT, "root", FAR)), 401),
            (Some(no_expiry), 401),
            (Some(bearer(1, other, "full", FAR)), 403),
        ];
        for (token, status) in cases {
            assert_eq!(check(token.as_deref()).unwrap_err().as_u16(), status, "{token:?}");
        }
    }
}
