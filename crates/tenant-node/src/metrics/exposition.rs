//! Series for Prometheus: those of tenants under `tenantry_tenant_` with the label `tenant`, those of the node under
//! `tenantry_node_`.
//!
//! The sampler publishes; nothing on the request path touches a series. The series live in a recorder of their own,
//! because theirs go away when they are not published for `idle_timeout` (closed tenants; node series, should the sampler
//! die), and that must not hit series that other code records once and keeps a handle of: the exporter drops an idle
//! series even while a handle of it exists, and what is recorded into such a handle is lost. For the same reason no
//! handle is kept here.
//!
//! Above `tenant_limit` the busiest tenants of the last hour keep their series and the others are summed into the tenant
//! `_other`, where a sum makes sense. What is counted goes to whichever series a tenant has at that moment, as the growth
//! since the last publication: no total ever falls, and the sum over all series is always true. A histogram of a tenant
//! without traffic goes away like that of a closed one, and begins anew with the next request.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;
use parking_lot::Mutex;
use tenantry_layers::meter::{AnswerClass, ClassCounts, MeterRegistry, ResponseHistogram, UPPER_BOUNDS_SECONDS};
use tenantry_layers::quota::{Policy, QuotaRegistry};
use tenantry_types::{GrowthRate, TenantUid};

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
    published: HashMap<TenantUid, Totals>,
    own_series: HashSet<TenantUid>,
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
        metrics::with_local_recorder(&recorder, describe);
        Ok(Self {
            handle: recorder.handle(),
            recorder,
            tenant_limit,
            state: Mutex::default(),
        })
    }

    /// Publishes one sample per open tenant. Takes milliseconds for thousands of tenants: not for an async worker.
    pub fn publish(&self, node: &NodeFigures, samples: &[Sample]) {
        let mut state = self.state.lock();
        state.own_series = choose_own_series(samples, &state.own_series, self.tenant_limit);
        let present = samples.iter().map(|sample| sample.usage.tenant).collect::<HashSet<_>>();
        state.published.retain(|uid, _| present.contains(uid));
        metrics::with_local_recorder(&self.recorder, || {
            let mut other = Other::default();
            for sample in samples {
                let uid = sample.usage.tenant;
                let own = state.own_series.contains(&uid);
                let label = if own { sample.name.as_str() } else { OTHER };
                publish_growth(state.published.entry(uid).or_default(), sample, label);
                if own {
                    publish_gauges(sample, label);
                } else {
                    other.add(sample);
                }
            }
            other.publish();
            publish_node(node, state.own_series.len(), other.tenants);
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

/// The busiest, those that have series already being preferred.
fn choose_own_series(samples: &[Sample], present: &HashSet<TenantUid>, limit: usize) -> HashSet<TenantUid> {
    let mut ranked = samples
        .iter()
        .map(|sample| {
            let uid = sample.usage.tenant;
            let holds = present.contains(&uid);
            let factor = if holds { TAKE_OVER_FACTOR } else { 1 };
            (sample.requests_last_hour.saturating_mul(factor), holds, uid)
        })
        .collect::<Vec<_>>();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.into_iter().take(limit).map(|(_, _, uid)| uid).collect()
}

fn publish_growth(published: &mut Totals, sample: &Sample, label: &str) {
    let label = || label.to_owned();
    for class in AnswerClass::ALL {
        let grown = growth(sample.answers.get(class), published.answers.get(class));
        counter!("tenantry_tenant_requests_total", "tenant" => label(), "class" => class.as_str()).increment(grown);
    }
    let cpu = growth(sample.cpu_micros_total, published.cpu_micros) + published.cpu_micros_unpublished;
    counter!("tenantry_tenant_cpu_seconds_total", "tenant" => label()).increment(cpu / 1_000_000);
    let usage = &sample.usage;
    counter!("tenantry_tenant_rows_read_total", "tenant" => label())
        .increment(growth(usage.rows_read, published.rows_read));
    counter!("tenantry_tenant_rows_written_total", "tenant" => label())
        .increment(growth(usage.rows_written, published.rows_written));

    let times = histogram!("tenantry_tenant_response_time_seconds", "tenant" => label());
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
    *published = Totals {
        answers: sample.answers,
        response_times: sample.response_times,
        cpu_micros: sample.cpu_micros_total,
        cpu_micros_unpublished: cpu % 1_000_000,
        rows_read: usage.rows_read,
        rows_written: usage.rows_written,
    };
}

/// A total that is smaller than before has begun anew.
const fn growth(total: u64, before: u64) -> u64 {
    match total.checked_sub(before) {
        Some(grown) => grown,
        None => total,
    }
}

/// The gauges that can be summed over tenants, as `(name, value)`.
fn additive_gauges(sample: &Sample) -> [(&'static str, f64); 12] {
    let usage = &sample.usage;
    let quota = &usage.quota;
    [
        ("tenantry_tenant_database_bytes", usage.database_bytes as f64),
        ("tenantry_tenant_wal_bytes", usage.wal_bytes as f64),
        ("tenantry_tenant_free_bytes", usage.free_bytes as f64),
        ("tenantry_tenant_memory_bytes", usage.memory_bytes as f64),
        ("tenantry_tenant_cpu_cores", usage.cpu_millicores as f64 / 1000.0),
        (
            "tenantry_tenant_concurrent_requests",
            f64::from(usage.concurrent_requests),
        ),
        ("tenantry_tenant_requests_last_day", usage.requests_last_day as f64),
        ("tenantry_tenant_quota_requests_per_day", quota.requests_per_day as f64),
        ("tenantry_tenant_quota_database_bytes", quota.database_bytes as f64),
        ("tenantry_tenant_quota_memory_bytes", quota.memory_bytes as f64),
        (
            "tenantry_tenant_quota_cpu_cores",
            f64::from(quota.cpu_millicores) / 1000.0,
        ),
        (
            "tenantry_tenant_quota_concurrent_requests",
            f64::from(quota.concurrent_requests),
        ),
    ]
}

fn publish_gauges(sample: &Sample, label: &str) {
    for (name, value) in additive_gauges(sample) {
        gauge!(name, "tenant" => label.to_owned()).set(value);
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

/// The sum over the tenants without series of their own.
#[derive(Default)]
struct Other {
    tenants: usize,
    sums: Option<[(&'static str, f64); 12]>,
}

impl Other {
    fn add(&mut self, sample: &Sample) {
        self.tenants += 1;
        let values = additive_gauges(sample);
        match &mut self.sums {
            None => self.sums = Some(values),
            Some(sums) => {
                for ((_, sum), (_, value)) in sums.iter_mut().zip(values) {
                    *sum += value;
                }
            }
        }
    }

    fn publish(&self) {
        for (name, value) in self.sums.into_iter().flatten() {
            gauge!(name, "tenant" => OTHER).set(value);
        }
    }
}

fn publish_node(node: &NodeFigures, own_series: usize, summed: usize) {
    let gauges = [
        ("tenantry_node_open_tenants", node.open_tenants),
        ("tenantry_node_quota_tenants", node.quota_tenants),
        ("tenantry_node_concurrent_requests", node.concurrent_requests),
        ("tenantry_node_tenants_with_series", own_series as u64),
        ("tenantry_node_tenants_summed", summed as u64),
    ];
    for (name, value) in gauges {
        gauge!(name).set(value as f64);
    }
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

/// Unit and help of every series.
fn describe() {
    use Unit::{Bytes, Count, Seconds};
    let gauges = [
        ("tenantry_tenant_database_bytes", Bytes, "Bytes of the database file."),
        ("tenantry_tenant_wal_bytes", Bytes, "Bytes of the write-ahead log."),
        (
            "tenantry_tenant_free_bytes",
            Bytes,
            "Bytes of free pages inside the database file.",
        ),
        (
            "tenantry_tenant_memory_bytes",
            Bytes,
            "Bytes of SQLite memory of the tenant's connections.",
        ),
        (
            "tenantry_tenant_cpu_cores",
            Count,
            "CPU use of queries over the last sample period, in cores.",
        ),
        ("tenantry_tenant_concurrent_requests", Count, "Requests being served."),
        (
            "tenantry_tenant_requests_last_day",
            Count,
            "Requests charged in the last 24 hours.",
        ),
        (
            "tenantry_tenant_quota_requests_per_day",
            Count,
            "Requests allowed in any 24 hours.",
        ),
        (
            "tenantry_tenant_quota_database_bytes",
            Bytes,
            "Bytes that the database file may have.",
        ),
        (
            "tenantry_tenant_quota_memory_bytes",
            Bytes,
            "Bytes of SQLite memory that the tenant may use.",
        ),
        (
            "tenantry_tenant_quota_cpu_cores",
            Count,
            "CPU share of the tenant, in cores.",
        ),
        (
            "tenantry_tenant_quota_concurrent_requests",
            Count,
            "Requests that may be served at one moment.",
        ),
        (
            "tenantry_tenant_peak_requests_per_minute",
            Count,
            "Requests in the busiest minute of the last 60.",
        ),
        (
            "tenantry_tenant_average_response_time_seconds",
            Seconds,
            "Average time to the end of an answer over the last 5 minutes.",
        ),
        (
            "tenantry_tenant_error_ratio",
            Count,
            "5xx other than 507 over all answers of the last hour.",
        ),
        (
            "tenantry_tenant_client_error_ratio",
            Count,
            "4xx other than 429 over all answers of the last hour.",
        ),
        (
            "tenantry_tenant_throttled_ratio",
            Count,
            "429 over all answers of the last hour.",
        ),
        (
            "tenantry_tenant_growth_bytes_per_hour",
            Count,
            "Growth of the database file over the last 2 hours.",
        ),
        (
            "tenantry_tenant_hotspot_score",
            Count,
            "How near the tenant is to its limits, 0 to 1.",
        ),
        ("tenantry_node_open_tenants", Count, "Tenants whose database is open."),
        (
            "tenantry_node_quota_tenants",
            Count,
            "Tenants whose request counters are in memory.",
        ),
        (
            "tenantry_node_concurrent_requests",
            Count,
            "Requests of all tenants being served.",
        ),
        (
            "tenantry_node_tenants_with_series",
            Count,
            "Tenants with series of their own.",
        ),
        (
            "tenantry_node_tenants_summed",
            Count,
            "Tenants that are summed into the tenant _other.",
        ),
    ];
    for (name, unit, help) in gauges {
        describe_gauge!(name, unit, help);
    }
    let counters = [
        ("tenantry_tenant_requests_total", Count, "Requests by class of answer."),
        (
            "tenantry_tenant_cpu_seconds_total",
            Seconds,
            "CPU time of queries, in whole seconds.",
        ),
        ("tenantry_tenant_rows_read_total", Count, "Rows read by queries."),
        ("tenantry_tenant_rows_written_total", Count, "Rows written by queries."),
        (
            "tenantry_node_requests_total",
            Count,
            "Requests of all tenants by class of answer.",
        ),
        (
            "tenantry_node_quota_refusals_total",
            Count,
            "Requests refused by the first limit that they met.",
        ),
        (
            "tenantry_node_quota_ledger_writes_total",
            Count,
            "Quota ledgers written.",
        ),
        (
            "tenantry_node_quota_ledger_failures_total",
            Count,
            "Quota ledgers that could not be read or written.",
        ),
        (
            "tenantry_node_quota_ledgers_corrupt_total",
            Count,
            "Quota ledgers that did not parse, so that their tenants count as used up.",
        ),
        (
            "tenantry_node_quota_events_dropped_total",
            Count,
            "Quota crossings that nobody took in time.",
        ),
    ];
    for (name, unit, help) in counters {
        describe_counter!(name, unit, help);
    }
    describe_histogram!(
        "tenantry_tenant_response_time_seconds",
        Seconds,
        "Time from a request to the end of its answer."
    );
}
