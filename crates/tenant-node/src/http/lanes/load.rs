//! How much of the async workers' time one tenant uses, against what it may use beside others. Pure: time is passed in.
//!
//! Written by all workers at once, after each of their turns, so there is no lock: what is not paid yet is kept as the moment when it will be, as in the
//! generic cell rate algorithm (ITU-T I.371).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::lane::Lane;

/// One part in so many of the workers' time is nobody's burden.
const PARTS: u64 = 16;
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
    workers: u64,
    paid_by: PaidBy,
}

/// What pays for turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PaidBy {
    Time,
    #[cfg(test)]
    Nothing,
}

impl Share {
    /// Of so many workers.
    pub(super) fn of(workers: usize) -> Self {
        Self {
            workers: u64::try_from(workers).unwrap_or(u64::MAX).max(1),
            paid_by: PaidBy::Time,
        }
    }

    /// The same, of which nothing is paid however long it takes.
    #[cfg(test)]
    pub(super) fn never_paid(workers: usize) -> Self {
        Self {
            paid_by: PaidBy::Nothing,
            ..Self::of(workers)
        }
    }

    /// In which time as much as `turn` may be used.
    fn time_of(self, turn: Duration) -> u64 {
        nanos(turn.min(LONGEST_TURN)).saturating_mul(PARTS) / self.workers
    }
}

/// What was used and is not paid for yet: a bucket that leaks the tenant's share.
#[derive(Debug)]
pub(super) struct Load {
    since: Instant,
    /// A [`Debt`], in one number so that it changes as a whole.
    debt: AtomicU64,
}

impl Load {
    pub(super) const fn none(now: Instant) -> Self {
        Self {
            since: now,
            debt: AtomicU64::new(0),
        }
    }

    /// A turn of a worker took `turn` and ended `now`. The tenant belongs in the busy lane once more than a burst is unpaid, and in the quiet one when all is
    /// paid.
    pub(super) fn add(&self, turn: Duration, now: Instant, share: Share) {
        let (now, owed) = (self.time(now, share), share.time_of(turn));
        let add = |packed| Some(Debt::unpack(packed).plus(owed, now).pack());
        let (Ok(_) | Err(_)) = self.debt.fetch_update(Relaxed, Relaxed, add);
    }

    /// Where the tenant belongs.
    pub(super) fn lane(&self, now: Instant, share: Share) -> Lane {
        self.debt().lane_at(self.time(now, share))
    }

    /// Whether nothing would be lost if it was forgotten.
    pub(super) fn is_paid(&self, now: Instant, share: Share) -> bool {
        self.debt().paid_at <= self.time(now, share)
    }

    /// As if it had been silent for long.
    #[cfg(test)]
    pub(super) fn pay(&self) {
        self.debt.store(0, Relaxed);
    }

    fn debt(&self) -> Debt {
        Debt::unpack(self.debt.load(Relaxed))
    }

    /// Nanoseconds since the beginning.
    fn time(&self, now: Instant, share: Share) -> u64 {
        match share.paid_by {
            PaidBy::Time => nanos(now.saturating_duration_since(self.since)),
            #[cfg(test)]
            PaidBy::Nothing => 0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    /// When all is paid, unless more is used until then.
    paid_at: u64,
    /// Where the tenant belongs until then.
    lane: Lane,
}

impl Debt {
    fn plus(self, owed: u64, now: u64) -> Self {
        let later = self.paid_at.max(now).saturating_add(owed);
        // A worker that looked at the clock earlier and comes later takes nothing back.
        let paid_at = later.min(now.saturating_add(nanos(MEMORY))).max(self.paid_at);
        let lane = match paid_at.saturating_sub(now) > nanos(BURST) {
            true => Lane::Busy,
            false => self.lane_at(now),
        };
        Self { paid_at, lane }
    }

    const fn lane_at(self, now: u64) -> Lane {
        match self.paid_at > now {
            true => self.lane,
            false => Lane::Quiet,
        }
    }

    /// The lane is in the lowest bit. What is left for the time is enough for centuries.
    const fn pack(self) -> u64 {
        self.paid_at << 1 | matches!(self.lane, Lane::Busy) as u64
    }

    const fn unpack(packed: u64) -> Self {
        Self {
            paid_at: packed >> 1,
            lane: match packed & 1 {
                0 => Lane::Quiet,
                _ => Lane::Busy,
            },
        }
    }
}

/// Enough for centuries.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_micros(50);

    /// Lanes of a tenant that has `turns` of [`TURN`] each second, after each of them, for two seconds.
    fn lanes(turns: u32, share: Share) -> Vec<Lane> {
        let mut now = Instant::now();
        let load = Load::none(now);
        let mut after = || {
            now += Duration::from_secs(1) / turns;
            load.add(TURN, now, share);
            load.lane(now, share)
        };
        (0..2 * turns).map(|_| after()).collect()
    }

    fn lane_after(load: &Load, turn: Duration, now: Instant, share: Share) -> Lane {
        load.add(turn, now, share);
        load.lane(now, share)
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
        let load = Load::none(now);
        // 5 ms.
        for _ in 0..100 {
            assert_eq!(lane_after(&load, TURN, now, share), Lane::Quiet);
        }
        assert_eq!(lane_after(&load, TURN, now, share), Lane::Busy);
        for _ in 0..100_000 {
            assert_eq!(lane_after(&load, TURN, now, share), Lane::Busy);
        }
        // 25 ms at an eighth: 200 ms.
        now += Duration::from_millis(190);
        assert!(!load.is_paid(now, share));
        assert_eq!(lane_after(&load, Duration::ZERO, now, share), Lane::Busy);
        now += Duration::from_millis(20);
        assert!(load.is_paid(now, share));
        assert_eq!(lane_after(&load, TURN, now, share), Lane::Quiet);
    }

    #[test]
    fn who_has_fallen_silent_is_quiet_without_another_turn() {
        let (now, share) = (Instant::now(), Share::of(2));
        let load = Load::none(now);
        for _ in 0..1_000 {
            load.add(Duration::from_millis(1), now, share);
        }
        assert_eq!(load.lane(now + Duration::from_millis(199), share), Lane::Busy);
        assert_eq!(load.lane(now + Duration::from_millis(201), share), Lane::Quiet);
    }

    #[test]
    fn long_turns_beside_others_make_nobody_busy() {
        let (share, mut now) = (Share::of(2), Instant::now());
        let load = Load::none(now);
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            assert_eq!(lane_after(&load, Duration::from_millis(10), now, share), Lane::Quiet);
        }
    }

    #[test]
    fn a_time_before_the_last_one_pays_nothing_and_takes_nothing_back() {
        let (share, now) = (Share::of(2), Instant::now());
        let later = now + Duration::from_secs(1);
        let load = Load::none(now);
        for _ in 0..1_000 {
            load.add(TURN, later, share);
        }
        load.add(TURN, now, share);
        assert_eq!(load.lane(later + Duration::from_millis(199), share), Lane::Busy);
    }

    #[test]
    fn turns_of_all_workers_at_once_are_all_counted() {
        let (share, now) = (Share::of(1), Instant::now());
        let load = Load::none(now);
        let turn = Duration::from_nanos(10);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50_000).for_each(|_| load.add(turn, now, share)));
            }
        });
        // 2 ms at a sixteenth.
        assert!(!load.is_paid(now + Duration::from_nanos(31_999_999), share));
        assert!(load.is_paid(now + Duration::from_millis(32), share));
    }
}
