//! How much of the async workers' time one tenant uses, against what it may use beside others. Pure: time is passed in.

use std::time::{Duration, Instant};

use crate::lane::Lane;

/// One part in so many of the workers' time is nobody's burden.
const PARTS: u32 = 16;
/// As much as a tenant may use in this time, it may use at once.
const BURST: Duration = Duration::from_millis(40);
/// More than it may use in this time is forgotten, so that a tenant that has become quiet is known as such soon.
const MEMORY: Duration = Duration::from_millis(200);
/// A turn counts at most so much: what was longer was mostly waiting for a processor, and who asks for little must not be taken for busy
/// because others are.
const LONGEST_TURN: Duration = Duration::from_millis(1);

/// What one tenant may use of the workers without being taken for busy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Workers' time for each second.
    per_second: Duration,
    /// What is paid of it in a second.
    pays: Duration,
}

impl Share {
    /// Of so many workers.
    pub(super) fn of(workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        let per_second = Duration::from_secs(1).saturating_mul(workers) / PARTS;
        Self {
            per_second,
            pays: per_second,
        }
    }

    /// The same, of which nothing is paid however long it takes.
    #[cfg(test)]
    pub(super) fn never_paid(workers: usize) -> Self {
        Self {
            pays: Duration::ZERO,
            ..Self::of(workers)
        }
    }

    /// What it is of so much time.
    fn of_time(self, time: Duration) -> Duration {
        time.mul_f64(self.per_second.as_secs_f64())
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
        self.unpaid = (unpaid + turn.min(LONGEST_TURN)).min(share.of_time(MEMORY));
        self.at = self.at.max(now);
        if self.unpaid > share.of_time(BURST) {
            self.lane = Lane::Busy;
        }
        self.lane
    }

    /// When the last turn ended.
    pub(super) const fn at(&self) -> Instant {
        self.at
    }

    /// How long after the last turn all of it is paid, unless more is used until then.
    pub(super) fn paid_after(&self, share: Share) -> Duration {
        match share.pays.is_zero() {
            true => Duration::MAX,
            false => self.unpaid.div_f64(share.pays.as_secs_f64()),
        }
    }

    /// Whether nothing would be lost if it was forgotten.
    pub(super) fn is_paid(&self, now: Instant, share: Share) -> bool {
        self.unpaid_at(now, share).is_zero()
    }

    fn unpaid_at(&self, now: Instant, share: Share) -> Duration {
        let elapsed = now.saturating_duration_since(self.at);
        self.unpaid.saturating_sub(elapsed.mul_f64(share.pays.as_secs_f64()))
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
        // 5 ms.
        for _ in 0..100 {
            assert_eq!(load.add(TURN, now, share), Lane::Quiet);
        }
        assert_eq!(load.add(TURN, now, share), Lane::Busy);
        for _ in 0..100_000 {
            assert_eq!(load.add(TURN, now, share), Lane::Busy);
        }
        // 25 ms at an eighth.
        assert_eq!(load.paid_after(share), Duration::from_millis(200));
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
            now += Duration::from_millis(10);
            assert_eq!(load.add(Duration::from_millis(10), now, share), Lane::Quiet);
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
