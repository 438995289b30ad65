//! Which class size and traffic put a tenant in.
//!
//! Up when 3 samples in a row lie above the present class, to the lowest of the three; down when a whole day stayed below it,
//! to the highest of that day. A tenant that was never sampled begins in the class of its contracted tier: one that outgrew the
//! tier before its first sample still rises.

use std::time::Duration;

use tenantry_types::{EventDetail, TenantUsage, Tier, TierDefinition, UnixMillis};

const SAMPLES_TO_RISE: u32 = 3;
const QUIET_BEFORE_FALL: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept of a tenant's class across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassRecord {
    /// The class.
    pub class: Tier,
    /// A fall that may come.
    pub fall: Option<Fall>,
}

/// Time spent below the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// Since when.
    pub since: UnixMillis,
    /// The highest class of that time.
    pub highest: Tier,
}

/// The class of one tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct ClassWatch {
    record: Option<ClassRecord>,
    rise: Option<Rise>,
}

#[derive(Debug, Clone, Copy)]
struct Rise {
    samples: u32,
    lowest: Tier,
}

impl ClassWatch {
    pub(super) const fn resumed(record: Option<ClassRecord>) -> Self {
        Self { record, rise: None }
    }

    /// Begins in the class of the contracted tier, unless one is known.
    pub(super) const fn begin(&mut self, tier: Tier) {
        if self.record.is_none() {
            self.record = Some(ClassRecord {
                class: tier,
                fall: None,
            });
        }
    }

    /// What is to be kept; `None` before the first sample.
    pub(super) const fn record(&self) -> Option<ClassRecord> {
        self.record
    }

    pub(super) const fn is_rising(&self) -> bool {
        self.rise.is_some()
    }

    /// Takes a sample; answers with the change that is due, if any. It stays due until it is accepted.
    pub(super) fn sample(
        &mut self,
        now: UnixMillis,
        usage: &TenantUsage,
        tiers: &[TierDefinition],
    ) -> Option<EventDetail> {
        let measured = class_of(usage.database_bytes, usage.requests_last_day, tiers);
        let record = self.record.as_mut()?;
        let from = record.class;
        let to = if measured > from {
            record.fall = None;
            let rise = self.rise.get_or_insert(Rise {
                samples: 0,
                lowest: measured,
            });
            rise.samples = rise.samples.saturating_add(1);
            rise.lowest = rise.lowest.min(measured);
            (rise.samples >= SAMPLES_TO_RISE).then_some(rise.lowest)?
        } else if measured < from {
            self.rise = None;
            let fall = record.fall.get_or_insert(Fall {
                since: now,
                highest: measured,
            });
            // The clock went back: the day begins anew rather than to last for ever.
            fall.since = fall.since.min(now);
            fall.highest = fall.highest.max(measured);
            (now.since(fall.since) >= QUIET_BEFORE_FALL).then_some(fall.highest)?
        } else {
            self.rise = None;
            record.fall = None;
            return None;
        };
        Some(EventDetail::ClassChanged {
            from,
            to,
            database_bytes: usage.database_bytes,
            requests_last_day: usage.requests_last_day,
        })
    }

    /// The change to `class` was made.
    pub(super) const fn accept(&mut self, class: Tier) {
        *self = Self::resumed(Some(ClassRecord { class, fall: None }));
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
mod tests {
    use super::super::usage_of_shares;
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

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

    /// What that many requests at that hour change.
    fn sample(watch: &mut ClassWatch, hour: u64, requests_last_day: u64) -> Option<(Tier, Tier)> {
        let usage = TenantUsage {
            requests_last_day,
            database_bytes: 0,
            ..usage_of_shares([0.0; 4])
        };
        match watch.sample(UnixMillis(hour * HOUR), &usage, &TierDefinition::defaults())? {
            EventDetail::ClassChanged { from, to, .. } => Some((from, to)),
            other => panic!("{other:?} is no class"),
        }
    }

    /// Samples as `(hour, requests)`; the classes that were changed to, by sample.
    fn changes(tier: Tier, samples: &[(u64, u64)]) -> Vec<(usize, Tier, Tier)> {
        let mut watch = ClassWatch::default();
        watch.begin(tier);
        let mut changes = Vec::new();
        for (index, (hour, requests)) in samples.iter().enumerate() {
            if let Some((from, to)) = sample(&mut watch, *hour, *requests) {
                watch.accept(to);
                changes.push((index, from, to));
            }
        }
        changes
    }

    #[test]
    #[expect(clippy::type_complexity, reason = "a table of cases")]
    fn a_class_rises_after_three_samples_and_falls_after_a_quiet_day() {
        use Tier::{Large, Medium, Micro, Small};
        let cases: [(Tier, &[(u64, u64)], &[(usize, Tier, Tier)]); 9] = [
            // What outgrew its tier before the first sample.
            (
                Micro,
                &[(0, 50_000), (0, 50_000), (0, 50_000), (1, 50_000)],
                &[(2, Micro, Medium)],
            ),
            (Micro, &[(0, 2_000), (0, 2_000), (0, 2_000)], &[(2, Micro, Small)]),
            (Micro, &[(0, 2_000), (0, 2_000), (0, 5), (0, 2_000), (0, 2_000)], &[]),
            // To the lowest of the three.
            (Micro, &[(0, 200_000), (0, 2_000), (0, 20_000)], &[(2, Micro, Small)]),
            // Down only after a whole day, to the highest of it.
            (Large, &[(0, 5), (12, 20_000), (23, 5), (24, 5)], &[(3, Large, Medium)]),
            (
                Small,
                &[(0, 5), (20, 2_000), (21, 5), (44, 5), (45, 5)],
                &[(4, Small, Micro)],
            ),
            (Small, &[(0, 2_000), (99, 2_000)], &[]),
            (
                Medium,
                &[(0, 5), (30, 5), (31, 50_000), (31, 50_000), (31, 50_000)],
                &[(1, Medium, Micro), (4, Micro, Medium)],
            ),
            // The clock goes back by a year.
            (Small, &[(9_000, 5), (240, 5), (263, 5), (264, 5)], &[(3, Small, Micro)]),
        ];
        for (tier, samples, expected) in cases {
            assert_eq!(changes(tier, samples), expected, "{samples:?}");
        }
    }

    #[test]
    fn traffic_that_swings_around_a_threshold_changes_the_class_once() {
        let samples = (0..2_000).map(|hour| (hour, if hour % 5 == 0 { 900 } else { 1_100 }));
        assert_eq!(changes(Tier::Micro, &samples.collect::<Vec<_>>()).len(), 1);
    }

    #[test]
    fn a_change_is_due_until_it_is_made_and_a_fall_goes_on_after_a_restart() {
        let mut watch = ClassWatch::resumed(Some(ClassRecord {
            class: Tier::Large,
            fall: None,
        }));
        assert_eq!(sample(&mut watch, 0, 20_000), None);
        let kept = watch.record();
        let mut watch = ClassWatch::resumed(kept);
        assert_eq!(sample(&mut watch, 23, 5), None);
        let due = Some((Tier::Large, Tier::Medium));
        assert_eq!([sample(&mut watch, 24, 5), sample(&mut watch, 25, 5)], [due, due]);
        watch.accept(Tier::Medium);
        assert_eq!(sample(&mut watch, 26, 5), None);
        // A rise, too, and to what is the lowest by then.
        let rising: Vec<_> = [500_000, 500_000, 500_000, 200_000]
            .map(|requests| sample(&mut watch, 27, requests))
            .into();
        let due = Some((Tier::Medium, Tier::Large));
        assert_eq!(rising[..2], [None, None]);
        assert!(rising[2] >= due && rising[3] == due, "{rising:?}");
    }
}
