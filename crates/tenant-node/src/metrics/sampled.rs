//! What is measured of a tenant beside its requests: growth, CPU use, the hotspot score, how full its database is. Sampled
//! once a period; put together with the figures of its requests for whoever asks.
//!
//! Owns each tenant's `conditions::Detector`: a sample also says what changes, and `accept` goes on from it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_layers::TenantMap;
use tenantry_layers::clock::Now;
use tenantry_layers::meter::{ClassCounts, Ratios, RequestFigures, ResponseHistogram};
use tenantry_layers::quota::CrossingDetector;
use tenantry_types::{
    EffectiveQuota, Epoch, EventDetail, HotspotScore, QuotaKind, TenantName, TenantUid, TenantUsage, Tier,
};

use super::cpu::CpuUse;
use super::growth::Growth;
use super::requests_by_hour::RequestsByHour;
use crate::conditions::{self, ClassRecord, Detector, HourRing, Surroundings};
use crate::events::KeptTenant;

/// What the database module measured for a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatabaseSample {
    /// Bytes of the database file.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of free pages inside the database file.
    pub free_bytes: u64,
    /// Bytes of SQLite memory of its connections.
    pub memory_bytes: u64,
    /// CPU time on database threads so far, in microseconds. May begin anew when the database is opened again.
    pub cpu_micros_total: u64,
    /// Rows read so far. May begin anew.
    pub rows_read: u64,
    /// Rows written so far. May begin anew.
    pub rows_written: u64,
}

/// What a meter is given beside the time, to say what a tenant uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageInput {
    /// The placement that it is served under.
    pub epoch: Epoch,
    /// The limits in force.
    pub quota: EffectiveQuota,
    /// Requests charged in the last 24 hours, from the quota registry.
    pub requests_last_day: u64,
    /// What the database module measured.
    pub database: DatabaseSample,
    /// The contracted tier: the class of a tenant that was never sampled.
    pub tier: Tier,
}

/// A tenant's figures at one moment, with the totals that the exposition needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The tenant's name.
    pub name: TenantName,
    /// Its figures.
    pub usage: TenantUsage,
    /// Its shares of answers.
    pub ratios: Ratios,
    /// Requests of the last 60 minutes: how busy it is.
    pub requests_last_hour: u64,
    /// Answers since the meter was made.
    pub answers: ClassCounts,
    /// Response times since the meter was made.
    pub response_times: ResponseHistogram,
    /// CPU time on database threads so far, in microseconds.
    pub cpu_micros_total: u64,
}

/// What a round of samples is taken by.
#[derive(Debug, Clone, Copy)]
pub struct Period<'a> {
    /// What tenants are measured against.
    pub around: Surroundings<'a>,
    /// The running hour of the wall clock: hours since 1970.
    pub hour: u64,
    /// Whether its time of day can be compared with that of other days.
    pub settled: bool,
    /// The hours that this node was up for; `None` before the first.
    pub served: Option<&'a HourRing>,
}

/// What a sample changes. Nothing of it is taken for granted before [`SampledTenant::accept`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// What is to be told.
    pub events: Vec<EventDetail>,
    /// The class to keep, if another one is on record.
    pub class: Option<ClassRecord>,
    /// What was raised under an earlier placement is no more.
    pub measured_anew: bool,
}

impl Changes {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.class.is_none() && !self.measured_anew
    }
}

/// What is sampled of all tenants.
#[derive(Debug)]
pub struct SampledTenants {
    tenants: TenantMap<SampledTenant>,
    /// What an earlier process left of tenants that were not sampled yet.
    kept: Mutex<HashMap<TenantUid, KeptTenant>>,
    growth_interval: Duration,
    growth_points: u32,
}

impl SampledTenants {
    /// Growth is measured over the last `growth_points` (2 to 63) intervals; 24 times 5 minutes unless there is a reason.
    #[must_use]
    pub fn new(growth_interval: Duration, growth_points: u32) -> Self {
        Self {
            tenants: TenantMap::default(),
            kept: Mutex::default(),
            growth_interval,
            growth_points,
        }
    }

    /// Begins with what an earlier process left.
    pub fn resume(&self, kept: HashMap<TenantUid, KeptTenant>) {
        *self.kept.lock() = kept;
    }

    /// How long the window is that growth is measured over.
    #[must_use]
    pub fn growth_window(&self) -> Duration {
        self.growth_interval.saturating_mul(self.growth_points)
    }

    /// What is sampled of that tenant, begun on first use.
    #[must_use]
    pub fn tenant(&self, uid: TenantUid) -> Arc<SampledTenant> {
        self.tenants.get_or_insert_with(uid, || {
            let kept = self.kept.lock().remove(&uid).unwrap_or_default();
            SampledTenant::new(uid, Growth::new(self.growth_interval, self.growth_points), kept)
        })
    }

    /// Forgets a tenant that is no longer served here.
    pub fn forget(&self, uid: TenantUid) {
        self.kept.lock().remove(&uid);
        if let Some(tenant) = self.tenants.get(uid) {
            self.tenants.remove(uid, &tenant);
        }
    }
}

/// What is sampled of one tenant.
#[derive(Debug)]
pub struct SampledTenant {
    uid: TenantUid,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    growth: Growth,
    cpu: CpuUse,
    storage: CrossingDetector,
    storage_seen: bool,
    detector: Detector,
    requests: RequestsByHour,
    class_on_record: Option<ClassRecord>,
    /// The placement's epoch in this life of the cluster.
    placement: Option<u64>,
    /// What is on record as raised is no more.
    measured_anew: bool,
}

impl SampledTenant {
    fn new(uid: TenantUid, growth: Growth, kept: KeptTenant) -> Self {
        Self {
            uid,
            state: Mutex::new(State {
                growth,
                cpu: CpuUse::default(),
                storage: CrossingDetector::new(QuotaKind::Database),
                storage_seen: false,
                detector: Detector::resumed(&kept.raised, kept.class),
                requests: RequestsByHour::resumed(kept.hours),
                class_on_record: kept.class,
                placement: kept.epoch.map(Epoch::within_life),
                measured_anew: false,
            }),
        }
    }

    /// The figures of this moment. Changes nothing but windows that slide.
    pub fn usage(&self, now: Now, requests: &RequestFigures, input: &UsageInput) -> TenantUsage {
        self.usage_of(&mut self.state.lock(), now, requests, input)
    }

    /// Counts what was added to the tenant's totals of answers and microseconds of processor time since the last call. What
    /// that is.
    pub fn count(&self, answers: u64, cpu_micros: u64, hour: u64) -> (u64, u64) {
        self.state.lock().requests.count(answers, cpu_micros, hour)
    }

    /// That hour is over, and was seen as a whole.
    pub fn finish_hour(&self, hour: u64, served: &HourRing) {
        self.state.lock().requests.finish(hour, served);
    }

    /// Its requests by hour, to be kept.
    #[must_use]
    pub fn hours(&self) -> Option<HourRing> {
        self.state.lock().requests.ring().cloned()
    }

    /// Whether something is raised, or the next samples may change something.
    #[must_use]
    pub fn needs_another_look(&self) -> bool {
        self.state.lock().detector.needs_another_look()
    }

    /// Takes the sample of a period: the figures, and what changes by them. Call it once per round.
    pub fn sample(
        &self,
        now: Now,
        name: &TenantName,
        requests: &RequestFigures,
        input: &UsageInput,
        period: &Period<'_>,
    ) -> (Sample, Changes) {
        let database = &input.database;
        let mut state = self.state.lock();
        state.cpu.sample(now.steady, database.cpu_micros_total);
        state.growth.record(now.steady, database.database_bytes);
        state.detector.begin_class(input.tier);
        state.placed(input.epoch.within_life());
        let mut usage = self.usage_of(&mut state, now, requests, input);
        let norm = match state.detector.needs_norm(requests.requests_last_minute) {
            true => state
                .requests
                .norm_per_minute(period.hour, period.settled, period.served),
            false => None,
        };
        let mut events = state.detector.sample(now.steady, &usage, norm, period.around);
        let class = state.class_to_keep(&events);
        usage.observed_class = class.map_or(usage.observed_class, |record| record.class);
        events.extend(state.storage_crossing(database.database_bytes, input.quota.database_bytes));
        let changes = Changes {
            events,
            class: class.filter(|class| state.class_on_record != Some(*class)),
            measured_anew: state.measured_anew,
        };
        let sample = Sample {
            name: name.clone(),
            ratios: requests.ratios,
            usage,
            requests_last_hour: requests.requests_last_hour,
            answers: requests.answers,
            response_times: requests.response_times,
            cpu_micros_total: database.cpu_micros_total,
        };
        (sample, changes)
    }

    /// Goes on from changes that are on disk by now.
    pub fn accept(&self, changes: &Changes) {
        let mut state = self.state.lock();
        for event in &changes.events {
            state.detector.accept(event);
            if let EventDetail::QuotaCrossed { used, limit, .. } = event {
                state.storage.resume(*used, *limit);
            }
        }
        if changes.class.is_some() {
            state.class_on_record = changes.class;
        }
        if changes.measured_anew {
            state.measured_anew = false;
        }
    }

    fn usage_of(&self, state: &mut State, now: Now, requests: &RequestFigures, input: &UsageInput) -> TenantUsage {
        let database = &input.database;
        let mut usage = TenantUsage {
            tenant: self.uid,
            epoch: input.epoch,
            measured_at: now.wall,
            quota: input.quota,
            requests_last_day: input.requests_last_day,
            concurrent_requests: requests.concurrent,
            database_bytes: database.database_bytes,
            wal_bytes: database.wal_bytes,
            free_bytes: database.free_bytes,
            growth: state.growth.rate(now.steady),
            requests_last_minute: requests.requests_last_minute,
            errors_last_minute: requests.errors_last_minute,
            peak_requests_per_minute: requests.peak_requests_per_minute,
            average_response_micros: requests.average_response_micros,
            error_ratio: requests.ratios.server_error,
            cpu_millicores: state.cpu.millicores(),
            memory_bytes: database.memory_bytes,
            rows_read: database.rows_read,
            rows_written: database.rows_written,
            observed_class: state.detector.observed_class().unwrap_or(input.tier),
            hotspot: HotspotScore::default(),
        };
        usage.hotspot = conditions::score(&conditions::terms(&usage));
        usage
    }
}

impl State {
    /// Takes note of the placement. Under another one the control plane has ended what was raised; it is measured anew.
    fn placed(&mut self, epoch: u64) {
        let before = self.placement.replace(epoch);
        if before.is_some_and(|before| before != epoch) && self.detector.is_anything_raised() {
            self.detector.forget_conditions();
            self.measured_anew = true;
        }
    }

    /// The class after those events, as it is to be kept.
    fn class_to_keep(&self, events: &[EventDetail]) -> Option<ClassRecord> {
        let changed = events.iter().find_map(|event| match event {
            EventDetail::ClassChanged { to, .. } => Some(ClassRecord { class: *to, fall: None }),
            _ => None,
        });
        changed.or_else(|| self.detector.class_record())
    }

    /// The share that was passed, if one was. The first size that is seen is no news: it was reached before this process.
    fn storage_crossing(&mut self, bytes: u64, limit: u64) -> Option<EventDetail> {
        if !std::mem::replace(&mut self.storage_seen, true) {
            self.storage.resume(bytes, limit);
            return None;
        }
        let mut next = self.storage.clone();
        let crossing = next.observe(bytes, limit);
        if crossing.is_none() {
            self.storage = next;
        }
        crossing.map(EventDetail::from)
    }
}

#[cfg(test)]
mod tests {
    use tenantry_layers::clock::now_at;
    use tenantry_layers::meter::TenantMeter;
    use tenantry_types::TierDefinition;

    use super::*;

    const MIB: u64 = 1 << 20;
    const TENANT: TenantUid = TenantUid::from_u128(1);

    /// A tenant without requests.
    struct Tenant {
        meter: TenantMeter,
        sampled: Arc<SampledTenant>,
    }

    impl Tenant {
        fn new() -> Self {
            Self {
                meter: TenantMeter::new(TENANT, TenantName::new("acme").unwrap()),
                sampled: SampledTenants::new(Duration::from_secs(300), 24).tenant(TENANT),
            }
        }

        fn sample(&self, at: u64, database_bytes: u64, cpu_micros_total: u64) -> (Sample, Vec<EventDetail>) {
            let (sample, changes) = self.propose(at, database_bytes, cpu_micros_total);
            self.sampled.accept(&changes);
            (sample, changes.events)
        }

        fn propose(&self, at: u64, database_bytes: u64, cpu_micros_total: u64) -> (Sample, Changes) {
            let input = UsageInput {
                epoch: Epoch(3),
                quota: TierDefinition::defaults()[0].quota,
                requests_last_day: 7,
                database: DatabaseSample {
                    database_bytes,
                    cpu_micros_total,
                    ..DatabaseSample::default()
                },
                tier: Tier::Micro,
            };
            let (now, tiers) = (now_at(at), TierDefinition::defaults());
            let requests = self.meter.figures(now);
            let period = Period {
                around: Surroundings {
                    tiers: &tiers,
                    node_millicores: 2_000,
                },
                hour: at / 3_600_000,
                settled: true,
                served: None,
            };
            self.sampled.sample(now, self.meter.name(), &requests, &input, &period)
        }
    }

    #[test]
    fn samples_give_cpu_growth_class_and_score() {
        let tenant = Tenant::new();
        let (first, events) = tenant.sample(0, MIB, 0);
        assert_eq!(
            (first.usage.cpu_millicores, first.usage.observed_class),
            (0, Tier::Micro)
        );
        assert!(events.is_empty());
        let (second, _) = tenant.sample(300_000, 2 * MIB, 15_000_000);
        assert_eq!(second.usage.cpu_millicores, 50);
        assert_eq!(
            second.usage.growth,
            tenantry_types::GrowthRate::BytesPerHour(12.0 * MIB as f64)
        );
        // A fifth of the database, 7 of 1000 requests, the whole CPU share.
        assert!((second.usage.hotspot.get() - (0.05 + 0.25 * 0.007 + 0.3)).abs() < 1e-9);
    }

    #[test]
    fn storage_that_passes_a_share_of_its_limit_is_reported_once() {
        let tenant = Tenant::new();
        let mut percents = Vec::new();
        for (step, mib) in [7, 9, 9, 10, 10, 3, 9].into_iter().enumerate() {
            let (_, events) = tenant.sample(step as u64 * 10_000, mib * MIB, 0);
            percents.extend(events.iter().filter_map(|event| match event {
                EventDetail::QuotaCrossed { quota, percent, .. } => {
                    assert_eq!(*quota, QuotaKind::Database);
                    Some(*percent)
                }
                _ => None,
            }));
        }
        assert_eq!(percents, [80, 100, 80]);
    }
}
