//! Use that passes 80, 95 or 100 % of a limit.
//!
//! Each share is reported once on the way up, and again only after use has fallen 5 points below it, so that use that
//! swings around a share is not a stream of events. Reporting is the caller's: nothing is called out to.

use tenantry_types::{EventDetail, QuotaKind};

/// The shares, in percent.
const SHARES: [u32; 3] = [80, 95, 100];
/// How far use must fall below a share before it counts as left, in points.
const REARM_POINTS: u32 = 5;

/// A share that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    /// Of which limit.
    pub quota: QuotaKind,
    /// 80, 95 or 100.
    pub percent: u32,
    /// Use when it was passed.
    pub used: u64,
    /// The limit when it was passed.
    pub limit: u64,
}

impl From<Crossing> for EventDetail {
    fn from(crossing: Crossing) -> Self {
        Self::QuotaCrossed {
            quota: crossing.quota,
            percent: crossing.percent,
            used: crossing.used,
            limit: crossing.limit,
        }
    }
}

/// Remembers which share of one limit was reported last.
#[derive(Debug, Clone)]
pub struct CrossingDetector {
    quota: QuotaKind,
    /// The highest share that is reported and not left again; zero for none.
    reported: u32,
}

impl CrossingDetector {
    /// Nothing reported yet.
    #[must_use]
    pub const fn new(quota: QuotaKind) -> Self {
        Self { quota, reported: 0 }
    }

    /// Takes the shares that `used` has passed already for reported: after a restart they are no news.
    pub fn resume(&mut self, used: u64, limit: u64) {
        self.observe(used, limit);
    }

    /// The share that is passed now and was not before: the highest, if it is several.
    pub fn observe(&mut self, used: u64, limit: u64) -> Option<Crossing> {
        let passed = |percent: u32| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
        if let Some(percent) = SHARES
            .into_iter()
            .rev()
            .find(|share| *share > self.reported && passed(*share))
        {
            self.reported = percent;
            return Some(Crossing {
                quota: self.quota,
                percent,
                used,
                limit,
            });
        }
        while self.reported > 0 && !passed(self.reported - REARM_POINTS) {
            self.reported = SHARES
                .into_iter()
                .rev()
                .find(|share| *share < self.reported)
                .unwrap_or(0);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_share_is_reported_once_until_use_has_clearly_fallen() {
        let mut detector = CrossingDetector::new(QuotaKind::RequestsPerDay);
        let cases = [
            // used, limit, percent reported
            (79, 100, None),
            (80, 100, Some(80)),
            (81, 100, None),
            (79, 100, None),
            (80, 100, None),
            (74, 100, None),
            (80, 100, Some(80)),
            (95, 100, Some(95)),
            (100, 100, Some(100)),
            (100, 100, None),
            (94, 100, None),
            (100, 100, Some(100)),
            (0, 100, None),
            (100, 100, Some(100)),
            // The limit is raised, then lowered under use.
            (100, 1000, None),
            (100, 100, Some(100)),
            (u64::MAX, u64::MAX, None),
        ];
        for (step, (used, limit, percent)) in cases.into_iter().enumerate() {
            assert_eq!(detector.observe(used, limit).map(|c| c.percent), percent, "step {step}");
        }
    }

    #[test]
    fn what_was_passed_before_a_restart_is_no_news() {
        let mut detector = CrossingDetector::new(QuotaKind::Database);
        detector.resume(96, 100);
        assert_eq!(detector.observe(97, 100), None);
        let crossing = detector.observe(100, 100).unwrap();
        assert_eq!(
            EventDetail::from(crossing),
            EventDetail::QuotaCrossed {
                quota: QuotaKind::Database,
                percent: 100,
                used: 100,
                limit: 100
            }
        );
    }
}
