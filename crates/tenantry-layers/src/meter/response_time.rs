//! Response times: the average and quantiles over the last 5 minutes, and a histogram since the start.
//!
//! The window is 10 slots of 30 seconds, the running one included, so it covers 4.5 to 5 minutes.

use std::time::Duration;

use tenantry_types::UnixMillis;

use crate::slot_ring::SlotRing;

const SLOT_MILLIS: u64 = 30 * 1000;

/// Upper bounds of the histogram's buckets in seconds; one more bucket has no bound.
pub const UPPER_BOUNDS_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];
const BUCKETS: usize = UPPER_BOUNDS_SECONDS.len() + 1;

/// Response times since the start, by bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ResponseHistogram {
    /// Answers and the sum of their seconds, per bucket; the last has no upper bound.
    pub buckets: [(u64, f64); BUCKETS],
}

impl ResponseHistogram {
    fn record(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some((count, sum)) = self.buckets.get_mut(bucket_of(seconds)) {
            *count += 1;
            *sum += seconds;
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    counts: [u32; BUCKETS],
    sum_micros: u64,
}

/// Response times of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct ResponseTimes {
    window: SlotRing<Slot, 10>,
    histogram: ResponseHistogram,
}

impl ResponseTimes {
    pub(crate) fn new() -> Self {
        Self {
            window: SlotRing::new(SLOT_MILLIS),
            histogram: ResponseHistogram::default(),
        }
    }

    /// Counts an answer that ended at `at` and took `time`.
    pub(crate) fn record(&mut self, at: UnixMillis, time: Duration) {
        self.histogram.record(time);
        self.window.advance(at.0, |_| ());
        let slot = self.window.newest_mut();
        if let Some(count) = slot.counts.get_mut(bucket_of(time.as_secs_f64())) {
            *count = count.saturating_add(1);
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        slot.sum_micros = slot.sum_micros.saturating_add(micros);
    }

    /// The average in microseconds; `None` without answers.
    pub(crate) fn average_micros(&mut self, now: UnixMillis) -> Option<u64> {
        let (counts, sum_micros) = self.totals(now);
        sum_micros.checked_div(counts.iter().sum())
    }

    /// The time in seconds that a share `q` (0 to 1) of the answers did not exceed, straight lines drawn within buckets;
    /// the last bound where it lies beyond. `None` without answers.
    pub(crate) fn quantile_seconds(&mut self, now: UnixMillis, q: f64) -> Option<f64> {
        let (counts, _) = self.totals(now);
        let all = counts.iter().sum::<u64>();
        if all == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * all as f64;
        let (mut below, mut lower) = (0_u64, 0.0);
        for (count, upper) in counts.into_iter().zip(UPPER_BOUNDS_SECONDS) {
            if count > 0 && (below + count) as f64 >= rank {
                let within = ((rank - below as f64) / count as f64).max(0.0);
                return Some(lower + (upper - lower) * within);
            }
            below += count;
            lower = upper;
        }
        Some(lower)
    }

    /// Answers since the start.
    pub(crate) const fn histogram(&self) -> &ResponseHistogram {
        &self.histogram
    }

    fn totals(&mut self, now: UnixMillis) -> ([u64; BUCKETS], u64) {
        self.window.advance(now.0, |_| ());
        let mut counts = [0_u64; BUCKETS];
        let mut sum_micros = 0_u64;
        for (_, slot) in self.window.iter() {
            for (sum, count) in counts.iter_mut().zip(slot.counts) {
                *sum += u64::from(count);
            }
            sum_micros = sum_micros.saturating_add(slot.sum_micros);
        }
        (counts, sum_micros)
    }
}

fn bucket_of(seconds: f64) -> usize {
    UPPER_BOUNDS_SECONDS.partition_point(|bound| *bound < seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn average_and_quantiles_are_those_of_a_request_log(
            steps in proptest::collection::vec((0_u64..90_000, 0_u64..40_000_000), 1..80), q in 0.0_f64..=1.0,
        ) {
            let mut times = ResponseTimes::new();
            let mut log = Vec::new();
            let mut now = 1_700_000_012_345;
            for (step, micros) in &steps {
                now += step;
                times.record(UnixMillis(now), Duration::from_micros(*micros));
                log.push((now, *micros));
            }
            let mut seen = log
                .iter()
                .filter(|(at, _)| at / SLOT_MILLIS + 10 > now / SLOT_MILLIS)
                .map(|(_, micros)| *micros)
                .collect::<Vec<_>>();
            let average = seen.iter().sum::<u64>() / seen.len() as u64;
            prop_assert_eq!(times.average_micros(UnixMillis(now)), Some(average));

            // The answer of that rank lies in the bucket that the quantile lies in.
            seen.sort_unstable();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 80")]
            let rank = ((q * seen.len() as f64).ceil() as usize).clamp(1, seen.len());
            let exact = seen[rank - 1] as f64 / 1e6;
            let bucket = bucket_of(exact);
            let lower = if bucket == 0 { 0.0 } else { UPPER_BOUNDS_SECONDS[bucket - 1] };
            let upper = UPPER_BOUNDS_SECONDS.get(bucket).copied().unwrap_or(lower);
            let estimate = times.quantile_seconds(UnixMillis(now), q).unwrap();
            prop_assert!((lower..=upper).contains(&estimate), "{estimate} not in {lower}..={upper}");

            let counted = times.histogram().buckets.iter().map(|(count, _)| *count).sum::<u64>();
            prop_assert_eq!(counted, steps.len() as u64);
        }
    }

    #[test]
    fn five_quiet_minutes_leave_no_average() {
        let mut times = ResponseTimes::new();
        times.record(UnixMillis(0), Duration::from_micros(500));
        assert_eq!(times.average_micros(UnixMillis(299_999)), Some(500));
        assert_eq!(times.average_micros(UnixMillis(300_000)), None);
        assert_eq!(times.quantile_seconds(UnixMillis(300_000), 0.5), None);
    }

    #[test]
    fn a_time_on_a_bound_belongs_to_the_bucket_below() {
        assert_eq!(bucket_of(0.0), 0);
        assert_eq!(bucket_of(0.0005), 0);
        assert_eq!(bucket_of(0.000_501), 1);
        assert_eq!(bucket_of(31.0), BUCKETS - 1);
    }
}
