//! Requests and errors of the last 60 seconds: 60 one-second slots aligned to the clock, the running one included.
//!
//! What a live view needs, and a window of whole minutes cannot give: it neither drops to nothing when a minute begins nor
//! lags by one.

use tenantry_types::UnixMillis;

use crate::slot_ring::SlotRing;

const SECOND_MILLIS: u64 = 1000;

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    requests: u32,
    errors: u32,
}

/// Requests by when they came, errors by when their answers ended.
#[derive(Debug, Clone)]
pub(crate) struct LastMinute(SlotRing<Second, 60>);

impl LastMinute {
    pub(crate) fn new() -> Self {
        Self(SlotRing::new(SECOND_MILLIS))
    }

    /// Counts a request that came at `at`.
    pub(crate) fn request(&mut self, at: UnixMillis) {
        self.0.advance(at.0, |_| ());
        let second = self.0.newest_mut();
        second.requests = second.requests.saturating_add(1);
    }

    /// Counts an error whose answer ended at `at`.
    pub(crate) fn error(&mut self, at: UnixMillis) {
        self.0.advance(at.0, |_| ());
        let second = self.0.newest_mut();
        second.errors = second.errors.saturating_add(1);
    }

    /// Requests and errors.
    pub(crate) fn totals(&mut self, now: UnixMillis) -> (u64, u64) {
        self.0.advance(now.0, |_| ());
        self.0.iter().fold((0, 0), |(requests, errors), (_, second)| {
            (requests + u64::from(second.requests), errors + u64::from(second.errors))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_minute_is_that_of_a_request_log(
            steps in proptest::collection::vec((0_u64..20_000, 0_usize..4, 0_usize..3), 1..100),
        ) {
            let mut minute = LastMinute::new();
            let (mut requests, mut errors) = (Vec::new(), Vec::new());
            let mut now = 1_700_000_012_345;
            for (step, more_requests, more_errors) in steps {
                now += step;
                for _ in 0..more_requests {
                    minute.request(UnixMillis(now));
                    requests.push(now);
                }
                for _ in 0..more_errors {
                    minute.error(UnixMillis(now));
                    errors.push(now);
                }
                let recent = |log: &[u64]| {
                    let within = log.iter().filter(|at| **at / SECOND_MILLIS + 60 > now / SECOND_MILLIS);
                    within.count() as u64
                };
                prop_assert_eq!(minute.totals(UnixMillis(now)), (recent(&requests), recent(&errors)));
            }
        }
    }

    #[test]
    fn a_quiet_minute_leaves_nothing_without_a_write() {
        let mut minute = LastMinute::new();
        minute.request(UnixMillis(999));
        minute.error(UnixMillis(999));
        assert_eq!(minute.totals(UnixMillis(59_999)), (1, 1));
        assert_eq!(minute.totals(UnixMillis(60_000)), (0, 0));
    }
}
