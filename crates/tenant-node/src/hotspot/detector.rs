//! Turns samples of one tenant into transitions: hotspot raised or cleared, class changed.
//!
//! Hotspot: raised when 2 of the last 3 samples lie above 0.7, cleared when 2 of the last 3 lie below 0.5; each
//! transition starts the count anew. Class: up when 3 samples in a row lie above the present one, to the lowest of the
//! three; down when a whole day stayed below it, to the highest of that day. A tenant whose class is not known takes that
//! of its first sample, which is no transition.

use std::time::Duration;

use tenantry_types::{EventDetail, ScoreTerms, TenantUsage, Tier, TierDefinition, UnixMillis};

use super::score::{score, terms};

const RAISE_ABOVE: f64 = 0.7;
const CLEAR_BELOW: f64 = 0.5;
/// That many of the last `SAMPLES_IN_VIEW` samples decide.
const SAMPLES_TO_ACT: u32 = 2;
const SAMPLES_IN_VIEW: u32 = 3;
const SAMPLES_TO_RISE: u32 = 3;
const QUIET_BEFORE_FALL: Duration = Duration::from_secs(24 * 60 * 60);

/// What is remembered of one tenant between samples.
#[derive(Debug, Clone, Default)]
pub struct Detector {
    heat: Heat,
    /// Of the last samples, newest in the lowest bit: whether each called for the transition that is possible now.
    calls: u8,
    class: Option<Tier>,
    rise: Option<Rise>,
    fall: Option<Fall>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Heat {
    #[default]
    Normal,
    Hot,
}

#[derive(Debug, Clone, Copy)]
struct Rise {
    samples: u32,
    lowest: Tier,
}

#[derive(Debug, Clone, Copy)]
struct Fall {
    since: UnixMillis,
    highest: Tier,
}

impl Detector {
    /// Takes a class that was observed before this process, unless one is known.
    pub const fn resume(&mut self, class: Option<Tier>) {
        if self.class.is_none() {
            self.class = class;
        }
    }

    /// The class after the last sample.
    #[must_use]
    pub const fn observed_class(&self) -> Option<Tier> {
        self.class
    }

    /// Takes a sample; answers with what changed by it.
    pub fn sample(&mut self, now: UnixMillis, usage: &TenantUsage, tiers: &[TierDefinition]) -> Vec<EventDetail> {
        let heat = self.sample_heat(&terms(usage));
        let class = self.sample_class(now, usage, tiers);
        heat.into_iter().chain(class).collect()
    }

    fn sample_heat(&mut self, terms: &ScoreTerms) -> Option<EventDetail> {
        let score = score(terms);
        let calls = match self.heat {
            Heat::Normal => score.get() > RAISE_ABOVE,
            Heat::Hot => score.get() < CLEAR_BELOW,
        };
        self.calls = (self.calls << 1 | u8::from(calls)) & ((1 << SAMPLES_IN_VIEW) - 1);
        if self.calls.count_ones() < SAMPLES_TO_ACT {
            return None;
        }
        self.calls = 0;
        let terms = *terms;
        Some(match self.heat {
            Heat::Normal => {
                self.heat = Heat::Hot;
                EventDetail::HotspotRaised { score, terms }
            }
            Heat::Hot => {
                self.heat = Heat::Normal;
                EventDetail::HotspotCleared { score, terms }
            }
        })
    }

    fn sample_class(&mut self, now: UnixMillis, usage: &TenantUsage, tiers: &[TierDefinition]) -> Option<EventDetail> {
        let measured = class_of(usage.database_bytes, usage.requests_last_day, tiers);
        let Some(present) = self.class else {
            self.class = Some(measured);
            return None;
        };
        let to = if measured > present {
            self.fall = None;
            let rise = self.rise.get_or_insert(Rise {
                samples: 0,
                lowest: measured,
            });
            rise.samples += 1;
            rise.lowest = rise.lowest.min(measured);
            (rise.samples >= SAMPLES_TO_RISE).then_some(rise.lowest)?
        } else if measured < present {
            self.rise = None;
            let fall = self.fall.get_or_insert(Fall {
                since: now,
                highest: measured,
            });
            fall.highest = fall.highest.max(measured);
            (now.since(fall.since) >= QUIET_BEFORE_FALL).then_some(fall.highest)?
        } else {
            self.rise = None;
            self.fall = None;
            return None;
        };
        self.rise = None;
        self.fall = None;
        self.class = Some(to);
        Some(EventDetail::ClassChanged {
            from: present,
            to,
            database_bytes: usage.database_bytes,
            requests_last_day: usage.requests_last_day,
        })
    }
}

/// The largest tier whose thresholds size or traffic lies above; the smallest tier where there is none.
#[must_use]
pub fn class_of(database_bytes: u64, requests_last_day: u64, tiers: &[TierDefinition]) -> Tier {
    tiers
        .iter()
        .filter(|tier| database_bytes > tier.observed_above_bytes || requests_last_day > tier.observed_above_requests)
        .map(|tier| tier.tier)
        .max()
        .or_else(|| tiers.iter().map(|tier| tier.tier).min())
        .unwrap_or(Tier::Micro)
}

#[cfg(test)]
pub(super) mod tests {
    use tenantry_types::{EffectiveQuota, Epoch, GrowthRate, HotspotScore, TenantUid};

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn quota() -> EffectiveQuota {
        TierDefinition::defaults()[1].quota
    }

    /// Use of those shares of the small tier's limits: database, requests, CPU, memory.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small positive test figures"
    )]
    pub(crate) fn usage(shares: [f64; 4]) -> TenantUsage {
        let [database, requests, cpu, memory] = shares;
        let quota = quota();
        let part = |share: f64, limit: u64| (share * limit as f64) as u64;
        TenantUsage {
            tenant: TenantUid::from_u128(1),
            epoch: Epoch(1),
            measured_at: UnixMillis(0),
            quota,
            requests_last_day: part(requests, quota.requests_per_day),
            concurrent_requests: 0,
            database_bytes: part(database, quota.database_bytes),
            wal_bytes: 0,
            free_bytes: 0,
            growth: GrowthRate::NotEnoughData,
            requests_last_minute: 0,
            errors_last_minute: 0,
            peak_requests_per_minute: 0,
            average_response_micros: None,
            error_ratio: None,
            cpu_millicores: part(cpu, u64::from(quota.cpu_millicores)),
            memory_bytes: part(memory, quota.memory_bytes),
            rows_read: 0,
            rows_written: 0,
            observed_class: Tier::Micro,
            hotspot: HotspotScore::default(),
        }
    }

    fn of_size(database_bytes: u64, requests_last_day: u64) -> TenantUsage {
        TenantUsage {
            database_bytes,
            requests_last_day,
            ..usage([0.0; 4])
        }
    }

    /// What the heat of each of those samples reports: raised (+), cleared (-) or nothing (.).
    fn heat_of(scores: &[f64]) -> String {
        let mut detector = Detector::default();
        scores
            .iter()
            .map(|score| {
                let terms = ScoreTerms {
                    database: *score,
                    requests: *score,
                    cpu: *score,
                    memory: *score,
                };
                match detector.sample_heat(&terms) {
                    Some(EventDetail::HotspotRaised { .. }) => '+',
                    Some(EventDetail::HotspotCleared { .. }) => '-',
                    _ => '.',
                }
            })
            .collect()
    }

    #[test]
    fn heat_is_raised_and_cleared_by_two_of_three_samples() {
        let cases: [(&[f64], &str); 8] = [
            (&[0.9], "."),
            (&[0.9, 0.9, 0.9, 0.9], ".+.."),
            (&[0.9, 0.1, 0.9], "..+"),
            (&[0.9, 0.1, 0.1, 0.9], "...."),
            (&[0.7, 0.7, 0.7], "..."),
            (&[0.9, 0.9, 0.4, 0.4], ".+.-"),
            (&[0.9, 0.9, 0.4, 0.6, 0.6, 0.4], ".+...."),
            (&[0.9, 0.9, 0.5, 0.5, 0.5], ".+..."),
        ];
        for (scores, expected) in cases {
            assert_eq!(heat_of(scores), expected, "{scores:?}");
        }
    }

    #[test]
    fn a_score_that_swings_around_one_threshold_is_one_event() {
        let around_raise = [0.72, 0.68].repeat(500);
        assert_eq!(heat_of(&around_raise).matches(['+', '-']).count(), 1);
        let mut around_clear = vec![0.9, 0.9];
        around_clear.extend([0.48, 0.52].repeat(500));
        assert_eq!(heat_of(&around_clear).matches(['+', '-']).count(), 2);
        let wild = [0.9, 0.9, 0.1, 0.1].repeat(250);
        assert_eq!(
            heat_of(&wild).matches(['+', '-']).count(),
            500,
            "at most one per two samples"
        );
    }

    #[test]
    fn classes_follow_the_thresholds_of_the_tiers() {
        const MIB: u64 = 1 << 20;
        let tiers = TierDefinition::defaults();
        let cases = [
            (0, 0, Tier::Micro),
            (10 * MIB, 1_000, Tier::Micro),
            (10 * MIB + 1, 0, Tier::Small),
            (0, 1_001, Tier::Small),
            (100 * MIB + 1, 0, Tier::Medium),
            (0, 100_001, Tier::Large),
            (6 * 1024 * MIB, 5, Tier::Enterprise),
            (u64::MAX, u64::MAX, Tier::Enterprise),
        ];
        for (bytes, requests, class) in cases {
            assert_eq!(
                class_of(bytes, requests, &tiers),
                class,
                "{bytes} bytes, {requests} requests"
            );
        }
        assert_eq!(class_of(5, 5, &[]), Tier::Micro);
    }

    /// Samples as `(hour, requests)`; the classes that were changed to, by sample.
    fn changes(known: Option<Tier>, samples: &[(u64, u64)]) -> Vec<(usize, Tier, Tier)> {
        let mut detector = Detector::default();
        detector.resume(known);
        let mut changes = Vec::new();
        for (index, (hour, requests)) in samples.iter().enumerate() {
            let at = UnixMillis(hour * HOUR);
            for event in detector.sample(at, &of_size(0, *requests), &TierDefinition::defaults()) {
                if let EventDetail::ClassChanged { from, to, .. } = event {
                    changes.push((index, from, to));
                }
            }
        }
        changes
    }

    #[test]
    #[expect(clippy::type_complexity, reason = "a table of cases")]
    fn a_class_rises_after_three_samples_and_falls_after_a_quiet_day() {
        use Tier::{Large, Medium, Micro, Small};
        let cases: [(Option<Tier>, &[(u64, u64)], &[(usize, Tier, Tier)]); 8] = [
            // The first sample of an unknown tenant is no transition.
            (None, &[(0, 50_000), (1, 50_000), (2, 50_000), (3, 50_000)], &[]),
            (Some(Micro), &[(0, 2_000), (0, 2_000), (0, 2_000)], &[(2, Micro, Small)]),
            (
                Some(Micro),
                &[(0, 2_000), (0, 2_000), (0, 5), (0, 2_000), (0, 2_000)],
                &[],
            ),
            // To the lowest of the three.
            (
                Some(Micro),
                &[(0, 200_000), (0, 2_000), (0, 20_000)],
                &[(2, Micro, Small)],
            ),
            // Down only after a whole day, to the highest of it.
            (
                Some(Large),
                &[(0, 5), (12, 20_000), (23, 5), (24, 5)],
                &[(3, Large, Medium)],
            ),
            (
                Some(Small),
                &[(0, 5), (20, 2_000), (21, 5), (44, 5), (45, 5)],
                &[(4, Small, Micro)],
            ),
            (Some(Small), &[(0, 2_000), (99, 2_000)], &[]),
            (
                Some(Medium),
                &[(0, 5), (30, 5), (31, 50_000), (31, 50_000), (31, 50_000)],
                &[(1, Medium, Micro), (4, Micro, Medium)],
            ),
        ];
        for (known, samples, expected) in cases {
            assert_eq!(changes(known, samples), expected, "{samples:?}");
        }
    }

    #[test]
    fn traffic_that_swings_around_a_threshold_changes_the_class_once() {
        let samples = (0..2_000).map(|hour| (hour, if hour % 5 == 0 { 900 } else { 1_100 }));
        assert_eq!(changes(Some(Tier::Micro), &samples.collect::<Vec<_>>()).len(), 1);
    }
}
