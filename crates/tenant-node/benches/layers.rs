//! What each layer costs alone: one request through it, to a handler that answers at once. `empty` is that handler without
//! a layer; take it off the others.
//!
//! `cargo bench -p tenant-node --bench layers`. How much of a server's rate the layers cost together is
//! `cargo xtask bench data-plane --only layers`.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, Response};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mutual_tls::Security;
use parking_lot::Mutex;
use tenant_node::http::body::{Body, empty};
use tenant_node::layers::{
    AuthenticateLayer, Authentication, Forwarder, Ingress, IngressLayer, RouteLayer, TenantContext,
};
use tenant_node::placement::{RoutingTable, SharedRoutingTable};
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::QuotaRegistry;
use tenantry_layers::{AdmitLayer, IdentifyLayer, ObserveLayer, TENANT_HEADER};
use tenantry_types::{
    Durability, EffectiveQuota, Epoch, NodeId, Placement, QuotaOverrides, Revision, TenantName, TenantRoute, TenantUid,
    TierDefinition, TokenGeneration, TokenKey,
};
use tower::{Layer, Service};

/// As many as a node serves.
const TENANTS: u32 = 10_000;
/// Whose requests are measured.
const TENANT: u32 = 4_321;
/// 3000-01-01, in seconds.
const EXPIRY: u64 = 32_503_680_000;

/// Answers at once.
#[derive(Clone)]
struct Handler;

impl Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(empty())))
    }
}

/// What the layers are built from.
struct Node {
    runtime: tokio::runtime::Runtime,
    table: SharedRoutingTable,
    clock: Arc<dyn Clock>,
    _data: tempfile::TempDir,
    quotas: Arc<QuotaRegistry>,
}

impl Node {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime can be made"),
            table: SharedRoutingTable::new(table()),
            quotas: QuotaRegistry::new(data.path(), Arc::clone(&clock)),
            clock,
            _data: data,
        }
    }

    fn identify(&self) -> IdentifyLayer {
        IdentifyLayer::new("localhost")
    }

    fn authenticate(&self, authentication: Authentication) -> AuthenticateLayer {
        AuthenticateLayer::new(authentication, self.table.clone(), Arc::clone(&self.clock))
    }

    fn route(&self) -> RouteLayer {
        RouteLayer::new(node_id(), self.table.clone(), Forwarder::new(Security::Plain))
    }

    fn observe(&self) -> ObserveLayer<TenantContext> {
        ObserveLayer::new(MeterRegistry::new(Arc::clone(&self.clock)))
    }

    fn admit(&self) -> AdmitLayer<TenantContext> {
        AdmitLayer::new(Arc::clone(&self.quotas), Arc::clone(&self.clock))
    }

    /// The request as it is behind `layer`.
    fn behind<L, S, B>(&self, layer: &L, request: Request<Body>) -> Request<Body>
    where
        L: Layer<Catch, Service = S>,
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    {
        let caught = Catch::default();
        let answered = self.runtime.block_on(layer.layer(caught.clone()).call(request));
        drop(answered.expect("a layer never fails"));
        let caught = caught.0.lock().take();
        caught.expect("the layer let the request through")
    }
}

/// Keeps the request that it is given.
#[derive(Clone, Default)]
struct Catch(Arc<Mutex<Option<Request<Body>>>>);

impl Service<Request<Body>> for Catch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        *self.0.lock() = Some(request);
        std::future::ready(Ok(Response::new(empty())))
    }
}

fn layers(criterion: &mut Criterion) {
    let node = Node::new();
    // The quota ledger is loaded by the first request, off the measured path.
    let identified = || node.behind(&node.identify(), plain());
    let authenticated = || node.behind(&node.authenticate(Authentication::Open), identified());
    let routed = || node.behind(&node.route(), authenticated());
    let first = node.runtime.block_on(node.admit().layer(Handler).call(routed()));
    assert!(first.expect("a layer never fails").status().is_success());

    measure(criterion, "empty", Handler, plain());
    measure(criterion, "ingress", IngressLayer.layer(Handler), plain());
    measure(criterion, "identify, host", node.identify().layer(Handler), plain());
    measure(
        criterion,
        "identify, header",
        node.identify().layer(Handler),
        with_header(),
    );
    let open = node.authenticate(Authentication::Open).layer(Handler);
    measure(criterion, "authenticate, open", open, identified());
    let mut with_token = identified();
    let token = format!("Bearer {}", token()).parse().expect("a token is plain ASCII");
    with_token.headers_mut().insert(AUTHORIZATION, token);
    let required = node.authenticate(Authentication::Required).layer(Handler);
    measure(criterion, "authenticate, token", required, with_token);
    measure(criterion, "route, here", node.route().layer(Handler), authenticated());
    measure(criterion, "observe", node.observe().layer(Handler), routed());
    measure(criterion, "admit, allowed", node.admit().layer(Handler), routed());
}

/// `request` through `service` until its answer is dropped, which gives back what it was granted. Making the request is not
/// part of it.
fn measure<S, B>(criterion: &mut Criterion, name: &str, mut service: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    let (parts, _) = request.into_parts();
    criterion.bench_function(name, |bencher| {
        bencher.iter_batched(
            || Request::from_parts(parts.clone(), empty()),
            |request| {
                let mut future = std::pin::pin!(service.call(request));
                match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(response)) => {
                        assert!(response.status().is_success(), "{}", response.status());
                    }
                    Poll::Pending => unreachable!("nothing in the layers waits once the ledger is loaded"),
                }
            },
            BatchSize::SmallInput,
        );
    });
}

/// As a connection hands it to the stack.
fn plain() -> Request<Body> {
    let host = format!("{}.localhost:8401", name(TENANT));
    let mut request = Request::post("/v2/pipeline")
        .header(HOST, host)
        .header("content-type", "application/json")
        .header("user-agent", "bench")
        .body(empty())
        .expect("the request is well-formed");
    request.extensions_mut().insert(Ingress::Public);
    request
}

fn with_header() -> Request<Body> {
    let mut request = plain();
    let value = name(TENANT).as_str().parse().expect("a name is plain ASCII");
    request.headers_mut().insert(TENANT_HEADER, value);
    request
}

fn table() -> RoutingTable {
    let mut table = RoutingTable::default();
    table.revision = Revision(1);
    let definitions = TierDefinition::defaults();
    let quota = definitions[4].quota;
    for number in 0..TENANTS {
        table.put_tenant(TenantRoute {
            uid: uid(number),
            name: name(number),
            domains: Vec::new(),
            placement: Some(Placement {
                node: node_id(),
                epoch: Epoch(1),
            }),
            tier: definitions[4].tier,
            quota: unlimited(quota),
            durability: Durability::Local,
            token_generation: TokenGeneration::default(),
        });
    }
    table.set_token_keys(vec![TokenKey {
        id: "bench".to_owned(),
        public_key: key().verifying_key().to_bytes(),
    }]);
    table
}

fn unlimited(quota: EffectiveQuota) -> EffectiveQuota {
    quota.overlaid(&QuotaOverrides {
        requests_per_day: Some(1_000_000_000_000),
        concurrent_requests: Some(100_000),
        ..QuotaOverrides::default()
    })
}

fn node_id() -> NodeId {
    NodeId::new("bench").expect("a valid id")
}

fn name(number: u32) -> TenantName {
    TenantName::new(&format!("t-{number}")).expect("a valid name")
}

const fn uid(number: u32) -> TenantUid {
    TenantUid::from_u128(number as u128 + 1)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn token() -> String {
    let header = Header {
        kid: Some("bench".to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let claims = serde_json::json!({ "sub": uid(TENANT).to_string(), "scope": "full", "exp": EXPIRY });
    let private_key = key().to_pkcs8_der().expect("an Ed25519 key has a DER form");
    encode(&header, &claims, &EncodingKey::from_ed_der(private_key.as_bytes())).expect("claims can be signed")
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = layers
}
criterion_main!(benches);
