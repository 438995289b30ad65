//! Rounds over restarts, on a real outbox and a clock moved by hand.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tenantry_layers::clock::ManualClock;
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::{QuotaRegistry, RequestLimits};
use tenantry_layers::{ObserveLayer, Tenant};
use tenantry_types::{Condition, EffectiveQuota, Epoch, Incarnation, Tier};
use tower::{Layer as _, Service as _};

use super::*;
use crate::database::{Databases, DatabasesConfig};
use crate::events::Outbox;
use crate::http::body::{Body, empty};
use crate::metrics::SampledTenants;
use crate::placement::{SharedRoutingTable, table_tests};

const HERE: &str = "node-1";
const HOUR: u64 = 60 * 60;
/// 10:30 of some day.
const START: u64 = (489_010 * HOUR + HOUR / 2) * 1_000;

/// A node with its data folder, which outlives its processes.
struct Machine {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    table: RoutingTable,
    incarnation: u64,
}

/// One process of it.
struct Process {
    rounds: Rounds,
    reader: UsageReader,
    outbox: Arc<Outbox>,
    clock: Arc<ManualClock>,
}

impl Machine {
    fn new(tenants: u128) -> Self {
        let mut table = RoutingTable::default();
        for number in 1..=tenants {
            table.put_tenant(table_tests::route(number, &format!("t{number}"), HERE));
        }
        table.revision = tenantry_types::Revision(1);
        table.cluster_epoch = ClusterEpoch(1);
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(START)),
            table,
            incarnation: 0,
        }
    }

    fn start(&mut self) -> Process {
        self.incarnation += 1;
        let clock: Arc<dyn tenantry_layers::clock::Clock> = self.clock.clone();
        let path = self.folder.path().join("outbox.db");
        let (outbox, record) = Outbox::open(&path, Incarnation(self.incarnation), 10_000).unwrap();
        let reader = UsageReader {
            meters: MeterRegistry::new(Arc::clone(&clock)),
            sampled: Arc::new(SampledTenants::new(Duration::from_secs(300), 24)),
            quotas: QuotaRegistry::new(self.folder.path(), Arc::clone(&clock)),
            databases: Databases::open(DatabasesConfig::new(self.folder.path())).unwrap(),
            table: SharedRoutingTable::default(),
            clock,
        };
        reader.table.replace(Arc::new(self.table.clone()));
        let options = RoundOptions {
            node: NodeId::new(HERE).unwrap(),
            node_millicores: 2_000,
            interval: Duration::from_secs(10),
        };
        Process {
            rounds: Rounds::new(options, reader.clone(), record),
            reader,
            outbox: Arc::new(outbox),
            clock: Arc::clone(&self.clock),
        }
    }
}

impl Process {
    fn change_table(&self, change: impl FnOnce(&mut RoutingTable)) {
        let mut table = RoutingTable::clone(&self.reader.table.current());
        change(&mut table);
        self.reader.table.replace(Arc::new(table));
    }

    /// With limits of nothing, anything is at them.
    fn set_hot(&self, tenant: u128, hot: bool) {
        self.change_table(|table| {
            let mut route = TenantRoute::clone(table.tenant(TenantUid::from_u128(tenant)).unwrap());
            route.quota = table_tests::route(tenant, "any", HERE).quota;
            if hot {
                route.quota = EffectiveQuota {
                    requests_per_day: 0,
                    cpu_millicores: 0,
                    memory_bytes: 0,
                    ..route.quota
                };
            }
            table.put_tenant(route);
        });
    }

    async fn request(&self, tenant: u128, times: u64) {
        let answer = async |_: Request<Body>| -> Result<Response<Body>, Infallible> { Ok(Response::new(empty())) };
        let layer = ObserveLayer::<Tenant>::new(Arc::clone(&self.reader.meters));
        let mut service = layer.layer(tower::service_fn(answer));
        let route = table_tests::route(tenant, &format!("t{tenant}"), HERE);
        for _ in 0..times {
            let mut request = Request::new(empty());
            request.extensions_mut().insert(Tenant {
                uid: route.uid,
                name: route.name.clone(),
                limits: RequestLimits::from(&route.quota),
            });
            drop(service.call(request).await.unwrap());
        }
    }

    /// Ten seconds, a round, and what it changes on disk. The kinds of its events, by tenant.
    async fn round(&mut self) -> Vec<(u128, &'static str)> {
        let (round, kinds) = self.unwritten_round();
        let Proposal { batch, then } = round.proposal;
        if !batch.is_empty() {
            self.outbox.append(batch).await.unwrap();
        }
        self.rounds.accept(&then);
        kinds
    }

    fn unwritten_round(&mut self) -> (Round, Vec<(u128, &'static str)>) {
        self.clock.advance(Duration::from_secs(10));
        let round = self.rounds.round();
        let events = round.proposal.batch.events.iter();
        let kinds = events.map(|event| (event.tenant.map_or(0, TenantUid::as_u128), event.detail.kind()));
        let kinds = kinds.collect();
        (round, kinds)
    }

    async fn rounds(&mut self, times: usize) -> Vec<(u128, &'static str)> {
        let mut all = Vec::new();
        for _ in 0..times {
            all.extend(self.round().await);
        }
        all
    }

    async fn follow(&mut self) {
        for route in self.rounds.to_follow(100) {
            let limits = RequestLimits::from(&route.quota);
            self.reader.quotas.standing(route.uid, &limits).await.unwrap();
            self.rounds.follow(&route);
        }
    }
}

#[tokio::test]
async fn what_was_raised_before_a_crash_is_cleared_once_when_it_is_over_and_not_raised_again() {
    let mut machine = Machine::new(3);
    let mut process = machine.start();
    for tenant in 1..=3 {
        process.request(tenant, 1).await;
        process.set_hot(tenant, tenant < 3);
    }
    let raised = process.rounds(5).await;
    assert_eq!(raised, [(1, "hotspot-raised"), (2, "hotspot-raised")]);
    drop(process);

    // The first is cool by now, without a request; the second is still hot.
    let mut process = machine.start();
    process.set_hot(2, true);
    assert_eq!(process.rounds(3).await, [], "not before its ledger is read");
    process.follow().await;
    assert_eq!(process.rounds(6).await, [(1, "hotspot-cleared")]);
    drop(process);
    let mut process = machine.start();
    process.set_hot(2, true);
    process.follow().await;
    assert_eq!(process.rounds(6).await, []);
}

#[tokio::test]
async fn a_change_that_was_not_written_is_found_again_until_it_is() {
    let mut machine = Machine::new(1);
    let mut process = machine.start();
    process.request(1, 1).await;
    process.set_hot(1, true);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(process.unwritten_round().1);
    }
    assert_eq!(seen, [(1, "hotspot-raised"); 3]);
    assert_eq!(process.rounds(3).await, [(1, "hotspot-raised")]);
    // While nothing could be written, it was over: nothing is told, since nothing was.
    process.set_hot(1, false);
    process.unwritten_round();
    process.unwritten_round();
    process.set_hot(1, true);
    assert_eq!(process.rounds(3).await, []);
}

#[tokio::test]
async fn a_spike_is_one_against_the_norm_that_was_learned_before_a_restart() {
    let mut machine = Machine::new(1);
    let mut process = machine.start();
    process.request(1, 1).await;
    // 28 hours with 60 requests each: one a minute. Its tier is for more, which a day of it tells.
    let mut told = Vec::new();
    for _ in 0..28 {
        for _ in 0..60 {
            process.request(1, 1).await;
            told.extend(process.rounds(6).await);
        }
    }
    assert_eq!(told, [(1, "class-changed")]);
    drop(process);
    let mut process = machine.start();
    for _ in 0..2 {
        process.request(1, 59).await;
        assert_eq!(process.round().await, []);
        // A minute later these are no more.
        process.clock.advance(Duration::from_secs(60));
    }
    process.request(1, 70).await;
    assert_eq!(process.rounds(2).await, [(1, "spike-raised")]);
    drop(process);
    let mut process = machine.start();
    process.follow().await;
    assert_eq!(process.rounds(8).await, [(1, "spike-cleared")]);
    // A clock that is wrong claims none.
    process.clock.jump_wall(400 * 24 * 3_600_000);
    process.request(1, 700).await;
    assert_eq!(process.rounds(4).await, []);
}

#[tokio::test]
async fn a_fall_that_began_before_a_restart_ends_when_its_day_is_over() {
    let mut machine = Machine::new(1);
    let mut process = machine.start();
    process.request(1, 1).await;
    // 200 MiB make it large; what the file takes on disk does not matter.
    let folder = machine
        .folder
        .path()
        .join("tenants")
        .join(TenantUid::from_u128(1).to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("db.sqlite")).unwrap();
    file.set_len(200 << 20).unwrap();
    process.rounds(2).await;
    file.set_len(1).unwrap();
    process.rounds(2).await;
    drop(process);
    machine.clock.advance(Duration::from_secs(23 * HOUR));
    let mut process = machine.start();
    process.follow().await;
    assert_eq!(process.rounds(2).await, []);
    process.clock.advance(Duration::from_secs(HOUR));
    let (round, kinds) = process.unwritten_round();
    assert_eq!(kinds, [(1, "class-changed")]);
    assert_eq!(round.samples[0].usage.observed_class, Tier::Micro);
}

#[tokio::test]
async fn a_tenant_that_left_is_forgotten_on_disk_and_one_that_came_back_is_measured_anew() {
    let mut machine = Machine::new(2);
    let mut process = machine.start();
    for tenant in 1..=2 {
        process.request(tenant, 1).await;
        process.set_hot(tenant, true);
    }
    assert_eq!(process.rounds(2).await.len(), 2);
    process.change_table(|table| table.put_tenant(table_tests::route(2, "t2", "node-2")));
    // Between two rounds the first was elsewhere.
    process.change_table(|table| {
        let mut route = TenantRoute::clone(table.tenant(TenantUid::from_u128(1)).unwrap());
        route.placement.as_mut().unwrap().epoch = Epoch(3);
        table.put_tenant(route);
    });
    let (round, kinds) = process.unwritten_round();
    assert_eq!((kinds, &round.gone), (vec![], &vec![TenantUid::from_u128(2)]));
    assert_eq!(process.rounds(1).await, [(1, "hotspot-raised")]);
    drop(process);
    let path = machine.folder.path().join("outbox.db");
    let (_, record) = Outbox::open(&path, Incarnation(9), 100).unwrap();
    let raised: Vec<_> = record
        .tenants
        .iter()
        .map(|(uid, kept)| (uid.as_u128(), kept.raised.clone()))
        .collect();
    assert_eq!(raised, [(1, vec![Condition::Hotspot])]);
}

#[tokio::test]
async fn a_restored_control_plane_is_noticed_and_moves_nobody() {
    let mut machine = Machine::new(1);
    let mut process = machine.start();
    process.request(1, 1).await;
    process.set_hot(1, true);
    assert_eq!(process.rounds(2).await.len(), 1);
    process.change_table(|table| {
        table.cluster_epoch = ClusterEpoch(2);
        let mut route = TenantRoute::clone(table.tenant(TenantUid::from_u128(1)).unwrap());
        let floor = ClusterEpoch(2).placement_floor().get();
        route.placement.as_mut().unwrap().epoch = Epoch(floor + 1);
        table.put_tenant(route);
    });
    let (round, kinds) = process.unwritten_round();
    assert!(round.control_plane_restored && kinds.is_empty(), "{kinds:?}");
    let (round, kinds) = process.unwritten_round();
    assert!(!round.control_plane_restored && kinds.is_empty(), "{kinds:?}");
}

#[tokio::test]
async fn refused_records_are_told_when_there_are_some_and_when_there_are_none_also_across_a_restart() {
    let refuse = |table: &mut RoutingTable| {
        table.refuse_tenant("nonsense", 1, None);
        table.tell_of_refused(&format!("tenant \"{}\": tier is unknown", "é".repeat(500)));
    };
    let mut machine = Machine::new(1);
    let mut process = machine.start();
    assert_eq!(process.rounds(2).await, []);
    process.change_table(refuse);
    let (round, kinds) = process.unwritten_round();
    assert_eq!(kinds, [(0, "config-refused")]);
    let EventDetail::ConfigRefused { records, example } = &round.proposal.batch.events[0].detail else {
        panic!("{round:?}");
    };
    assert!(
        *records == 1 && example.len() <= 300 && example.starts_with("tenant \"é"),
        "{example}"
    );
    assert_eq!(process.rounds(3).await, [(0, "config-refused")]);
    drop(process);
    refuse(&mut machine.table);
    let mut process = machine.start();
    assert_eq!(process.rounds(2).await, []);
    process.change_table(|table| table.forget_refused_tenant("nonsense"));
    assert_eq!(process.rounds(3).await, [(0, "config-accepted")]);
}

#[tokio::test]
async fn a_round_samples_a_bounded_number_and_comes_around_to_everybody() {
    let mut machine = Machine::new(4_500);
    let mut process = machine.start();
    for tenant in 1..=4_500 {
        process.request(tenant, 1).await;
    }
    // One that is idle is hot: it is found when its turn comes.
    process.set_hot(4_400, true);
    let mut seen = BTreeSet::new();
    let mut raised = Vec::new();
    for _ in 0..12 {
        let (round, kinds) = process.unwritten_round();
        let Proposal { batch, then } = round.proposal;
        process.outbox.append(batch).await.unwrap();
        process.rounds.accept(&then);
        assert!(round.samples.len() <= 256 + 2_000, "{}", round.samples.len());
        seen.extend(round.samples.iter().map(|sample| sample.usage.tenant));
        raised.extend(kinds);
    }
    assert_eq!(seen.len(), 4_500);
    assert_eq!(raised, [(4_400, "hotspot-raised")]);
}

#[tokio::test]
async fn a_running_sampler_tells_a_condition_once_and_keeps_it() {
    let mut machine = Machine::new(2);
    let process = machine.start();
    process.request(1, 3).await;
    process.request(2, 1).await;
    process.set_hot(1, true);
    let interval = Duration::from_millis(1);
    let latest = crate::latest_usage::LatestUsage::default();
    let exposition = Arc::new(crate::metrics::Exposition::new(10, Duration::from_secs(60)).unwrap());
    let sampler = super::super::Sampler {
        reader: process.reader.clone(),
        exposition: Arc::clone(&exposition),
        outbox: Arc::clone(&process.outbox),
        latest: latest.clone(),
        interval,
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let clock = Arc::clone(&process.clock);
    let running = tokio::spawn(sampler.run(process.rounds, stop.clone()));
    let mut pending = process.outbox.pending();
    pending.wait_for(|count| *count == 1).await.unwrap();
    // Some more rounds, all of them hot.
    for _ in 0..5 {
        let before = latest.report(9);
        clock.advance(Duration::from_secs(10));
        while latest.report(9) == before {
            tokio::time::sleep(interval).await;
        }
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(*pending.borrow(), 1);
    assert_eq!(latest.report(9).len(), 2);
    let text = exposition.render();
    assert!(
        text.contains("tenantry_tenant_requests_total{tenant=\"t1\",class=\"2xx\"} 3"),
        "{text}"
    );
    assert!(text.contains("tenantry_node_sampled_tenants 2"), "{text}");
    process.outbox.close();
    process.reader.databases.close_all().await;
    // Both, since both use less than their tier is for, and may fall.
    let mut rounds = machine.start().rounds;
    assert_eq!(rounds.to_follow(9).len(), 2);
}
