//! What a round of samples costs on a node with few and with many tenants, of which equally many are active: the ratio of the
//! times says whether the cost follows the tenants that are registered or what happens.
//!
//! `cargo bench -p tenant-node --bench detection`.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use tenant_node::database::{Databases, DatabasesConfig};
use tenant_node::events::Record;
use tenant_node::http::body::{Body, empty};
use tenant_node::metrics::SampledTenants;
use tenant_node::placement::{RoutingTable, SharedRoutingTable};
use tenant_node::sampler::{RoundOptions, Rounds};
use tenant_node::usage::UsageReader;
use tenantry_layers::clock::{Clock, ManualClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::{QuotaRegistry, RequestLimits};
use tenantry_layers::{ObserveLayer, Tenant};
use tenantry_types::{
    Durability, Epoch, NodeId, Placement, Revision, TenantName, TenantRoute, TenantUid, TierDefinition, TokenGeneration,
};
use tower::{Layer as _, Service};

/// How many tenants a node knows.
const REGISTERED: [u32; 3] = [1_000, 10_000, 100_000];
/// Of these, so many have requests between two rounds.
const ACTIVE: u32 = 500;
const INTERVAL: Duration = Duration::from_secs(10);
/// 2024-01-01, in milliseconds.
const START: u64 = 1_704_067_200_000;

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

/// A node without a disk worth mentioning.
struct Node {
    _data: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    clock: Arc<ManualClock>,
    reader: UsageReader,
    rounds: Rounds,
}

impl Node {
    /// All tenants were active once, and are idle for long.
    fn new(tenants: u32) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let clock = Arc::new(ManualClock::at(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let reader = UsageReader {
            meters: MeterRegistry::new(Arc::clone(&shared)),
            sampled: Arc::new(SampledTenants::new(Duration::from_secs(300), 24)),
            quotas: QuotaRegistry::new(data.path(), Arc::clone(&shared)),
            databases: Databases::open(DatabasesConfig::new(data.path())).expect("databases can be opened"),
            table: SharedRoutingTable::new(table(tenants)),
            clock: shared,
        };
        let options = RoundOptions {
            node: node_id(),
            node_millicores: 2_000,
            interval: INTERVAL,
        };
        let mut node = Self {
            _data: data,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime can be made"),
            clock,
            rounds: Rounds::new(options, reader.clone(), Record::default()),
            reader,
        };
        node.requests(0..tenants);
        node.clock.advance(Duration::from_secs(120));
        for _ in 0..=2 * tenants / 1_000 {
            node.round();
        }
        node
    }

    fn requests(&self, tenants: std::ops::Range<u32>) {
        let layer = ObserveLayer::<Tenant>::new(Arc::clone(&self.reader.meters));
        let mut service = layer.layer(Handler);
        for number in tenants {
            let route = route(number);
            let mut request = Request::new(empty());
            request.extensions_mut().insert(Tenant {
                uid: route.uid,
                limits: RequestLimits::from(&route.quota),
                name: route.name,
            });
            drop(
                self.runtime
                    .block_on(service.call(request))
                    .expect("a layer never fails"),
            );
        }
    }

    fn round(&mut self) {
        self.clock.advance(INTERVAL);
        let round = self.rounds.round();
        self.rounds.accept(&round.proposal.then);
    }
}

fn detection(c: &mut Criterion) {
    let mut group = c.benchmark_group("detection");
    for tenants in REGISTERED {
        let node = std::cell::RefCell::new(Node::new(tenants));
        group.bench_function(BenchmarkId::from_parameter(tenants), |b| {
            b.iter_batched(
                || node.borrow().requests(0..ACTIVE),
                |()| node.borrow_mut().round(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn table(tenants: u32) -> RoutingTable {
    let mut table = RoutingTable::default();
    (0..tenants).for_each(|number| table.put_tenant(route(number)));
    table.revision = Revision(1);
    table
}

fn route(number: u32) -> TenantRoute {
    let tier = TierDefinition::defaults()[1];
    TenantRoute {
        uid: TenantUid::from_u128(u128::from(number) + 1),
        name: TenantName::new(&format!("tenant-{number}")).expect("digits make a valid name"),
        domains: Vec::new(),
        placement: Some(Placement {
            node: node_id(),
            epoch: Epoch(1),
        }),
        tier: tier.tier,
        quota: tier.quota,
        durability: Durability::Local,
        token_generation: TokenGeneration::default(),
    }
}

fn node_id() -> NodeId {
    NodeId::new("node-1").expect("a valid id")
}

criterion_group!(benches, detection);
criterion_main!(benches);
