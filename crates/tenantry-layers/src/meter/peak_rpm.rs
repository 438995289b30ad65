//! The busiest minute of the last 60: 60 one-minute slots aligned to the clock, the running minute included.

use tenantry_types::UnixMillis;

use crate::slot_ring::SlotRing;

const MINUTE_MILLIS: u64 = 60 * 1000;

/// Requests per minute.
#[derive(Debug, Clone)]
pub(crate) struct PeakRpm(SlotRing<u64, 60>);

impl PeakRpm {
    pub(crate) fn new() -> Self {
        Self(SlotRing::new(MINUTE_MILLIS))
    }

    /// Counts a request that came at `at`.
    pub(crate) fn record(&mut self, at: UnixMillis) {
        self.0.advance(at.0, |_| ());
        *self.0.newest_mut() += 1;
    }

    /// Requests of the busiest minute.
    pub(crate) fn peak(&mut self, now: UnixMillis) -> u64 {
        self.0.advance(now.0, |_| ());
        self.0.iter().map(|(_, count)| count).max().unwrap_or(0)
    }

    /// Requests of all 60 minutes.
    pub(crate) fn total(&mut self, now: UnixMillis) -> u64 {
        self.0.advance(now.0, |_| ());
        self.0.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_peak_is_that_of_a_request_log(
            steps in proptest::collection::vec((0_u64..15 * MINUTE_MILLIS, 0_u64..6), 1..100),
        ) {
            let mut window = PeakRpm::new();
            let mut log = Vec::new();
            let mut now = 1_700_000_012_345;
            for (step, requests) in steps {
                now += step;
                for _ in 0..requests {
                    window.record(UnixMillis(now));
                    log.push(now);
                }
                let mut minutes = BTreeMap::<u64, u64>::new();
                for minute in log.iter().map(|at| at / MINUTE_MILLIS) {
                    if minute + 60 > now / MINUTE_MILLIS {
                        *minutes.entry(minute).or_default() += 1;
                    }
                }
                prop_assert_eq!(window.peak(UnixMillis(now)), minutes.values().copied().max().unwrap_or(0));
                prop_assert_eq!(window.total(UnixMillis(now)), minutes.values().sum::<u64>());
            }
        }
    }

    #[test]
    fn an_hour_of_silence_leaves_no_peak_without_a_write() {
        let mut window = PeakRpm::new();
        window.record(UnixMillis(0));
        assert_eq!(window.peak(UnixMillis(60 * MINUTE_MILLIS - 1)), 1);
        assert_eq!(window.peak(UnixMillis(60 * MINUTE_MILLIS)), 0);
    }
}
