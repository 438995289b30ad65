//! What a token costs a request: proved for the first time, found among the proven ones, and refused.
//!
//! `cargo bench -p tenant-node --bench authenticate`: one thread, the layer around an inner service that does nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark: it fails by panicking, and prints"
)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tenant_node::http::body::{Body, full};
use tenant_node::layers::{AuthenticateLayer, Authentication};
use tenant_node::placement::{RoutingTable, SharedRoutingTable};
use tenantry_layers::TenantHint;
use tenantry_layers::clock::SystemClock;
use tenantry_types::{
    Durability, Revision, TenantName, TenantRoute, TenantUid, Tier, TierDefinition, TokenGeneration, TokenKey,
};
use tower::{Layer as _, Service};

/// Fewer than are remembered.
const TOKENS: u64 = 5_000;
const ROUNDS: u32 = 5;
const UID: TenantUid = TenantUid::from_u128(1);

/// Answers at once.
#[derive(Clone)]
struct Nothing;

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(full(String::new()))))
    }
}

fn layer(authentication: Authentication) -> AuthenticateLayer {
    let mut table = RoutingTable::default();
    table.revision = Revision(1);
    table.put_tenant(TenantRoute {
        uid: UID,
        name: TenantName::new("acme").unwrap(),
        domains: Vec::new(),
        placement: None,
        tier: Tier::Small,
        quota: TierDefinition::defaults()[1].quota,
        durability: Durability::Local,
        token_generation: TokenGeneration::ZERO,
    });
    table.set_token_keys(vec![TokenKey {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        public_key: key().verifying_key().to_bytes(),
    }]);
    let clock = Arc::new(SystemClock::start());
    AuthenticateLayer::new(authentication, SharedRoutingTable::new(table), clock)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// As the control plane signs them, each different.
fn tokens() -> Vec<String> {
    let der = key().to_pkcs8_der().unwrap();
    let key = EncodingKey::from_ed_der(der.as_bytes());
    let header = Header {
        kid: Some("0123456789abcdef0123456789abcdef".to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = |number| json!({"sub": UID.to_string(), "scope": "full", "iat": 1_800_000_000, "exp": 4_000_000_000_u64 + number, "gen": 0});
    (0..TOKENS)
        .map(|number| jsonwebtoken::encode(&header, &claims(number), &key).unwrap())
        .collect()
}

fn request(token: &str) -> Request<Body> {
    let mut request = Request::new(full(String::new()));
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    request.headers_mut().insert(AUTHORIZATION, value);
    let hint = TenantHint::Name(TenantName::new("acme").unwrap());
    request.extensions_mut().insert(hint);
    request
}

/// Time for one request, requests made beforehand.
fn each(layer: &AuthenticateLayer, tokens: &[String], expected: u16) -> Duration {
    let mut service = layer.layer(Nothing);
    let requests: Vec<_> = tokens.iter().map(|token| request(token)).collect();
    let mut served = 0_u32;
    let start = Instant::now();
    for request in requests {
        let answer = service.call(request).now_or_never().unwrap().unwrap();
        served += u32::from(answer.status() == expected);
    }
    let taken = start.elapsed();
    assert_eq!(u64::from(served), TOKENS, "each request is answered {expected}");
    taken / served
}

/// The median of several rounds.
fn median(mut round: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let tokens = tokens();
    let forged: Vec<String> = tokens
        .iter()
        .zip(tokens.iter().cycle().skip(1))
        .map(|(one, next)| {
            let body = one.rsplit_once('.').unwrap().0;
            format!("{body}.{}", next.rsplit_once('.').unwrap().1)
        })
        .collect();
    let open = layer(Authentication::Open);
    println!(
        "nobody is asked       {:>8} ns",
        median(|| each(&open, &tokens, 200)).as_nanos()
    );
    let first = median(|| each(&layer(Authentication::Required), &tokens, 200));
    println!("proved, first time    {:>8} ns", first.as_nanos());
    let warm = layer(Authentication::Required);
    each(&warm, &tokens, 200);
    println!(
        "proved before         {:>8} ns",
        median(|| each(&warm, &tokens, 200)).as_nanos()
    );
    println!(
        "signature of another  {:>8} ns",
        median(|| each(&warm, &forged, 401)).as_nanos()
    );
}
