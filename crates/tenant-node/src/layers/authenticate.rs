//! Step 2: may this caller speak for the tenant? Bearer tokens, verified with keys from the placement watch.
//!
//! Must not ask anyone over the network: a token is proved by its signature alone. That is checked once for each token and
//! remembered; the time, the keys in use and what is revoked are looked at in every request.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use tenantry_types::{TenantRoute, UnixMillis};
use tower::{Layer, Service};

use super::context::Access;
use super::destination::routing_table_missing;
use super::route::resolve;
use super::token::{ProvenToken, TokenError, prove};
use super::token_cache::TokenCache;
use crate::http::body::Body;
use crate::http::problem::{IntoAnswer as _, Problem};
use crate::placement::{RoutingTable, SharedRoutingTable};
use tenantry_layers::TenantHint;
use tenantry_layers::clock::Clock;

/// How far a node's clock may be behind that of whoever dated a token's `nbf`. There is no such grace at the other end: a
/// token is refused from its `exp` on, by this node's clock.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// Whether callers must prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Every request needs a valid token of its tenant.
    Required,
    /// Nobody is asked. For development on loopback only.
    Open,
}

/// Adds [`Authenticate`].
#[derive(Clone)]
pub struct AuthenticateLayer {
    authentication: Authentication,
    table: SharedRoutingTable,
    clock: Arc<dyn Clock>,
    proven: Arc<TokenCache>,
}

impl AuthenticateLayer {
    /// Verifies with the keys in `table`, at the wall time of `clock`.
    #[must_use]
    pub fn new(authentication: Authentication, table: SharedRoutingTable, clock: Arc<dyn Clock>) -> Self {
        Self {
            authentication,
            table,
            clock,
            proven: Arc::new(TokenCache::new()),
        }
    }

    /// What the caller may do. `hint` says which tenant it names; one that is unknown is refused like another's, so that
    /// names don't leak.
    fn access(&self, headers: &HeaderMap, hint: Option<&TenantHint>) -> Result<Access, Problem> {
        if self.authentication == Authentication::Open {
            return Ok(Access::Full);
        }
        let table = self.table.current();
        let text = bearer(headers)?;
        // It has no keys either: that a token is not known here says nothing of the token.
        if table.is_empty() {
            return Err(routing_table_missing());
        }
        let token = self
            .proven
            .get_or_prove(text, || prove(text, table.token_keys()))
            .map_err(proves_nothing)?;
        let tenant = hint.and_then(|hint| resolve(&table, hint));
        judge(&token, &table, tenant.map(Arc::as_ref), self.clock.now().wall)
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

/// Answers 401 without a valid token, 403 with another tenant's, and 503 while there is no table to judge it by; passes on the others with their [`Access`].
#[derive(Clone)]
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
        match self.settings.access(request.headers(), request.extensions().get()) {
            Ok(access) => {
                request.extensions_mut().insert(access);
                Either::Right(self.inner.call(request))
            }
            Err(problem) => Either::Left(ready(Ok(problem.into_answer()))),
        }
    }
}

/// Whether a proven token counts for `tenant` at this moment.
fn judge(
    token: &ProvenToken,
    table: &RoutingTable,
    tenant: Option<&TenantRoute>,
    now: UnixMillis,
) -> Result<Access, Problem> {
    if !table.token_keys().iter().any(|key| key.public_key == token.signed_by) {
        return Err(proves_nothing(TokenError::UnknownKey));
    }
    let seconds = now.0 / 1_000;
    if seconds >= token.expires_at {
        return Err(unauthenticated("not-authenticated", "the token has expired"));
    }
    if seconds.saturating_add(CLOCK_SKEW_SECONDS) < token.not_before {
        return Err(unauthenticated("not-authenticated", "the token is not good yet"));
    }
    let Some(tenant) = tenant.filter(|tenant| tenant.uid == token.subject) else {
        let detail = "the token was not made for this tenant";
        return Err(Problem::new(StatusCode::FORBIDDEN, "not-your-tenant", detail).of_a_stranger());
    };
    // A later one was signed by a control plane that is ahead of this node's table.
    if token.generation < tenant.token_generation {
        let detail = "the token is revoked, as all tokens are that this tenant had before";
        return Err(unauthenticated("token-revoked", detail));
    }
    Ok(token.access)
}

/// The text after `Bearer`.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let refused = |detail| unauthenticated("not-authenticated", detail);
    let value = headers
        .get(AUTHORIZATION)
        .ok_or_else(|| refused("send `Authorization: Bearer TOKEN`"))?;
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| refused("the Authorization header is not `Bearer TOKEN`"))
}

fn proves_nothing(error: TokenError) -> Problem {
    let kind = match error {
        TokenError::UnknownKey => "token-key-unknown",
        _ => "not-authenticated",
    };
    unauthenticated(kind, &error.to_string())
}

fn unauthenticated(kind: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, kind, detail)
        .with("field", "Authorization")
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        .of_a_stranger()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tenantry_types::{Revision, TenantName, TenantUid, TokenGeneration};

    use super::*;
    use crate::layers::token::tests::{key, signed};
    use crate::placement::table_tests::route;
    use tenantry_layers::clock::ManualClock;

    /// When the tests happen, in seconds since 1970.
    const NOW: u64 = 10_000;

    /// A layer that knows the tenant `acme` and the keys `numbers`, and its clock.
    struct Door {
        layer: AuthenticateLayer,
        clock: Arc<ManualClock>,
    }

    impl Door {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(NOW * 1_000));
            let door = Self {
                layer: AuthenticateLayer::new(Authentication::Required, SharedRoutingTable::default(), clock.clone()),
                clock,
            };
            door.change(|table| {
                table.revision = Revision(1);
                table.put_tenant(route(1, "acme", "node-1"));
                table.set_token_keys(vec![key(1)]);
            });
            door
        }

        fn change(&self, change: impl FnOnce(&mut RoutingTable)) {
            let mut table = RoutingTable::clone(&self.layer.table.current());
            change(&mut table);
            self.layer.table.replace(Arc::new(table));
        }

        fn revoke(&self, generation: u64) {
            self.change(|table| {
                table.put_tenant(TenantRoute {
                    token_generation: TokenGeneration(generation),
                    ..route(1, "acme", "node-1")
                });
            });
        }

        /// The access, or status and kind of the refusal.
        fn ask(&self, header: Option<&str>, tenant: &str) -> Result<Access, (u16, &'static str)> {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            let hint = TenantHint::Name(TenantName::new(tenant).unwrap());
            self.layer
                .access(&headers, Some(&hint))
                .map_err(|problem| (problem.status().as_u16(), problem.kind()))
        }

        fn with(&self, token: &str) -> Result<Access, (u16, &'static str)> {
            self.ask(Some(&format!("Bearer {token}")), "acme")
        }
    }

    fn claims(generation: u64, scope: &str, expires: u64) -> Value {
        json!({"sub": TenantUid::from_u128(1).to_string(), "scope": scope, "exp": expires, "gen": generation})
    }

    #[test]
    fn a_valid_token_gives_its_scope() {
        let door = Door::new();
        for (scope, access) in [("full", Access::Full), ("ro", Access::ReadOnly)] {
            let token = signed(1, &claims(0, scope, NOW + 60));
            assert_eq!(door.with(&token), Ok(access));
            assert_eq!(door.with(&token), Ok(access), "from the cache");
            assert_eq!(door.ask(Some(&format!("bearer  {token}")), "acme"), Ok(access));
        }
    }

    #[test]
    fn tokens_that_prove_nothing_are_refused() {
        let door = Door::new();
        let good = format!("Bearer {}", signed(1, &claims(0, "full", NOW + 60)));
        let nothing = Err((401, "not-authenticated"));
        let cases = [
            (None, "acme", nothing),
            (Some("Basic abc"), "acme", nothing),
            (Some("Bearer"), "acme", nothing),
            (Some("Bearer a.b.c"), "acme", nothing),
            (Some(good.as_str()), "other", Err((403, "not-your-tenant"))),
            (Some(good.as_str()), "acme", Ok(Access::Full)),
        ];
        for (header, tenant, expected) in cases {
            assert_eq!(door.ask(header, tenant), expected, "{header:?} {tenant}");
        }
        let unknown = signed(2, &claims(0, "full", NOW + 60));
        assert_eq!(door.with(&unknown), Err((401, "token-key-unknown")));
    }

    #[test]
    fn a_token_is_refused_from_its_expiry_on_to_the_second() {
        let door = Door::new();
        let token = signed(1, &claims(0, "full", NOW + 5));
        door.clock.advance(Duration::from_millis(4_999));
        assert_eq!(door.with(&token), Ok(Access::Full));
        door.clock.advance(Duration::from_millis(1));
        assert_eq!(door.with(&token), Err((401, "not-authenticated")));
        let never_seen = signed(1, &claims(0, "ro", NOW + 5));
        assert_eq!(door.with(&never_seen), Err((401, "not-authenticated")));
    }

    #[test]
    fn a_token_that_begins_later_is_taken_a_minute_early_for_the_sake_of_slow_clocks() {
        let door = Door::new();
        let mut claims = claims(0, "full", NOW + 600);
        claims["nbf"] = json!(NOW + CLOCK_SKEW_SECONDS + 1);
        let token = signed(1, &claims);
        assert_eq!(door.with(&token), Err((401, "not-authenticated")));
        door.clock.advance(Duration::from_secs(1));
        assert_eq!(door.with(&token), Ok(Access::Full));
    }

    #[test]
    fn a_revocation_reaches_tokens_that_were_proved_before_it() {
        let door = Door::new();
        let (old, new) = (
            signed(1, &claims(3, "full", NOW + 60)),
            signed(1, &claims(4, "full", NOW + 60)),
        );
        door.revoke(3);
        assert_eq!(door.with(&old), Ok(Access::Full));
        // Signed after a revocation that this node has not heard of yet.
        assert_eq!(door.with(&new), Ok(Access::Full));
        door.revoke(4);
        assert_eq!(door.with(&old), Err((401, "token-revoked")));
        assert_eq!(door.with(&new), Ok(Access::Full));
    }

    #[test]
    fn a_key_that_is_taken_out_takes_its_proved_tokens_along_and_leaves_the_others() {
        let door = Door::new();
        let (old, new) = (
            signed(1, &claims(0, "full", NOW + 60)),
            signed(2, &claims(0, "full", NOW + 60)),
        );
        assert_eq!(door.with(&old), Ok(Access::Full));
        assert_eq!(door.with(&new), Err((401, "token-key-unknown")));
        door.change(|table| table.set_token_keys(vec![key(1), key(2)]));
        assert_eq!((door.with(&old), door.with(&new)), (Ok(Access::Full), Ok(Access::Full)));
        door.change(|table| table.set_token_keys(vec![key(2)]));
        assert_eq!(door.with(&old), Err((401, "token-key-unknown")));
        assert_eq!(door.with(&new), Ok(Access::Full));
    }
}
