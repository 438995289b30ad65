//! Which hours of the wall clock this process has seen from their beginning to their end.

use std::time::Duration;

use tenantry_layers::clock::Now;
use tenantry_types::UnixMillis;

const HOUR_MILLIS: u64 = 60 * 60 * 1000;
/// A wall clock that goes away from the steady one by more than this has jumped.
const LARGEST_STEP: u64 = 60 * 1000;
/// A longer time without a look is one in which the process did not run.
const LONGEST_SILENCE: Duration = Duration::from_secs(15 * 60);

/// After a jump, the time of day counts again after so many whole hours: by then it is what the last day was counted by.
const HOURS_TO_SETTLE: u32 = 24;

/// Looked at once a round.
#[derive(Debug, Clone, Default)]
pub struct HourClock {
    running: Option<Running>,
    /// Whole hours that are missing until a jump is forgotten.
    unsettled: u32,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    hour: u64,
    /// Whether it was seen from its beginning on.
    whole: bool,
    /// The wall clock's lead over the steady one when the hour began, in milliseconds.
    lead: i128,
    seen: UnixMillis,
}

/// What a look at the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The hour that is running: hours since 1970.
    pub hour: u64,
    /// Whether another hour was running at the look before.
    pub changed: bool,
    /// The hour that was running before, if it is over and was seen as a whole.
    pub finished: Option<u64>,
    /// Whether the wall clock has gone on evenly of late, so that its time of day can be compared with that of other days.
    pub settled: bool,
}

impl HourClock {
    /// Looks at the clock.
    pub fn tick(&mut self, now: Now) -> Tick {
        let hour = now.wall.0 / HOUR_MILLIS;
        let lead = i128::from(now.wall.0) - i128::from(now.steady.0);
        let before = self.running;
        let even = |before: &Running| (lead - before.lead).unsigned_abs() <= u128::from(LARGEST_STEP);
        if before.as_ref().is_some_and(|before| !even(before)) {
            self.unsettled = HOURS_TO_SETTLE;
        }
        let unbroken = before.filter(|before| even(before) && now.steady.since(before.seen) <= LONGEST_SILENCE);
        let (whole, lead, finished) = match unbroken {
            Some(before) if before.hour == hour => (before.whole, before.lead, None),
            Some(before) if before.hour + 1 == hour => (true, lead, before.whole.then_some(before.hour)),
            // The first look, a jump, or a long silence: this hour will not have been seen as a whole.
            _ => (false, lead, None),
        };
        self.unsettled = self.unsettled.saturating_sub(u32::from(finished.is_some()));
        self.running = Some(Running {
            hour,
            whole,
            lead,
            seen: now.steady,
        });
        Tick {
            hour,
            changed: before.is_some_and(|before| before.hour != hour),
            finished,
            settled: self.unsettled == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_layers::clock::{Clock as _, ManualClock};

    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: i64 = 3_600_000;
    /// 0:30 of some day.
    const START: u64 = 489_000 * HOUR_MILLIS + HOUR_MILLIS / 2;

    /// What happens while the clock is looked at every 10 seconds.
    enum Step {
        Minutes(u64),
        Jump(i64),
        Asleep(u64),
    }

    /// The hours that were seen as a whole, counted from the first.
    fn finished(steps: &[Step]) -> Vec<i64> {
        let clock = ManualClock::at(START);
        let mut hours = HourClock::default();
        let mut seen = Vec::new();
        let mut look = |clock: &ManualClock| {
            if let Some(hour) = hours.tick(clock.now()).finished {
                seen.push(hour.cast_signed() - 489_000);
            }
        };
        look(&clock);
        for step in steps {
            match step {
                Step::Minutes(minutes) => {
                    for _ in 0..minutes * MINUTE / 10 {
                        clock.advance(Duration::from_secs(10));
                        look(&clock);
                    }
                }
                Step::Jump(millis) => clock.jump_wall(*millis),
                Step::Asleep(minutes) => clock.advance(Duration::from_secs(minutes * MINUTE)),
            }
        }
        seen
    }

    #[test]
    fn only_whole_hours_are_finished_whatever_the_clock_does() {
        use Step::{Asleep, Jump, Minutes};
        let cases: [(&str, &[Step], &[i64]); 9] = [
            ("the first hour had begun before", &[Minutes(29)], &[]),
            ("hours go by", &[Minutes(31 + 120)], &[1, 2]),
            (
                "a correction",
                &[Minutes(60), Jump(900), Minutes(31), Jump(-900), Minutes(60)],
                &[1, 2],
            ),
            ("a jump ahead", &[Minutes(60), Jump(5 * HOUR), Minutes(60 + 31)], &[7]),
            (
                "a jump back",
                &[Minutes(31 + 120), Jump(-2 * HOUR), Minutes(60 + 60)],
                &[1, 2, 2],
            ),
            (
                "ahead and back within the hour",
                &[
                    Minutes(31 + 60),
                    Jump(400 * HOUR),
                    Minutes(10),
                    Jump(-400 * HOUR),
                    Minutes(50 + 61),
                ],
                &[1, 3],
            ),
            (
                "back over the beginning of the hour",
                &[Minutes(91), Jump(-2 * 60_000), Minutes(122)],
                &[1, 2, 3],
            ),
            (
                "asleep for an hour",
                &[Minutes(31 + 60), Asleep(60), Minutes(120)],
                &[1, 4],
            ),
            (
                "many small steps are one large one",
                &[Minutes(31), Jump(40_000), Minutes(10), Jump(40_000), Minutes(60)],
                &[],
            ),
        ];
        for (name, steps, expected) in cases {
            assert_eq!(finished(steps), expected, "{name}");
        }
    }

    #[test]
    fn the_time_of_day_counts_again_a_day_after_a_jump_and_a_sleep_is_none() {
        let clock = ManualClock::at(START);
        let mut hours = HourClock::default();
        let mut pass = |minutes: u64| {
            let mut settled = true;
            for _ in 0..minutes {
                clock.advance(Duration::from_secs(MINUTE));
                settled = hours.tick(clock.now()).settled;
            }
            settled
        };
        assert!(pass(120));
        clock.advance(Duration::from_secs(3 * 60 * MINUTE));
        assert!(pass(60));
        clock.jump_wall(5 * HOUR);
        assert!(!pass(1) && !pass(24 * 60) && pass(60));
    }
}
