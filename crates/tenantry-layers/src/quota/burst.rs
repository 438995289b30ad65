//! The short-term rate of one tenant: GCRA from the `governor` crate, given the time.
//!
//! The state is one number in memory and is not kept over a restart: a restart grants at most one bucket, still within
//! the daily limit. Meant to be used under the tenant's lock: asking and charging are two calls.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tenantry_types::Burst;

use crate::mutants::{Mutant, mutated};

/// The burst limit of one tenant and what is used of it.
#[derive(Debug, Default)]
pub(crate) struct BurstLimit {
    bucket: Option<Bucket>,
}

/// What is left of a burst limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BurstRoom {
    /// Requests that may come at this moment.
    pub(crate) remaining: u32,
    /// Until one more may come; zero while any may.
    pub(crate) wait: Duration,
}

impl BurstLimit {
    /// Puts a limit in force. The same limit again changes nothing; another one keeps the number of requests that are
    /// counted at this moment.
    pub(crate) fn set(&mut self, limit: Option<Burst>, now: Duration) {
        if self.bucket.as_ref().map(|bucket| bucket.limit) == limit {
            if mutated(Mutant::SameLimitsRefill) {
                self.bucket = limit.map(|limit| Bucket::holding(limit, 0, now));
            }
            return;
        }
        let counted = self
            .bucket
            .as_ref()
            .map_or(0, |bucket| bucket.limit.size.saturating_sub(bucket.room(now).remaining));
        self.bucket = limit.map(|limit| Bucket::holding(limit, counted, now));
    }

    /// What is left, without charging. `None` without a limit.
    pub(crate) fn room(&self, now: Duration) -> Option<BurstRoom> {
        self.bucket.as_ref().map(|bucket| bucket.room(now))
    }

    /// Charges one request. The caller has seen room at the same `now`.
    pub(crate) fn charge(&self, now: Duration) {
        if let Some(bucket) = &self.bucket {
            let charged = bucket.ask(now, Asking::Charge);
            debug_assert!(charged.wait.is_zero(), "charged without room");
        }
    }
}

#[derive(Debug)]
struct Bucket {
    limit: Burst,
    cell: Arc<Cell>,
    limiter: RateLimiter<NotKeyed, CellStore, CellClock, StateInformationMiddleware>,
}

#[derive(Clone, Copy)]
enum Asking {
    Charge,
    Peek,
}

impl Bucket {
    /// A bucket in which `counted` requests are counted at `now`.
    fn holding(limit: Burst, counted: u32, now: Duration) -> Self {
        let rate = NonZeroU32::new(limit.requests_per_second).unwrap_or(NonZeroU32::MIN);
        let size = NonZeroU32::new(limit.size).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(size);
        let cell = Arc::new(Cell::default());
        // Made while the cell's time is zero, so that governor counts arrival times from our zero.
        let limiter = RateLimiter::new(quota, CellStore(Arc::clone(&cell)), CellClock(Arc::clone(&cell)));
        if counted > 0 {
            let each = nanos(quota.replenish_interval()).max(1);
            let backlog = each.saturating_mul(u64::from(counted.min(size.get())));
            cell.arrival.store(nanos(now).saturating_add(backlog), Relaxed);
        }
        Self { limit, cell, limiter }
    }

    fn room(&self, now: Duration) -> BurstRoom {
        self.ask(now, Asking::Peek)
    }

    /// What is left before the request that is asked about.
    fn ask(&self, now: Duration, asking: Asking) -> BurstRoom {
        self.cell.now.store(nanos(now), Relaxed);
        self.cell.peeking.store(matches!(asking, Asking::Peek), Relaxed);
        match self.limiter.check() {
            Ok(after) => BurstRoom {
                remaining: after.remaining_burst_capacity().saturating_add(1),
                wait: Duration::ZERO,
            },
            Err(refused) => BurstRoom {
                remaining: 0,
                wait: refused.wait_time_from(Nanos::new(nanos(now))),
            },
        }
    }
}

/// What governor's state store and clock share with us.
#[derive(Debug, Default)]
struct Cell {
    /// The time of the question, in nanoseconds.
    now: AtomicU64,
    /// GCRA's theoretical arrival time, in nanoseconds; zero before the first request.
    arrival: AtomicU64,
    peeking: AtomicBool,
}

#[derive(Debug)]
struct CellStore(Arc<Cell>);

impl StateStore for CellStore {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let arrival = self.0.arrival.load(Relaxed);
        let (answer, next) = decide((arrival > 0).then(|| Nanos::new(arrival)))?;
        if !self.0.peeking.load(Relaxed) {
            self.0.arrival.store(next.as_u64(), Relaxed);
        }
        Ok(answer)
    }
}

#[derive(Debug)]
struct CellClock(Arc<Cell>);

impl Clock for CellClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now.load(Relaxed))
    }
}

/// Capped far from where governor's unchecked sums would overflow: about 146 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).map_or(u64::MAX / 4, |nanos| nanos.min(u64::MAX / 4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn burst(requests_per_second: u32, size: u32) -> Option<Burst> {
        Some(Burst {
            requests_per_second,
            size,
        })
    }

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn take(limit: &BurstLimit, now: Duration, tries: u32) -> u32 {
        (0..tries)
            .filter(|_| {
                let room = limit.room(now).unwrap();
                if room.remaining > 0 {
                    limit.charge(now);
                }
                room.remaining > 0
            })
            .fold(0, |count, _| count + 1)
    }

    #[test]
    fn a_bucket_gives_its_size_at_once_and_then_the_rate() {
        let mut limit = BurstLimit::default();
        limit.set(burst(10, 5), at(1000));
        assert_eq!(take(&limit, at(1000), 20), 5);
        assert_eq!(
            limit.room(at(1000)),
            Some(BurstRoom {
                remaining: 0,
                wait: at(100)
            })
        );
        assert_eq!(take(&limit, at(1099), 1), 0);
        assert_eq!(take(&limit, at(1100), 20), 1);
        assert_eq!(take(&limit, at(9000), 20), 5);
    }

    /// volcano-sh/kthena #1013: each reconcile refilled the bucket.
    #[test]
    fn the_same_limit_again_changes_nothing_and_another_keeps_what_is_counted() {
        let mut limit = BurstLimit::default();
        limit.set(burst(1, 10), at(0));
        assert_eq!(take(&limit, at(5), 8), 8);
        limit.set(burst(1, 10), at(5));
        assert_eq!(limit.room(at(5)).unwrap().remaining, 2);
        limit.set(burst(100, 1000), at(5));
        assert_eq!(limit.room(at(5)).unwrap().remaining, 992);
        limit.set(burst(1, 4), at(5));
        assert_eq!(
            limit.room(at(5)),
            Some(BurstRoom {
                remaining: 0,
                wait: at(1000)
            })
        );
        limit.set(None, at(5));
        assert_eq!(limit.room(at(5)), None);
    }

    #[test]
    fn extreme_limits_and_times_do_not_overflow() {
        let mut limit = BurstLimit::default();
        for (rate, size, remaining) in [
            (1, u32::MAX, u32::MAX),
            (u32::MAX, u32::MAX, u32::MAX - 1),
            (u32::MAX, 1, 0),
        ] {
            limit.set(burst(rate, size), Duration::MAX);
            assert_eq!(limit.room(Duration::MAX).unwrap().remaining, remaining);
            if remaining > 0 {
                limit.charge(Duration::MAX);
            }
        }
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_admits_more_than_size_plus_rate(
            rate in 1_u32..50, size in 1_u32..50,
            steps in proptest::collection::vec((0_u64..2000, 1_u32..30), 1..60),
        ) {
            let mut limit = BurstLimit::default();
            limit.set(burst(rate, size), at(0));
            let (mut now, mut admitted) = (0, Vec::new());
            for (step, tries) in steps {
                now += step;
                for _ in 0..take(&limit, at(now), tries) {
                    admitted.push(now);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let most = u64::from(size) + (to - from) * u64::from(rate) / 1000 + 1;
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }
}
