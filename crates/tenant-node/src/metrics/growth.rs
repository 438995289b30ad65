//! How fast a database grows: the median of the slopes between all pairs of points (Theil-Sen) of the last 2 hours.
//!
//! The median ignores a single vacuum or bulk load; the newest point minus the oldest would not.

use std::collections::VecDeque;
use std::time::Duration;

use tenantry_types::{GrowthRate, UnixMillis};

/// Points kept at most, whatever the interval: the pairs grow with the square.
const MAX_POINTS: usize = 64;
const MILLIS_PER_HOUR: f64 = 3_600_000.0;

/// Points of one database.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    interval_millis: u64,
    window_millis: u64,
    /// `(time, bytes)`, oldest first, one per interval of the clock.
    points: VecDeque<(u64, u64)>,
}

impl Growth {
    /// One point per `interval`, of the last `points_in_window` intervals (2 to 63).
    pub(crate) fn new(interval: Duration, points_in_window: u32) -> Self {
        let interval_millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let intervals = u64::from(points_in_window).clamp(2, MAX_POINTS as u64 - 1);
        Self {
            interval_millis,
            window_millis: interval_millis.saturating_mul(intervals),
            points: VecDeque::new(),
        }
    }

    /// Takes the first size that it is given in each interval of the clock.
    pub(crate) fn record(&mut self, at: UnixMillis, bytes: u64) {
        let interval = |time: u64| time / self.interval_millis;
        if self
            .points
            .back()
            .is_none_or(|(last, _)| interval(at.0) > interval(*last))
        {
            self.points.push_back((at.0, bytes));
        }
        self.forget_old(at);
    }

    /// The slope of the points that are young enough at `now`.
    pub(crate) fn rate(&mut self, now: UnixMillis) -> GrowthRate {
        self.forget_old(now);
        let (Some((first, _)), Some((last, _))) = (self.points.front(), self.points.back()) else {
            return GrowthRate::NotEnoughData;
        };
        if last - first < self.interval_millis {
            return GrowthRate::NotEnoughData;
        }
        let mut slopes = Vec::with_capacity(self.points.len() * (self.points.len() - 1) / 2);
        for (index, (time, bytes)) in self.points.iter().enumerate() {
            for (later, then) in self.points.iter().skip(index + 1) {
                slopes.push((*then as f64 - *bytes as f64) / (later - time) as f64);
            }
        }
        GrowthRate::BytesPerHour(median(&mut slopes) * MILLIS_PER_HOUR)
    }

    fn forget_old(&mut self, now: UnixMillis) {
        while self.points.len() > MAX_POINTS
            || self
                .points
                .front()
                .is_some_and(|(at, _)| now.0.saturating_sub(*at) > self.window_millis)
        {
            self.points.pop_front();
        }
    }
}

/// The middle value, or the mean of the two. Zero for none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half.wrapping_sub(1)), values.get(half)) {
        (Some(lower), Some(upper)) if values.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (_, Some(middle)) => *middle,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn growth() -> Growth {
        Growth::new(Duration::from_secs(300), 24)
    }

    fn after(points: &[(u64, u64)]) -> GrowthRate {
        let mut growth = growth();
        for (minute, bytes) in points {
            growth.record(UnixMillis(minute * MINUTE), *bytes);
        }
        let now = points.last().map_or(0, |(minute, _)| minute * MINUTE);
        growth.rate(UnixMillis(now))
    }

    #[test]
    fn the_rate_is_a_slope_or_says_that_it_cannot_be_one() {
        use GrowthRate::{BytesPerHour, NotEnoughData};
        let cases: [(&[(u64, u64)], GrowthRate); 8] = [
            (&[], NotEnoughData),
            (&[(0, 100)], NotEnoughData),
            // Two samples within one interval are one point.
            (&[(0, 100), (4, 900)], NotEnoughData),
            // Two points closer than an interval.
            (&[(4, 100), (6, 900)], NotEnoughData),
            (&[(0, 0), (5, 100)], BytesPerHour(1200.0)),
            (&[(0, 300), (5, 200), (10, 100)], BytesPerHour(-1200.0)),
            // A bulk load in the middle of a flat line.
            (
                &[(0, 0), (5, 0), (10, 0), (15, 0), (20, 0), (25, 900_000)],
                BytesPerHour(0.0),
            ),
            (&[(0, 7), (60, 7), (119, 7)], BytesPerHour(0.0)),
        ];
        for (points, expected) in cases {
            assert_eq!(after(points), expected, "{points:?}");
        }
    }

    #[test]
    fn points_leave_the_window_on_read() {
        let mut growth = growth();
        growth.record(UnixMillis(0), 0);
        growth.record(UnixMillis(5 * MINUTE), 100);
        assert_eq!(growth.rate(UnixMillis(120 * MINUTE)), GrowthRate::BytesPerHour(1200.0));
        assert_eq!(growth.rate(UnixMillis(121 * MINUTE)), GrowthRate::NotEnoughData);
        assert_eq!(growth.rate(UnixMillis(900 * MINUTE)), GrowthRate::NotEnoughData);
    }

    proptest! {
        #[test]
        fn the_rate_is_that_of_the_naive_definition(
            steps in proptest::collection::vec((1_u64..12, 0_u64..1_000_000), 1..70),
        ) {
            let mut growth = growth();
            let (mut minute, mut log) = (0, Vec::<(u64, u64)>::new());
            for (step, bytes) in steps {
                minute += step;
                growth.record(UnixMillis(minute * MINUTE), bytes);
                if log.last().is_none_or(|(last, _)| last / 5 < minute / 5) {
                    log.push((minute, bytes));
                }
            }
            log.retain(|(at, _)| minute - at <= 120);
            let mut slopes = Vec::new();
            for (index, a) in log.iter().enumerate() {
                for b in &log[index + 1..] {
                    slopes.push((b.1 as f64 - a.1 as f64) / (b.0 - a.0) as f64 * 60.0);
                }
            }
            slopes.sort_by(f64::total_cmp);
            match growth.rate(UnixMillis(minute * MINUTE)) {
                GrowthRate::NotEnoughData => {
                    prop_assert!(log.len() < 2 || log[log.len() - 1].0 - log[0].0 < 5);
                }
                GrowthRate::BytesPerHour(rate) => {
                    let middle = (slopes[(slopes.len() - 1) / 2] + slopes[slopes.len() / 2]) / 2.0;
                    prop_assert!((rate - middle).abs() <= 1e-6 * middle.abs().max(1.0), "{rate} is not {middle}");
                }
            }
        }
    }
}
