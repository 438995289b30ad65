//! What 100,000 tenants cost a member: memory, snapshot out and in, a ranking of all, and the routing watch of 300 nodes.
//!
//! `cargo bench -p control-plane --bench scale -- [memory] [snapshot] [ranking] [watch]`; without arguments all of them. Figures are of
//! the machine that it runs on, and printed, never asserted. Beside the time that passed stands the CPU time that this
//! process took, which other work on the machine does not stretch. The watchers of `watch` run in this process, too, each
//! over a connection of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement: it fails by panicking and prints its figures"
)]

mod ranking;
mod watch;

use std::time::{Duration, Instant};

use control_plane::codec;
use control_plane::watch::RoutingView;
use tenantry_state::strategies::initialize;
use tenantry_state::{Command, Envelope, Fingerprint, Request, Rules, State, apply};
use tenantry_types::{
    ByteSize, DomainName, Durability, Incarnation, Labels, MemberId, NodeCapacity, NodeEndpoints, NodeId, NodeSpec,
    QuotaOverrides, RequestId, Revision, TenantName, TenantSpec, TenantUid, Tier, TierPolicy, UnixMillis,
};

const TENANTS: u64 = 100_000;
const NODES: u64 = 300;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    if wants("memory") {
        memory();
    }
    if wants("snapshot") {
        snapshot();
    }
    if wants("ranking") {
        ranking::run();
    }
    if wants("watch") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(watch::run());
    }
}

/// Resident bytes of this process, on a machine with pages of 4 KiB.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Time that passed, and CPU time of this process.
#[derive(Clone, Copy)]
struct Took {
    passed: Duration,
    cpu: Duration,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2?} ({:.2?} CPU)", self.passed, self.cpu)
    }
}

struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn took(&self) -> Took {
        Took {
            passed: self.0.elapsed(),
            cpu: cpu() - self.1,
        }
    }
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let watch = Stopwatch::start();
    let made = work();
    (made, watch.took())
}

fn envelope(index: u64, request: Option<u64>, command: Command) -> Envelope {
    Envelope {
        rules: Rules::default(),
        now: UnixMillis(1_790_000_000_000 + index),
        proposed_by: MemberId::new(1).unwrap(),
        request: request.map(|id| Request {
            id: RequestId::from_u128(u128::from(id) << 64 | 7),
            fingerprint: Fingerprint(id),
        }),
        command,
    }
}

fn node_id(number: u64) -> NodeId {
    NodeId::new(&format!("node-{number:03}")).unwrap()
}

/// Three labels, and a domain for one tenant in ten.
fn spec(number: u64) -> TenantSpec {
    let pairs = [
        ("plan".to_owned(), format!("plan-{}", number % 7)),
        ("region".to_owned(), "eu-central".to_owned()),
        (
            "owner".to_owned(),
            format!("team-{}@customer-{number}.example", number % 40),
        ),
    ];
    TenantSpec {
        tier: Tier::ALL[usize::try_from(number % 5).unwrap()],
        tier_policy: TierPolicy::Pinned,
        quota: QuotaOverrides::default(),
        durability: Durability::Local,
        labels: Labels::new(pairs.into_iter().collect()).unwrap(),
        domains: number
            .is_multiple_of(10)
            .then(|| DomainName::new(&format!("db.customer-{number}.example")).unwrap())
            .into_iter()
            .collect(),
    }
}

fn create(number: u64) -> Command {
    Command::CreateTenant {
        // As spread as random uids are.
        uid: TenantUid::from_u128(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        name: TenantName::new(&format!("customer-{number}")).unwrap(),
        spec: spec(number),
        node: Some(node_id(number % NODES)),
    }
}

/// The commands that make the cluster, one after the other.
fn history() -> impl Iterator<Item = Envelope> {
    let nodes = (0..NODES).map(|number| {
        let endpoints = NodeEndpoints {
            data: format!("10.0.{}.{}:8400", number / 250, number % 250),
            peer: format!("10.0.{}.{}:8420", number / 250, number % 250),
            ops: format!("10.0.{}.{}:8410", number / 250, number % 250),
        };
        Command::RegisterNode {
            id: node_id(number),
            incarnation: Incarnation(1),
            spec: NodeSpec {
                endpoints,
                capacity: NodeCapacity {
                    max_tenants: 10_000,
                    disk: ByteSize(1 << 40),
                },
                zone: format!("zone-{}", number % 3),
                labels: Labels::default(),
            },
            record_since: None,
        }
    });
    let first = std::iter::once(initialize(1))
        .chain(nodes)
        .map(|command| (None, command));
    let tenants = (0..TENANTS).map(|number| (Some(number), create(number)));
    (1..)
        .zip(first.chain(tenants))
        .map(|(index, (request, command))| envelope(index, request, command))
}

fn build() -> State {
    let mut state = State::new();
    for (index, envelope) in (1..).map(Revision).zip(history()) {
        apply(&mut state, index, envelope).outcome.unwrap();
    }
    state
}

fn memory() {
    let before = resident();
    let (state, took) = timed(build);
    let of_state = resident() - before;
    let view = RoutingView::of(&state);
    let whole = resident() - before;
    println!(
        "memory: {TENANTS} tenants, {} kept answers, built in {took}",
        tenantry_state::MAX_REQUESTS
    );
    println!(
        "  state                {:>6.0} bytes a tenant",
        of_state as f64 / TENANTS as f64
    );
    println!(
        "  state, routing view  {:>6.0} bytes a tenant",
        whole as f64 / TENANTS as f64
    );
    drop((state, view));
}

fn snapshot() {
    let state = build();
    let mut bytes = Vec::new();
    let ((), wrote) = timed(|| codec::write_state(&state, &mut bytes).unwrap());
    let (restored, read) = timed(|| codec::read_state(&mut bytes.as_slice()).unwrap());
    let (check, checked) = timed(|| restored.check());
    check.unwrap();
    let (_, viewed) = timed(|| RoutingView::of(&restored));
    println!("snapshot: {TENANTS} tenants, {} bytes", bytes.len());
    println!("  write_state {wrote}, read_state {read} (a full check beside it: {checked}), routing view {viewed}");
}
