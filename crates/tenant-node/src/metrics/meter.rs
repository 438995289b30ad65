//! All figures of one tenant: counted by the request path, sampled by the sampler, read by whoever asks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_types::{
    EffectiveQuota, Epoch, EventDetail, HotspotScore, QuotaKind, TenantName, TenantUid, TenantUsage, Tier,
    TierDefinition,
};

use super::answer::{AnswerClass, ClassCounts};
use super::cpu::CpuUse;
use super::error_rate::ErrorRate;
use super::growth::Growth;
use super::last_minute::LastMinute;
use super::peak_rpm::PeakRpm;
use super::response_time::{ResponseHistogram, ResponseTimes};
use crate::clock::Now;
use crate::hotspot::{self, Detector};
use crate::quota::CrossingDetector;

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
    /// CPU time of its queries so far, in microseconds. May begin anew when the database is opened again.
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
    /// The class that the control plane has on record; counts until a first sample of this process.
    pub known_class: Option<Tier>,
}

/// Shares of answers in the last hour, 0 to 1; `None` without answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ratios {
    /// 5xx other than 507.
    pub server_error: Option<f64>,
    /// 4xx other than 429.
    pub client_error: Option<f64>,
    /// 429.
    pub throttled: Option<f64>,
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
    /// CPU time of queries so far, in microseconds.
    pub cpu_micros_total: u64,
}

/// Figures of one tenant.
#[derive(Debug)]
pub struct TenantMeter {
    uid: TenantUid,
    name: TenantName,
    in_flight: AtomicU32,
    figures: Mutex<Figures>,
}

#[derive(Debug)]
struct Figures {
    answers: ClassCounts,
    peak_rpm: PeakRpm,
    last_minute: LastMinute,
    response_times: ResponseTimes,
    error_rate: ErrorRate,
    growth: Growth,
    cpu: CpuUse,
    storage: CrossingDetector,
    storage_seen: bool,
    detector: Detector,
}

impl TenantMeter {
    pub(super) fn new(uid: TenantUid, name: TenantName, growth: Growth) -> Self {
        Self {
            uid,
            name,
            in_flight: AtomicU32::new(0),
            figures: Mutex::new(Figures {
                answers: ClassCounts::default(),
                peak_rpm: PeakRpm::new(),
                last_minute: LastMinute::new(),
                response_times: ResponseTimes::new(),
                error_rate: ErrorRate::new(),
                growth,
                cpu: CpuUse::default(),
                storage: CrossingDetector::new(QuotaKind::Database),
                storage_seen: false,
                detector: Detector::default(),
            }),
        }
    }

    /// Whose.
    #[must_use]
    pub const fn uid(&self) -> TenantUid {
        self.uid
    }

    /// A request came. Every call is followed by one of [`Self::ended`].
    pub(super) fn began(&self, now: Now) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let mut figures = self.figures.lock();
        figures.peak_rpm.record(now.steady);
        figures.last_minute.request(now.steady);
    }

    /// The answer to a request ended after `time`.
    pub(super) fn ended(&self, now: Now, class: AnswerClass, time: Duration) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        let mut figures = self.figures.lock();
        figures.answers.add(class);
        figures.error_rate.record(now.steady, class);
        if class == AnswerClass::ServerError {
            figures.last_minute.error(now.steady);
        }
        figures.response_times.record(now.steady, time);
    }

    /// The figures of this moment. Changes nothing but windows that slide.
    pub fn usage(&self, now: Now, input: &UsageInput, tiers: &[TierDefinition]) -> TenantUsage {
        self.usage_of(&mut self.figures.lock(), now, input, tiers)
    }

    /// Takes the sample of a period: the figures, and what changed by them. Call it once per sample period.
    pub fn sample(&self, now: Now, input: &UsageInput, tiers: &[TierDefinition]) -> (Sample, Vec<EventDetail>) {
        let database = &input.database;
        let mut figures = self.figures.lock();
        figures.cpu.sample(now.steady, database.cpu_micros_total);
        figures.growth.record(now.steady, database.database_bytes);
        figures.detector.resume(input.known_class);
        let mut usage = self.usage_of(&mut figures, now, input, tiers);
        let mut events = figures.detector.sample(now.steady, &usage, tiers);
        usage.observed_class = figures.detector.observed_class().unwrap_or(usage.observed_class);
        events.extend(figures.storage_crossing(database.database_bytes, input.quota.database_bytes));
        let sample = Sample {
            name: self.name.clone(),
            ratios: Ratios {
                server_error: usage.error_ratio,
                client_error: figures.error_rate.ratio(now.steady, AnswerClass::ClientError),
                throttled: figures.error_rate.ratio(now.steady, AnswerClass::Throttled),
            },
            usage,
            requests_last_hour: figures.peak_rpm.total(now.steady),
            answers: figures.answers,
            response_times: *figures.response_times.histogram(),
            cpu_micros_total: database.cpu_micros_total,
        };
        (sample, events)
    }

    /// The response time in seconds that a share `q` (0 to 1) of the answers of the last 5 minutes did not exceed.
    pub fn response_quantile_seconds(&self, now: Now, q: f64) -> Option<f64> {
        self.figures.lock().response_times.quantile_seconds(now.steady, q)
    }

    fn usage_of(&self, figures: &mut Figures, now: Now, input: &UsageInput, tiers: &[TierDefinition]) -> TenantUsage {
        let database = &input.database;
        let class = figures.detector.observed_class().or(input.known_class);
        let (requests_last_minute, errors_last_minute) = figures.last_minute.totals(now.steady);
        let mut usage = TenantUsage {
            tenant: self.uid,
            epoch: input.epoch,
            measured_at: now.wall,
            quota: input.quota,
            requests_last_day: input.requests_last_day,
            concurrent_requests: self.in_flight.load(Ordering::Acquire),
            database_bytes: database.database_bytes,
            wal_bytes: database.wal_bytes,
            free_bytes: database.free_bytes,
            growth: figures.growth.rate(now.steady),
            requests_last_minute,
            errors_last_minute,
            peak_requests_per_minute: figures.peak_rpm.peak(now.steady),
            average_response_micros: figures.response_times.average_micros(now.steady),
            error_ratio: figures.error_rate.ratio(now.steady, AnswerClass::ServerError),
            cpu_millicores: figures.cpu.millicores(),
            memory_bytes: database.memory_bytes,
            rows_read: database.rows_read,
            rows_written: database.rows_written,
            observed_class: class
                .unwrap_or_else(|| hotspot::class_of(database.database_bytes, input.requests_last_day, tiers)),
            hotspot: HotspotScore::default(),
        };
        usage.hotspot = hotspot::score(&hotspot::terms(&usage));
        usage
    }
}

impl Figures {
    /// The first size that is seen is no news: it was reached before this process.
    fn storage_crossing(&mut self, bytes: u64, limit: u64) -> Option<EventDetail> {
        if !std::mem::replace(&mut self.storage_seen, true) {
            self.storage.resume(bytes, limit);
            return None;
        }
        self.storage.observe(bytes, limit).map(EventDetail::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::now_at;

    fn input(database_bytes: u64, cpu_micros_total: u64) -> UsageInput {
        UsageInput {
            epoch: Epoch(3),
            quota: TierDefinition::defaults()[0].quota,
            requests_last_day: 7,
            database: DatabaseSample {
                database_bytes,
                cpu_micros_total,
                ..DatabaseSample::default()
            },
            known_class: None,
        }
    }

    fn meter() -> TenantMeter {
        TenantMeter::new(TenantUid::from_u128(1), TenantName::new("acme").unwrap(), growth())
    }

    fn growth() -> Growth {
        Growth::new(Duration::from_secs(300), 24)
    }

    #[test]
    fn a_recorded_hour_gives_the_figures_that_a_reader_of_the_log_would_give() {
        let tiers = TierDefinition::defaults();
        let meter = meter();
        // at ms, status, milliseconds
        let log = [
            (1_000, AnswerClass::Success, 10),
            (2_000, AnswerClass::Success, 30),
            (3_000, AnswerClass::ServerError, 50),
            (70_000, AnswerClass::Throttled, 0),
            (200_000, AnswerClass::ClientError, 10),
        ];
        for (at, class, took) in log {
            meter.began(now_at(at));
            meter.ended(now_at(at), class, Duration::from_millis(took));
        }
        meter.began(now_at(250_000));
        let usage = meter.usage(now_at(250_000), &input(0, 0), &tiers);
        assert_eq!(usage.peak_requests_per_minute, 3);
        assert_eq!((usage.requests_last_minute, usage.errors_last_minute), (2, 0));
        assert_eq!(usage.average_response_micros, Some(20_000));
        assert_eq!(usage.error_ratio, Some(0.2));
        assert_eq!(usage.concurrent_requests, 1);

        // Seen while it was going on.
        let early = TenantMeter::new(TenantUid::from_u128(2), TenantName::new("early").unwrap(), growth());
        for (at, class, took) in log {
            early.began(now_at(at));
            early.ended(now_at(at), class, Duration::from_millis(took));
            if at == 3_000 {
                let usage = early.usage(now_at(at), &input(0, 0), &tiers);
                assert_eq!((usage.requests_last_minute, usage.errors_last_minute), (3, 1));
            }
        }

        // A silent hour later, without a write in between.
        let usage = meter.usage(now_at(250_000 + 3_600_000), &input(0, 0), &tiers);
        assert_eq!(usage.peak_requests_per_minute, 0);
        assert_eq!(usage.average_response_micros, None);
        assert_eq!(usage.error_ratio, None);
    }

    #[test]
    fn samples_give_cpu_growth_class_and_score() {
        const MIB: u64 = 1 << 20;
        let tiers = TierDefinition::defaults();
        let meter = meter();
        let (first, events) = meter.sample(now_at(0), &input(MIB, 0), &tiers);
        assert_eq!(
            (first.usage.cpu_millicores, first.usage.observed_class),
            (0, Tier::Micro)
        );
        assert!(events.is_empty());
        let (second, _) = meter.sample(now_at(300_000), &input(2 * MIB, 15_000_000), &tiers);
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
        const MIB: u64 = 1 << 20;
        let tiers = TierDefinition::defaults();
        let meter = meter();
        let mut percents = Vec::new();
        for (step, mib) in [7, 9, 9, 10, 10, 3, 9].into_iter().enumerate() {
            let (_, events) = meter.sample(now_at(step as u64 * 10_000), &input(mib * MIB, 0), &tiers);
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
