//! How much of the async workers' time one tenant uses, against what it may use beside others. Pure: time is passed in.

use std::time::{Duration, Instant};

use super::Lane;

/// One part in so many of the workers' time is nobody's burden.
const PARTS: u32 = 16;
/// Used at once.
const BURST: Duration = Duration::from_millis(5);
/// More is forgotten, so that a tenant that has become quiet is known as such after a fraction of a second.
const MOST: Duration = Duration::from_millis(25);
/// A turn counts at most so much: what was longer was mostly waiting for a processor, and who asks for little must not be taken for busy
/// because others are.
const LONGEST_TURN: Duration = Duration::from_micros(250);

/// What one tenant may use of the workers without being taken for busy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Workers' time for each second.
    per_second: Duration,
}

impl Share {
    /// Of so many workers.
    pub(super) fn of(workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        Self {
            per_second: Duration::from_secs(1).saturating_mul(workers) / PARTS,
        }
    }
}

/// What was used and is not paid for yet: a bucket that leaks the tenant's share.
#[derive(Debug)]
pub(super) struct Load {
    unpaid: Duration,
    at: Instant,
    lane: Lane,
}

impl Load {
    pub(super) const fn none(now: Instant) -> Self {
        Self {
            unpaid: Duration::ZERO,
            at: now,
            lane: Lane::Quiet,
        }
    }

    /// A turn of a worker took `turn` and ended `now`. Returns where the tenant belongs from here on: in the busy lane once more than a burst is unpaid, and
    /// in the quiet one when all is paid.
    pub(super) fn add(&mut self, turn: Duration, now: Instant, share: Share) -> Lane {
        let unpaid = self.unpaid_at(now, share);
        if unpaid.is_zero() {
            self.lane = Lane::Quiet;
        }
        self.unpaid = (unpaid + turn.min(LONGEST_TURN)).min(MOST);
        self.at = self.at.max(now);
        if self.unpaid > BURST {
            self.lane = Lane::Busy;
        }
        self.lane
    }

    /// Whether nothing would be lost if it was forgotten.
    pub(super) fn is_paid(&self, now: Instant, share: Share) -> bool {
        self.unpaid_at(now, share).is_zero()
    }

    fn unpaid_at(&self, now: Instant, share: Share) -> Duration {
        let elapsed = now.saturating_duration_since(self.at);
        self.unpaid
            .saturating_sub(elapsed.mul_f64(share.per_second.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_micros(50);

    /// Lanes of a tenant that has `turns` of [`TURN`] each second, after each of them, for two seconds.
    fn lanes(turns: u32, share: Share) -> Vec<Lane> {
        let mut now = Instant::now();
        let mut load = Load::none(now);
        let mut after = || {
            now += Duration::from_secs(1) / turns;
            load.add(TURN, now, share)
        };
        (0..2 * turns).map(|_| after()).collect()
    }

    #[test]
    fn who_uses_less_than_the_share_stays_quiet_and_who_uses_more_becomes_busy_and_stays_so() {
        // 125 ms a second: 2,500 turns.
        let share = Share::of(2);
        assert!(lanes(2_400, share).iter().all(|lane| *lane == Lane::Quiet));
        let busy = lanes(2_700, share);
        assert_eq!(busy.last(), Some(&Lane::Busy));
        let first = busy.iter().position(|lane| *lane == Lane::Busy);
        assert!(first.is_some_and(|first| busy.iter().skip(first).all(|lane| *lane == Lane::Busy)));
    }

    #[test]
    fn more_workers_give_more() {
        assert!(lanes(2_700, Share::of(4)).iter().all(|lane| *lane == Lane::Quiet));
        assert_eq!(lanes(5_400, Share::of(4)).last(), Some(&Lane::Busy));
    }

    #[test]
    fn a_burst_is_free_and_what_lies_long_ago_is_forgotten() {
        let (share, mut now) = (Share::of(2), Instant::now());
        let mut load = Load::none(now);
        for _ in 0..BURST.as_micros() / TURN.as_micros() {
            assert_eq!(load.add(TURN, now, share), Lane::Quiet);
        }
        assert_eq!(load.add(TURN, now, share), Lane::Busy);
        for _ in 0..100_000 {
            assert_eq!(load.add(TURN, now, share), Lane::Busy);
        }
        // 25 ms at an eighth.
        now += Duration::from_millis(190);
        assert!(!load.is_paid(now, share));
        assert_eq!(load.add(Duration::ZERO, now, share), Lane::Busy);
        now += Duration::from_millis(20);
        assert!(load.is_paid(now, share));
        assert_eq!(load.add(TURN, now, share), Lane::Quiet);
    }

    #[test]
    fn long_turns_beside_others_make_nobody_busy() {
        let (share, mut now) = (Share::of(2), Instant::now());
        let mut load = Load::none(now);
        for _ in 0..1_000 {
            now += Duration::from_millis(4);
            assert_eq!(load.add(Duration::from_millis(4), now, share), Lane::Quiet);
        }
    }

    #[test]
    fn a_time_before_the_last_one_pays_nothing() {
        let (share, now) = (Share::of(2), Instant::now());
        let mut load = Load::none(now + Duration::from_secs(1));
        for _ in 0..200 {
            load.add(TURN, now, share);
        }
        assert_eq!(load.add(TURN, now, share), Lane::Busy);
    }
}
