//! How fast a tenant is refused: the first refusals at once, the rest at a fixed rate.
//!
//! A client that ignores `Retry-After` asks again at once, and being refused costs this process nearly as much work on the
//! connection as being served. So each tenant is refused so many times a second at most, and answers beyond that are held
//! back for a moment. Whoever waits for an answer sends nothing meanwhile, so a tenant's flood slows down to that rate,
//! however many connections it has, and its neighbours keep the process. Given the time.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_types::TenantUid;

/// Time between two refusals that follow each other: 1,000 a second.
const INTERVAL: Duration = Duration::from_millis(1);
/// Refusals that may come at once, so that who seldom meets a limit waits for nothing.
const AT_ONCE: u32 = 100;
/// No answer is held back for longer. A tenant with more than a thousand connections is refused faster than [`INTERVAL`].
const LONGEST: Duration = Duration::from_secs(1);

/// From so many tenants on, those that are not being refused are forgotten.
const FORGET_AT: usize = 1_024;

/// The paces of many tenants, for refusals of somebody else that are passed on.
#[derive(Debug, Default)]
pub struct RefusalPaces(Mutex<HashMap<TenantUid, RefusalPace>>);

impl RefusalPaces {
    /// Counts a refusal of that tenant at `now`, a monotonic time. For how long its answer is to be held back.
    #[must_use]
    pub fn refuse(&self, tenant: TenantUid, now: Duration) -> Duration {
        let mut paces = self.0.lock();
        if paces.len() >= FORGET_AT && !paces.contains_key(&tenant) {
            paces.retain(|_, pace| pace.due > now.saturating_sub(INTERVAL * AT_ONCE));
        }
        paces.entry(tenant).or_default().refuse(now)
    }
}

/// When the next refusal of one tenant is due, were all of them a fixed time apart: a thousandth of a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefusalPace {
    due: Duration,
}

impl RefusalPace {
    /// Counts a refusal at `now`, a monotonic time. For how long its answer is to be held back.
    #[must_use]
    pub fn refuse(&mut self, now: Duration) -> Duration {
        let earliest = now.saturating_sub(INTERVAL * AT_ONCE);
        let due = self.due.max(earliest).min(now + LONGEST);
        self.due = due + INTERVAL;
        due.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_beyond_the_first_are_a_fixed_time_apart() {
        let mut pace = RefusalPace::default();
        let now = Duration::from_secs(50);
        let holds: Vec<u128> = (0..400).map(|_| pace.refuse(now).as_millis()).collect();
        assert!(holds[..=100].iter().all(|hold| *hold == 0), "{holds:?}");
        assert_eq!(holds[101..], (1..300).collect::<Vec<u128>>());
        // What was not used is not saved up.
        let later = now + Duration::from_secs(10);
        let holds: Vec<u128> = (0..103).map(|_| pace.refuse(later).as_millis()).collect();
        assert_eq!(holds[100..], [0, 1, 2]);
    }

    #[test]
    fn tenants_have_paces_of_their_own_and_quiet_ones_are_forgotten() {
        let paces = RefusalPaces::default();
        let now = Duration::from_secs(50);
        for _ in 0..200 {
            let _hold = paces.refuse(TenantUid::from_u128(0), now);
        }
        for tenant in 1..2_000 {
            assert_eq!(paces.refuse(TenantUid::from_u128(tenant), now), Duration::ZERO);
        }
        assert!(
            paces.refuse(TenantUid::from_u128(0), now) > Duration::ZERO,
            "forgotten in the middle of a flood"
        );
        let _hold = paces.refuse(TenantUid::from_u128(2_000), now + LONGEST);
        assert_eq!(paces.0.lock().len(), 1);
    }

    #[test]
    fn no_answer_is_held_back_for_longer_than_a_second() {
        let mut pace = RefusalPace::default();
        let now = Duration::from_secs(50);
        assert!((0..5_000).all(|_| pace.refuse(now) <= LONGEST));
        assert_eq!(pace.refuse(now), LONGEST);
        assert_eq!(pace.refuse(now + LONGEST), Duration::from_millis(1));
    }

    #[test]
    fn a_closed_loop_of_any_number_of_connections_is_refused_at_the_fixed_rate() {
        for connections in [1_usize, 10, 500, 1_000] {
            let mut pace = RefusalPace::default();
            // When each connection asks next; each asks again as soon as it is answered, half a millisecond later.
            let mut next = vec![Duration::from_secs(1); connections];
            let mut refused = 0;
            for millis in 1_000..6_000_u64 {
                for due in &mut next {
                    let now = Duration::from_millis(millis);
                    if *due <= now {
                        refused += 1;
                        *due = now + pace.refuse(now) + Duration::from_micros(500);
                    }
                }
            }
            // 5 s at 1,000 a second, what may come at once, and what was asked and is held back at the end.
            assert!(refused <= 5_000 + 101 + connections, "{connections}: {refused}");
        }
    }
}
