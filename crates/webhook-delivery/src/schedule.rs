//! When the next attempt is due. Pure: clock, randomness and the count of attempts are the caller's.

use std::time::Duration;

/// Jitter makes a delay up to this share longer or shorter, so that messages that failed together are not sent together
/// again.
const JITTER: f64 = 0.2;

/// The delays after failed attempts: the first after the first attempt, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    delays: Vec<Duration>,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again when this time has passed.
    Retry(Duration),
    /// That was the last attempt.
    GiveUp,
}

impl Schedule {
    /// Ten attempts in about 16 hours.
    pub const DEFAULT_DELAYS: [Duration; 9] = [
        Duration::from_secs(5),
        Duration::from_secs(30),
        Duration::from_mins(2),
        Duration::from_mins(10),
        Duration::from_mins(30),
        Duration::from_hours(1),
        Duration::from_hours(2),
        Duration::from_hours(4),
        Duration::from_hours(8),
    ];

    /// A schedule with these delays, and one attempt more than there are delays.
    #[must_use]
    pub fn new(delays: Vec<Duration>) -> Self {
        Self { delays }
    }

    /// How many attempts a message gets at most.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.delays.len()).map_or(u32::MAX, |delays| delays.saturating_add(1))
    }

    /// What follows the failed attempt that was the `attempts_made`-th, where `random` is drawn evenly from 0..1.
    ///
    /// `retry_after`, which the receiver asked for, makes the delay longer and never shorter. Before the first attempt there
    /// is nothing to wait for.
    #[must_use]
    pub fn after(&self, attempts_made: u32, retry_after: Option<Duration>, random: f64) -> Next {
        let Some(failures_before) = attempts_made.checked_sub(1) else {
            return Next::Retry(Duration::ZERO);
        };
        let index = usize::try_from(failures_before).unwrap_or(usize::MAX);
        let Some(delay) = self.delays.get(index) else {
            return Next::GiveUp;
        };
        let delay = jittered(*delay, random);
        Next::Retry(retry_after.map_or(delay, |asked| asked.max(delay)))
    }
}

impl Default for Schedule {
    /// The one with [`Schedule::DEFAULT_DELAYS`].
    fn default() -> Self {
        Self::new(Self::DEFAULT_DELAYS.to_vec())
    }
}

fn jittered(delay: Duration, random: f64) -> Duration {
    let factor = 1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0);
    // Nonsense (NaN, a delay of centuries) costs the jitter and nothing else.
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    fn seconds(next: Next) -> Option<u64> {
        match next {
            Next::Retry(delay) => Some(delay.as_secs()),
            Next::GiveUp => None,
        }
    }

    #[test]
    fn ten_attempts_are_made_in_about_sixteen_hours() {
        let schedule = Schedule::default();
        assert_eq!(schedule.attempts(), 10);
        let delays: Vec<_> = (1..)
            .map_while(|made| seconds(schedule.after(made, None, MIDDLE)))
            .collect();
        assert_eq!(delays, [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800]);
        assert_eq!(delays.iter().sum::<u64>() / 3_600, 15);
        for made in [10, 11, u32::MAX] {
            assert_eq!(schedule.after(made, None, MIDDLE), Next::GiveUp, "{made}");
        }
        assert_eq!(schedule.after(0, None, MIDDLE), Next::Retry(Duration::ZERO));
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        let schedule = Schedule::new(vec![Duration::from_secs(100)]);
        for (random, expected) in [
            (0.0, 80),
            (0.25, 90),
            (0.5, 100),
            (1.0, 120),
            (-1.0, 80),
            (2.0, 120),
            (f64::NAN, 100),
        ] {
            let Next::Retry(delay) = schedule.after(1, None, random) else {
                panic!("given up at {random}");
            };
            assert_eq!(delay.as_secs_f64().round(), f64::from(expected), "{random}");
        }
    }

    #[test]
    fn what_the_receiver_asks_for_lengthens_a_delay_and_never_shortens_it() {
        let schedule = Schedule::default();
        let after = |made, asked| seconds(schedule.after(made, Some(Duration::from_secs(asked)), MIDDLE));
        assert_eq!(after(1, 0), Some(5));
        assert_eq!(after(1, 4), Some(5));
        assert_eq!(after(1, 60), Some(60));
        assert_eq!(after(9, 60), Some(28_800));
        assert_eq!(after(10, 60), None, "nor does it add an attempt");
    }

    #[test]
    fn odd_schedules_do_not_panic() {
        assert_eq!(Schedule::new(Vec::new()).after(1, None, MIDDLE), Next::GiveUp);
        let longest = Schedule::new(vec![Duration::MAX]);
        assert_eq!(longest.after(1, None, 1.0), Next::Retry(Duration::MAX));
    }
}
