//! Series for Prometheus: those of tenants under `tenantry_tenant_` with the label `tenant`, those of the node under
//! `tenantry_node_`.
//!
//! The sampler publishes; nothing on the request path touches a series. The series live in a recorder of their own,
//! because theirs go away when they are not published for `idle_timeout` (closed tenants; node series, should the sampler
//! die), and that must not hit series that other code records once and keeps a handle of: the exporter drops an idle
//! series even while a handle of it exists, and what is recorded into such a handle is lost. For the same reason no
//! handle is kept here.
//!
//! A round brings fresh samples of some tenants; of the others the last ones still count. So a publication costs what was
//! sampled and what has series, however many tenants there are.
//!
//! Above `tenant_limit` the busiest tenants of the last hour keep their series and the others are summed into the tenant
//! `_other`, where a sum makes sense. What is counted goes to whichever series a tenant has at that moment, as the growth
//! since the last publication: no total ever falls, and the sum over all series is always true. A histogram of a tenant
//! without traffic goes away like that of a closed one, and begins anew with the next request.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;
use parking_lot::Mutex;
use tenantry_layers::meter::{AnswerClass, ClassCounts, MeterRegistry, ResponseHistogram, UPPER_BOUNDS_SECONDS};
use tenantry_layers::quota::{Policy, QuotaRegistry};
use tenantry_types::{GrowthRate, TenantUid};

use super::descriptions;
use super::sampled::Sample;

/// The tenant that stands for all without series of their own. No tenant can have that name.
const OTHER: &str = "_other";
/// How much busier a tenant must be to take the series of another, so that equals do not swap at every sample.
const TAKE_OVER_FACTOR: u64 = 2;

/// Figures of the node that are published beside the tenants'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// Tenants whose database is open.
    pub open_tenants: u64,
    /// Tenants whose quota is in memory.
    pub quota_tenants: u64,
    /// Requests of all tenants being served.
    pub concurrent_requests: u64,
    /// Answers since the start.
    pub answers: ClassCounts,
    /// Requests refused by each limit since the start, in the order of [`Policy::ALL`].
    pub refusals: [u64; 3],
    /// Quota ledgers written since the start.
    pub ledger_writes: u64,
    /// Quota ledgers that could not be read or written.
    pub ledger_failures: u64,
    /// Quota ledgers that did not parse.
    pub corrupt_ledgers: u64,
    /// Quota crossings that nobody took in time.
    pub crossings_dropped: u64,
    /// Tenants that were sampled in this round.
    pub sampled_tenants: u64,
    /// How long that took.
    pub sampling: Duration,
}

impl NodeFigures {
    /// The figures of this moment.
    #[must_use]
    pub fn gather(open_tenants: u64, meters: &MeterRegistry, quotas: &QuotaRegistry) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = quotas.counters();
        Self {
            open_tenants,
            quota_tenants: quotas.tenants() as u64,
            concurrent_requests: meters.concurrent(),
            answers: meters.answers(),
            refusals: Policy::ALL.map(|policy| counters.refusals(policy)),
            ledger_writes: counters.ledger_writes.load(Relaxed),
            ledger_failures: counters.ledger_failures.load(Relaxed),
            corrupt_ledgers: counters.corrupt_ledgers.load(Relaxed),
            crossings_dropped: counters.crossings_dropped.load(Relaxed),
            sampled_tenants: 0,
            sampling: Duration::ZERO,
        }
    }
}

/// The series and who has them.
pub struct Exposition {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    tenant_limit: usize,
    /// Held while publishing and rendering: a series must not be dropped between being found and being added to.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tenants: HashMap<TenantUid, Published>,
    /// The last samples of those with series of their own.
    own: HashMap<TenantUid, Sample>,
    /// The sums over the others.
    other: [u64; ADDITIVE],
}

/// What was published of a tenant.
#[derive(Default)]
struct Published {
    totals: Totals,
    /// Its part of the sums over those without series of their own.
    summed: Option<[u64; ADDITIVE]>,
}

/// What only grows, as of the last publication.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    answers: ClassCounts,
    response_times: ResponseHistogram,
    cpu_micros: u64,
    /// CPU time that is not a whole second yet: counters of the exporter are whole.
    cpu_micros_unpublished: u64,
    rows_read: u64,
    rows_written: u64,
}

impl Exposition {
    /// At most `tenant_limit` tenants have their own series; a series goes away `idle_timeout` after its last publication:
    /// three sample periods are a good choice.
    ///
    /// # Errors
    /// When the exporter does not accept the histogram's buckets.
    pub fn new(tenant_limit: usize, idle_timeout: Duration) -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&UPPER_BOUNDS_SECONDS)?
            .idle_timeout(MetricKindMask::ALL, Some(idle_timeout))
            .build_recorder();
        metrics::with_local_recorder(&recorder, descriptions::describe);
        Ok(Self {
            handle: recorder.handle(),
            recorder,
            tenant_limit,
            state: Mutex::default(),
        })
    }

    /// Publishes a round: the samples that were taken in it, and which tenants are served here no more. Takes milliseconds
    /// for thousands of samples: not for an async worker.
    pub fn publish(&self, node: &NodeFigures, samples: &[Sample], gone: &[TenantUid]) {
        let mut state = self.state.lock();
        gone.iter().for_each(|uid| state.forget(*uid));
        state.choose_own_series(samples, self.tenant_limit);
        metrics::with_local_recorder(&self.recorder, || {
            state.take(samples);
            state.publish();
            publish_node(node, state.own.len(), state.tenants.len() - state.own.len());
        });
        // Without a scraper the histograms would otherwise grow.
        self.handle.run_upkeep();
    }

    /// The text exposition format.
    pub fn render(&self) -> String {
        let _not_while_publishing = self.state.lock();
        self.handle.render()
    }
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition")
            .field("tenant_limit", &self.tenant_limit)
            .finish_non_exhaustive()
    }
}

impl State {
    fn forget(&mut self, uid: TenantUid) {
        self.own.remove(&uid);
        self.stop_summing(uid);
        self.tenants.remove(&uid);
    }

    /// The busiest get series of their own, those that have them already being preferred. One that was not sampled and has
    /// none waits for its next sample.
    fn choose_own_series(&mut self, samples: &[Sample], limit: usize) {
        let fresh = samples
            .iter()
            .map(|sample| (sample.usage.tenant, sample.requests_last_hour));
        let mut requests: HashMap<_, _> = fresh.collect();
        for (uid, sample) in &self.own {
            requests.entry(*uid).or_insert(sample.requests_last_hour);
        }
        let mut ranked: Vec<_> = requests
            .into_iter()
            .map(|(uid, requests)| {
                let holds = self.own.contains_key(&uid);
                let factor = if holds { TAKE_OVER_FACTOR } else { 1 };
                (requests.saturating_mul(factor), holds, uid)
            })
            .collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let chosen: HashSet<_> = ranked.into_iter().take(limit).map(|(_, _, uid)| uid).collect();
        let leaving: Vec<_> = self.own.keys().filter(|uid| !chosen.contains(uid)).copied().collect();
        for uid in leaving {
            if let Some(sample) = self.own.remove(&uid) {
                self.sum(&sample);
            }
        }
        for sample in samples.iter().filter(|sample| chosen.contains(&sample.usage.tenant)) {
            self.own.insert(sample.usage.tenant, sample.clone());
        }
    }

    /// Counts what the samples have grown by, and sums those without series of their own.
    fn take(&mut self, samples: &[Sample]) {
        for sample in samples {
            let uid = sample.usage.tenant;
            let own = self.own.contains_key(&uid);
            let published = self.tenants.entry(uid).or_default();
            publish_growth(
                &mut published.totals,
                sample,
                if own { sample.name.as_str() } else { OTHER },
            );
            match own {
                true => self.stop_summing(uid),
                false => self.sum(sample),
            }
        }
    }

    fn sum(&mut self, sample: &Sample) {
        let uid = sample.usage.tenant;
        self.stop_summing(uid);
        let part = additive_values(sample);
        for (sum, value) in self.other.iter_mut().zip(part) {
            // Sums wrap, so that what was added can be taken off again whatever it was.
            *sum = sum.wrapping_add(value);
        }
        self.tenants.entry(uid).or_default().summed = Some(part);
    }

    fn stop_summing(&mut self, uid: TenantUid) {
        let part = self.tenants.get_mut(&uid).and_then(|published| published.summed.take());
        for (sum, value) in self.other.iter_mut().zip(part.into_iter().flatten()) {
            *sum = sum.wrapping_sub(value);
        }
    }

    /// Publishes what must be published in every round to stay: all but histograms.
    fn publish(&mut self) {
        for (uid, sample) in &self.own {
            publish_growth(
                &mut self.tenants.entry(*uid).or_default().totals,
                sample,
                sample.name.as_str(),
            );
            publish_gauges(sample, sample.name.as_str());
        }
        if self.tenants.len() <= self.own.len() {
            return;
        }
        publish_counters([0; AnswerClass::ALL.len()], 0, (0, 0), OTHER);
        for ((name, divisor), sum) in ADDITIVE_GAUGES.iter().zip(self.other) {
            gauge!(*name, "tenant" => OTHER).set(sum as f64 / divisor);
        }
    }
}

fn publish_growth(published: &mut Totals, sample: &Sample, label: &str) {
    let answers = AnswerClass::ALL.map(|class| growth(sample.answers.get(class), published.answers.get(class)));
    let cpu = growth(sample.cpu_micros_total, published.cpu_micros) + published.cpu_micros_unpublished;
    let usage = &sample.usage;
    let rows = (
        growth(usage.rows_read, published.rows_read),
        growth(usage.rows_written, published.rows_written),
    );
    publish_counters(answers, cpu / 1_000_000, rows, label);
    publish_times(published, sample, label);
    *published = Totals {
        answers: sample.answers,
        response_times: sample.response_times,
        cpu_micros: sample.cpu_micros_total,
        cpu_micros_unpublished: cpu % 1_000_000,
        rows_read: usage.rows_read,
        rows_written: usage.rows_written,
    };
}

fn publish_counters(
    answers: [u64; AnswerClass::ALL.len()],
    cpu_seconds: u64,
    (rows_read, rows_written): (u64, u64),
    label: &str,
) {
    let label = || label.to_owned();
    for (class, grown) in AnswerClass::ALL.into_iter().zip(answers) {
        counter!("tenantry_tenant_requests_total", "tenant" => label(), "class" => class.as_str()).increment(grown);
    }
    counter!("tenantry_tenant_cpu_seconds_total", "tenant" => label()).increment(cpu_seconds);
    counter!("tenantry_tenant_rows_read_total", "tenant" => label()).increment(rows_read);
    counter!("tenantry_tenant_rows_written_total", "tenant" => label()).increment(rows_written);
}

fn publish_times(published: &Totals, sample: &Sample, label: &str) {
    if sample.response_times == published.response_times {
        return;
    }
    let times = histogram!("tenantry_tenant_response_time_seconds", "tenant" => label.to_owned());
    let before = published.response_times.buckets;
    for (bucket, ((count, sum), (count_before, sum_before))) in
        sample.response_times.buckets.iter().zip(before).enumerate()
    {
        let grown = growth(*count, count_before);
        if grown > 0 {
            // Their mean, as often as there were answers: the same count and sum, and inside the bucket.
            let seconds = if *count < count_before { *sum } else { sum - sum_before };
            let bound = UPPER_BOUNDS_SECONDS.get(bucket).copied().unwrap_or(f64::MAX);
            times.record_many(
                (seconds / grown as f64).min(bound),
                usize::try_from(grown).unwrap_or(usize::MAX),
            );
        }
    }
}

/// A total that is smaller than before has begun anew.
const fn growth(total: u64, before: u64) -> u64 {
    match total.checked_sub(before) {
        Some(grown) => grown,
        None => total,
    }
}

/// The gauges that can be summed over tenants, and what their values are divided by.
const ADDITIVE: usize = 12;
const ADDITIVE_GAUGES: [(&str, f64); ADDITIVE] = [
    ("tenantry_tenant_database_bytes", 1.0),
    ("tenantry_tenant_wal_bytes", 1.0),
    ("tenantry_tenant_free_bytes", 1.0),
    ("tenantry_tenant_memory_bytes", 1.0),
    ("tenantry_tenant_cpu_cores", 1000.0),
    ("tenantry_tenant_concurrent_requests", 1.0),
    ("tenantry_tenant_requests_last_day", 1.0),
    ("tenantry_tenant_quota_requests_per_day", 1.0),
    ("tenantry_tenant_quota_database_bytes", 1.0),
    ("tenantry_tenant_quota_memory_bytes", 1.0),
    ("tenantry_tenant_quota_cpu_cores", 1000.0),
    ("tenantry_tenant_quota_concurrent_requests", 1.0),
];

/// The values of [`ADDITIVE_GAUGES`], in their order.
fn additive_values(sample: &Sample) -> [u64; ADDITIVE] {
    let usage = &sample.usage;
    let quota = &usage.quota;
    [
        usage.database_bytes,
        usage.wal_bytes,
        usage.free_bytes,
        usage.memory_bytes,
        usage.cpu_millicores,
        u64::from(usage.concurrent_requests),
        usage.requests_last_day,
        quota.requests_per_day,
        quota.database_bytes,
        quota.memory_bytes,
        u64::from(quota.cpu_millicores),
        u64::from(quota.concurrent_requests),
    ]
}

fn publish_gauges(sample: &Sample, label: &str) {
    for ((name, divisor), value) in ADDITIVE_GAUGES.iter().zip(additive_values(sample)) {
        gauge!(*name, "tenant" => label.to_owned()).set(value as f64 / divisor);
    }
    let usage = &sample.usage;
    // What is not known has no series rather than a zero.
    let known = [
        (
            "tenantry_tenant_peak_requests_per_minute",
            Some(usage.peak_requests_per_minute as f64),
        ),
        (
            "tenantry_tenant_average_response_time_seconds",
            usage.average_response_micros.map(|micros| micros as f64 / 1e6),
        ),
        ("tenantry_tenant_error_ratio", sample.ratios.server_error),
        ("tenantry_tenant_client_error_ratio", sample.ratios.client_error),
        ("tenantry_tenant_throttled_ratio", sample.ratios.throttled),
        (
            "tenantry_tenant_growth_bytes_per_hour",
            match usage.growth {
                GrowthRate::BytesPerHour(rate) => Some(rate),
                GrowthRate::NotEnoughData => None,
            },
        ),
        ("tenantry_tenant_hotspot_score", Some(usage.hotspot.get())),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            gauge!(name, "tenant" => label.to_owned()).set(value);
        }
    }
}

fn publish_node(node: &NodeFigures, own_series: usize, summed: usize) {
    let gauges = [
        ("tenantry_node_open_tenants", node.open_tenants),
        ("tenantry_node_quota_tenants", node.quota_tenants),
        ("tenantry_node_concurrent_requests", node.concurrent_requests),
        ("tenantry_node_sampled_tenants", node.sampled_tenants),
        ("tenantry_node_tenants_with_series", own_series as u64),
        ("tenantry_node_tenants_summed", summed as u64),
    ];
    for (name, value) in gauges {
        gauge!(name).set(value as f64);
    }
    gauge!("tenantry_node_sampling_seconds").set(node.sampling.as_secs_f64());
    for class in AnswerClass::ALL {
        counter!("tenantry_node_requests_total", "class" => class.as_str()).absolute(node.answers.get(class));
    }
    for (policy, refused) in Policy::ALL.into_iter().zip(node.refusals) {
        counter!("tenantry_node_quota_refusals_total", "policy" => policy.as_str()).absolute(refused);
    }
    let counters = [
        ("tenantry_node_quota_ledger_writes_total", node.ledger_writes),
        ("tenantry_node_quota_ledger_failures_total", node.ledger_failures),
        ("tenantry_node_quota_ledgers_corrupt_total", node.corrupt_ledgers),
        ("tenantry_node_quota_events_dropped_total", node.crossings_dropped),
    ];
    for (name, value) in counters {
        counter!(name).absolute(value);
    }
}
