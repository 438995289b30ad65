//! How a tenant stands against its request limits at one moment, and why a request was refused.

use std::time::Duration;

use tenantry_types::Burst;

use crate::mutants::{Mutant, mutated};

/// A request limit, by the name that headers and problems use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Requests in any 24 hours.
    Daily,
    /// Requests per second, and how many at once.
    Burst,
    /// Requests being served at one moment.
    Concurrent,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Daily, Self::Burst, Self::Concurrent];

    /// The name in headers, problems and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Burst => "burst",
            Self::Concurrent => "concurrent",
        }
    }
}

/// Limits and use at one moment, after the request that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests allowed in any 24 hours.
    pub daily_limit: u64,
    /// Requests counted in the last 24 hours. May lie above a limit that was lowered.
    pub daily_used: u64,
    /// Until `daily_remaining` grows; `None` while nothing is counted.
    pub daily_wait: Option<Duration>,
    /// The burst limit, where there is one.
    pub burst: Option<BurstStanding>,
    /// Requests allowed at one moment.
    pub concurrent_limit: u32,
    /// Requests being served.
    pub concurrent: u32,
}

/// The burst part of a [`Standing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurstStanding {
    /// The limit.
    pub limit: Burst,
    /// Requests that may come at this moment.
    pub remaining: u32,
    /// Until one more may come; zero while any may.
    pub wait: Duration,
}

impl Standing {
    /// Requests left of the daily limit.
    #[must_use]
    pub const fn daily_remaining(&self) -> u64 {
        self.daily_limit.saturating_sub(self.daily_used)
    }

    /// Requests that may start beside those being served.
    #[must_use]
    pub const fn concurrent_remaining(&self) -> u32 {
        self.concurrent_limit.saturating_sub(self.concurrent)
    }

    /// Limit and use of one policy.
    #[must_use]
    pub fn limit_and_use(&self, policy: Policy) -> (u64, u64) {
        match policy {
            Policy::Daily => (self.daily_limit, self.daily_used),
            Policy::Burst => self.burst.map_or((0, 0), |burst| {
                let size = u64::from(burst.limit.size);
                (size, size - u64::from(burst.remaining).min(size))
            }),
            Policy::Concurrent => (u64::from(self.concurrent_limit), u64::from(self.concurrent)),
        }
    }
}

/// A request that a limit did not let through. Nothing was charged for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    violated: [Option<Policy>; 3],
    /// When the same request can pass, if no other comes before it. For a full house, where no time is known, a second.
    pub retry_after: Duration,
    /// Limits and use at the refusal.
    pub standing: Standing,
    /// How long the answer is to be held back, so that a flood of refusals slows down.
    pub hold: Duration,
}

impl Refusal {
    /// The refusal that `standing` calls for, if any. The standing's waits are those until one more request fits.
    #[must_use]
    pub fn of(standing: &Standing) -> Option<Self> {
        const WAIT_FOR_A_PLACE: Duration = Duration::from_secs(1);
        /// Where nothing is allowed, no time is known at which something is; the limit may be another one by then.
        const WAIT_FOR_ANOTHER_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
        let remaining = match () {
            () if mutated(Mutant::RemainderWraps) => standing.daily_limit.wrapping_sub(standing.daily_used),
            () if mutated(Mutant::LastRefused) => standing.daily_remaining().saturating_sub(1),
            () => standing.daily_remaining(),
        };
        let daily = (remaining == 0).then(|| standing.daily_wait.unwrap_or(WAIT_FOR_ANOTHER_LIMIT));
        let burst = standing
            .burst
            .filter(|burst| burst.remaining == 0)
            .map(|burst| burst.wait);
        let concurrent = (standing.concurrent_remaining() == 0).then_some(WAIT_FOR_A_PLACE);
        let retry_after = daily.max(burst).max(concurrent)?;
        let mut violated = [
            daily.map(|wait| (wait, Policy::Daily)),
            burst.map(|wait| (wait, Policy::Burst)),
            concurrent.map(|wait| (wait, Policy::Concurrent)),
        ];
        violated.sort_by_key(|policy| std::cmp::Reverse(policy.map(|(wait, _)| wait)));
        Some(Self {
            violated: violated.map(|policy| policy.map(|(_, policy)| policy)),
            retry_after,
            standing: *standing,
            hold: Duration::ZERO,
        })
    }

    /// Every limit that was reached, the one with the longest wait first.
    pub fn violated(&self) -> impl Iterator<Item = Policy> + '_ {
        self.violated.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(used: u64, remaining_burst: u32, concurrent: u32) -> Standing {
        Standing {
            daily_limit: 10,
            daily_used: used,
            daily_wait: Some(Duration::from_secs(500)),
            burst: Some(BurstStanding {
                limit: Burst {
                    requests_per_second: 1,
                    size: 4,
                },
                remaining: remaining_burst,
                wait: Duration::from_secs(2),
            }),
            concurrent_limit: 3,
            concurrent,
        }
    }

    #[test]
    fn a_refusal_names_every_limit_and_waits_for_the_slowest() {
        use Policy::{Burst, Concurrent, Daily};
        let cases: [(u64, u32, u32, &[Policy], u64); 7] = [
            (10, 1, 0, &[Daily], 500),
            (12, 0, 3, &[Daily, Burst, Concurrent], 500),
            (9, 0, 0, &[Burst], 2),
            (9, 1, 3, &[Concurrent], 1),
            (9, 0, 4, &[Burst, Concurrent], 2),
            (10, 4, 9, &[Daily, Concurrent], 500),
            (9, 1, 2, &[], 0),
        ];
        for (used, burst, concurrent, violated, seconds) in cases {
            let refusal = Refusal::of(&standing(used, burst, concurrent));
            let named = refusal.iter().flat_map(|r| r.violated()).collect::<Vec<_>>();
            assert_eq!(named, violated);
            assert_eq!(refusal.map_or(0, |r| r.retry_after.as_secs()), seconds);
        }
    }

    #[test]
    fn where_nothing_is_allowed_no_early_time_is_promised() {
        let mut none = standing(0, 1, 0);
        (none.daily_limit, none.daily_wait) = (0, None);
        let refusal = Refusal::of(&none).unwrap();
        assert_eq!(refusal.retry_after, Duration::from_secs(86_400));
        assert_eq!(refusal.standing.daily_wait, None);
    }

    #[test]
    fn nothing_is_left_of_a_limit_that_was_lowered_under_use() {
        let standing = standing(12, 9, 5);
        assert_eq!((standing.daily_remaining(), standing.concurrent_remaining()), (0, 0));
        assert_eq!(standing.limit_and_use(Policy::Burst), (4, 0));
        assert_eq!(standing.limit_and_use(Policy::Daily), (10, 12));
    }
}
