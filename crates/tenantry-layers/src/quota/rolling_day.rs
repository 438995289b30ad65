//! Requests of the last 24 hours, counted in buckets of two and a half minutes.
//!
//! The promise: in no window of 24 hours, wherever it begins, are more requests admitted than the limit in force at the
//! moment of each admission. A bucket therefore leaves only when its *youngest* possible request is 24 hours old, so a
//! request may be counted for up to two and a half minutes longer than it had to be, never shorter: of a tenant that is always at its
//! limit that withholds 0.17 %.
//!
//! Time is the tenant's own (see `engine`): it does not follow the wall clock. Time that goes back counts as standing still.

use std::collections::VecDeque;
use std::time::Duration;

use crate::mutants::{Mutant, mutated};

/// Length of a bucket in milliseconds. Ledgers hold numbers of buckets: another length is another version of theirs.
pub(crate) const BUCKET_MILLIS: u64 = 150 * 1000;
/// 24 hours of buckets, and the present one.
const BUCKETS: u64 = 576 + 1;

/// The counter of one tenant. Takes memory for buckets that hold requests alone, since most tenants sleep most of the day.
#[derive(Debug, Clone)]
pub(crate) struct RollingDay {
    /// Bucket numbers and requests, never none; rising numbers, all of them in the window.
    buckets: VecDeque<(u64, u64)>,
    used: u64,
    /// The youngest time seen, in milliseconds.
    seen_millis: u64,
}

impl RollingDay {
    /// An empty window that ends at `at_millis`.
    pub(crate) const fn starting_at(at_millis: u64) -> Self {
        Self {
            buckets: VecDeque::new(),
            used: 0,
            seen_millis: at_millis,
        }
    }

    /// A window that ends at `at_millis` and holds `(bucket number, requests)`; buckets outside of it are dropped when
    /// they are too old, and count as of now when they lie ahead.
    pub(crate) fn from_buckets(at_millis: u64, buckets: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut day = Self::starting_at(at_millis);
        let newest = day.newest();
        let mut buckets: Vec<(u64, u64)> = buckets
            .into_iter()
            .map(|(number, requests)| (number.min(newest), requests))
            .collect();
        buckets.sort_unstable_by_key(|(number, _)| *number);
        for (number, requests) in buckets {
            if number.saturating_add(BUCKETS) > newest {
                day.add(number, requests);
            }
        }
        day
    }

    /// Lets buckets leave that are old enough at `at_millis`.
    pub(crate) fn advance(&mut self, at_millis: u64) {
        self.seen_millis = self.seen_millis.max(at_millis);
        let newest = self.newest() + u64::from(mutated(Mutant::BucketLeavesEarly));
        while let Some((number, requests)) = self.buckets.front()
            && number.saturating_add(BUCKETS) <= newest
        {
            self.used -= requests;
            self.buckets.pop_front();
        }
    }

    /// Requests in the window, as of the last `advance`.
    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    /// Counts requests at the time of the last `advance`. The caller has checked the limit.
    pub(crate) fn charge(&mut self, requests: u64) {
        self.add(self.newest(), requests);
    }

    /// How long until fewer than `limit` requests are counted, if none is added; zero when that is so already.
    /// `None` when `limit` is zero: then there is no such time.
    pub(crate) fn wait_for_room(&self, limit: u64) -> Option<Duration> {
        if limit == 0 {
            return None;
        }
        if self.used < limit {
            return Some(Duration::ZERO);
        }
        self.wait_until_gone(self.used - limit + 1)
    }

    /// How long until at least one request leaves the window; `None` when it is empty.
    pub(crate) fn wait_for_next_departure(&self) -> Option<Duration> {
        self.wait_until_gone(1)
    }

    fn wait_until_gone(&self, requests: u64) -> Option<Duration> {
        let mut gone = 0_u64;
        for (number, count) in &self.buckets {
            gone = gone.saturating_add(*count);
            if gone >= requests {
                let buckets = BUCKETS - u64::from(mutated(Mutant::RetryAfterTooEarly));
                let leaves_at = number.saturating_add(buckets).saturating_mul(BUCKET_MILLIS);
                return Some(Duration::from_millis(leaves_at.saturating_sub(self.seen_millis)));
            }
        }
        None
    }

    /// Buckets that hold requests, oldest first, as `(bucket number, requests)`.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().copied()
    }

    /// The number of the bucket that ends the window.
    const fn newest(&self) -> u64 {
        self.seen_millis / BUCKET_MILLIS
    }

    /// Adds to the bucket of that number, which is the last one or a later one. The sum of all stays a number.
    fn add(&mut self, number: u64, requests: u64) {
        let room = requests.min(u64::MAX - self.used);
        if room == 0 {
            return;
        }
        self.used += room;
        match self.buckets.back_mut() {
            Some((last, count)) if *last == number => *count += room,
            _ => self.buckets.push_back((number, room)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    /// What the counter stands for, with the whole history kept.
    #[derive(Default)]
    struct History(Vec<u64>);

    impl History {
        /// Requests in `(now - length, now]`.
        fn within(&self, now: u64, length: u64) -> u64 {
            self.0.iter().filter(|at| **at + length > now).count() as u64
        }
    }

    proptest! {
        #[test]
        fn no_24_hours_hold_more_than_the_limit_and_little_is_withheld(
            steps in proptest::collection::vec((0_u64..3 * 60 * 60 * 1000, 1_u64..12, 1_u64..8), 1..120),
        ) {
            let mut day = RollingDay::starting_at(0);
            let mut history = History::default();
            let mut now = 0;
            for (step, limit, tries) in steps {
                now += step;
                for _ in 0..tries {
                    day.advance(now);
                    if day.used() < limit {
                        day.charge(1);
                        history.0.push(now);
                        prop_assert!(history.within(now, DAY) <= limit, "admitted beyond the limit");
                    } else {
                        prop_assert!(history.within(now, DAY + BUCKET_MILLIS) >= limit, "refused without need");
                        let wait = u64::try_from(day.wait_for_room(limit).unwrap().as_millis()).unwrap();
                        let mut later = day.clone();
                        later.advance(now + wait - 1);
                        prop_assert!(later.used() >= limit, "room came before the promised time");
                        later.advance(now + wait);
                        prop_assert!(later.used() < limit, "no room at the promised time");
                    }
                }
                let rebuilt = RollingDay::from_buckets(now, day.buckets());
                prop_assert_eq!(rebuilt.used(), day.used());
                prop_assert_eq!(rebuilt.wait_for_room(limit), day.wait_for_room(limit));
            }
        }

        #[test]
        fn time_that_goes_back_grants_nothing(jumps in proptest::collection::vec(0_u64..40 * 60 * 60 * 1000, 1..60)) {
            let mut day = RollingDay::starting_at(0);
            let (mut admitted, mut latest) = (Vec::new(), 0);
            for at in jumps {
                latest = latest.max(at);
                day.advance(at);
                if day.used() < 3 {
                    day.charge(1);
                    admitted.push(latest);
                }
                let in_window = admitted.iter().filter(|admitted_at| **admitted_at + DAY > latest).count();
                prop_assert!(in_window <= 3);
            }
        }
    }

    #[test]
    fn a_lowered_limit_waits_for_as_many_requests_as_are_too_many() {
        let mut day = RollingDay::starting_at(0);
        day.charge(2);
        day.advance(BUCKET_MILLIS);
        day.charge(2);
        assert_eq!(day.wait_for_room(5), Some(Duration::ZERO));
        assert_eq!(day.wait_for_room(4), Some(Duration::from_millis(DAY)));
        assert_eq!(day.wait_for_room(1), Some(Duration::from_millis(DAY + BUCKET_MILLIS)));
        assert_eq!(day.wait_for_room(0), None);
    }

    #[test]
    fn buckets_from_the_future_count_as_of_now() {
        let day = RollingDay::from_buckets(BUCKET_MILLIS * 1000, [(u64::MAX, 4), (1000, u64::MAX), (2, 9)]);
        assert_eq!(day.used(), u64::MAX);
        assert!(day.wait_for_room(1).is_some());
    }
}
