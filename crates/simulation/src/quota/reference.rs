//! What one tenant may expect: every admitted request with its moment, and what the documentation says of the rest.
//!
//! Two times are kept. *True time* is what passes. *Documented time* is what the tenant's counter is to go by: the same
//! within one start of the machine, whatever the wall clock does; over a restart of the machine, and only there, what the
//! wall clock says passed, never less than nothing (`tenantry_layers::quota::ledger`).
//!
//! Must not look into the engine: it knows what was admitted, and what the disk holds.

use std::time::Duration;

use tenantry_layers::clock::Boot;

use super::burst_reference::BurstReference;
use super::window::Window;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A request leaves the count with the last of its bucket.
const BUCKET: Duration = Duration::from_secs(150);
/// A reopening cuts the tenant's time down to whole milliseconds, a few times over.
const LOST_PER_OPENING: Duration = Duration::from_millis(5);

/// What is known of a record on a disk, besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    /// The place in `Reference::counted`.
    added: u64,
    documented: Duration,
    true_time: Duration,
    wall_millis: u64,
    boot: Boot,
    pub(super) reserved: u64,
}

/// What a process found on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Opened<'a> {
    Nothing,
    Record(&'a Snapshot),
    /// Counts as used up, as of now.
    Damaged {
        limit: u64,
    },
}

/// Why a request may be refused though the exact window has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withheld {
    /// Its buckets are two and a half minutes wide.
    ByBuckets,
    /// A crash left a reservation that counts as used.
    ByCrash,
}

/// How a refusal by the daily limit stands to the exact window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Right,
    Wrong(Withheld),
    /// Nothing that is documented explains it.
    Unexplained,
}

/// One tenant.
#[derive(Debug)]
pub(super) struct Reference {
    /// Admitted in 24 hours of true time.
    true_day: Window,
    /// Admitted in 24 hours of documented time.
    documented_day: Window,
    /// The same, with the width of a bucket.
    bucketed_day: Window,
    /// What a counter without buckets and crashes admits, of the same requests: it goes its own way from the first difference on.
    ideal_day: Window,
    /// The most that may be counted: where a reservation was read back, all of it, as of the reading.
    counted: Window,
    /// A true time and the documented time at it.
    anchor: (Duration, Duration),
    /// Until then, more documented than true time passed within 24 hours.
    ahead_until: Duration,
    openings: u32,
    /// What use may not exceed until requests are admitted.
    ceiling: Option<u64>,
    pub(super) burst: BurstReference,
}

impl Reference {
    pub(super) const fn new(burst: BurstReference) -> Self {
        Self {
            true_day: Window::of(DAY),
            documented_day: Window::of(DAY),
            bucketed_day: Window::of(DAY),
            ideal_day: Window::of(DAY),
            counted: Window::of(DAY),
            anchor: (Duration::ZERO, Duration::ZERO),
            ahead_until: Duration::ZERO,
            openings: 0,
            ceiling: None,
            burst,
        }
    }

    /// A record is taken of the engine's state.
    pub(super) fn snapshot(&self, now: Duration, wall_millis: u64, boot: Boot, reserved: u64) -> Snapshot {
        Snapshot {
            added: self.counted.added(),
            documented: self.documented(now),
            true_time: now,
            wall_millis,
            boot,
            reserved,
        }
    }

    /// The tenant's ledger was read.
    pub(super) fn opened(&mut self, found: Opened<'_>, now: Duration, wall_millis: u64, boot: Boot) {
        self.openings += 1;
        let wide = DAY + BUCKET + LOST_PER_OPENING * self.openings;
        self.bucketed_day.set_span(wide);
        self.counted.set_span(wide);
        self.burst.restart();
        match found {
            Opened::Nothing => {}
            Opened::Record(record) => {
                self.resume(record, now, wall_millis, boot);
                let documented = self.documented(now);
                self.counted.take_back_to(record.added);
                for window in self.documented_windows() {
                    window.go_back_to(documented);
                }
                if record.boot != boot {
                    // What had left may be back.
                    self.ceiling = None;
                }
                if record.reserved > 0 {
                    self.counted.add(documented, record.reserved);
                    self.ceiling = self.ceiling.map(|ceiling| ceiling + record.reserved);
                }
            }
            Opened::Damaged { limit } => {
                let documented = self.documented(now);
                for window in self.documented_windows() {
                    window.clear();
                    window.add(documented, limit);
                }
                self.true_day.clear();
                self.true_day.add(now, limit);
                self.ceiling = None;
            }
        }
        self.advance(now);
    }

    /// Time passes.
    pub(super) fn advance(&mut self, now: Duration) {
        let documented = self.documented(now);
        self.true_day.advance(now);
        for window in self.documented_windows() {
            window.advance(documented);
        }
    }

    fn documented_windows(&mut self) -> [&mut Window; 4] {
        [
            &mut self.documented_day,
            &mut self.bucketed_day,
            &mut self.ideal_day,
            &mut self.counted,
        ]
    }

    /// Whether the ideal counter lets the request of this moment pass. It counts it, if so.
    pub(super) fn ideal_admits(&mut self, now: Duration, limit: u64) -> bool {
        let admits = self.ideal_day.held() < limit;
        if admits {
            let documented = self.documented(now);
            self.ideal_day.add(documented, 1);
        }
        admits
    }

    pub(super) fn admit(&mut self, now: Duration) {
        let documented = self.documented(now);
        self.true_day.add(now, 1);
        self.documented_day.add(documented, 1);
        self.bucketed_day.add(documented, 1);
        self.counted.add(documented, 1);
        self.ceiling = self.ceiling.map(|ceiling| ceiling + 1);
    }

    /// Admitted requests in the exact window: what must be counted at least.
    pub(super) fn least(&self, now: Duration) -> u64 {
        match self.goes_by_true_time(now) {
            true => self.documented_day.held().max(self.true_day.held()),
            false => self.documented_day.held(),
        }
    }

    /// What may be counted at most.
    pub(super) const fn most(&self) -> u64 {
        self.counted.held()
    }

    /// Whether true time is what counts now; not for a day after the exception.
    pub(super) fn goes_by_true_time(&self, now: Duration) -> bool {
        now >= self.ahead_until
    }

    /// Notes what the engine says is used. What it was to be at most, if it is more.
    pub(super) const fn note_use(&mut self, used: u64) -> Option<u64> {
        match self.ceiling.replace(used) {
            Some(ceiling) if used > ceiling => Some(ceiling),
            _ => None,
        }
    }

    /// Judges a refusal for the daily limit.
    pub(super) fn judge(&self, limit: u64) -> Judgement {
        if self.documented_day.held().max(self.true_day.held()) >= limit {
            Judgement::Right
        } else if self.bucketed_day.held() >= limit {
            Judgement::Wrong(Withheld::ByBuckets)
        } else if self.counted.held() >= limit {
            Judgement::Wrong(Withheld::ByCrash)
        } else {
            Judgement::Unexplained
        }
    }

    /// How often the ledger was read.
    pub(super) const fn openings(&self) -> u32 {
        self.openings
    }

    fn documented(&self, now: Duration) -> Duration {
        self.anchor.1 + (now - self.anchor.0)
    }

    fn resume(&mut self, record: &Snapshot, now: Duration, wall_millis: u64, boot: Boot) {
        let true_time = now - record.true_time;
        let documented = match record.boot == boot {
            true => true_time,
            // Both readings are cut to milliseconds.
            false => Duration::from_millis(wall_millis.saturating_sub(record.wall_millis)),
        };
        if documented > true_time + Duration::from_millis(1) {
            self.ahead_until = now + DAY;
        }
        self.anchor = (now, record.documented + documented);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn h(hours: u64) -> Duration {
        Duration::from_secs(hours * 60 * 60)
    }

    fn with_three_at_hour_one() -> Reference {
        let mut reference = Reference::new(BurstReference::default());
        reference.opened(Opened::Nothing, h(0), 0, Boot::Known(1));
        reference.advance(h(1));
        (0..3).for_each(|_| reference.admit(h(1)));
        reference
    }

    #[test]
    fn a_refusal_is_judged_by_the_exact_window_then_by_what_explains_it() {
        let mut reference = with_three_at_hour_one();
        let in_bucket = h(25) + BUCKET;
        let cases = [
            (h(24), Judgement::Right),
            (h(25), Judgement::Wrong(Withheld::ByBuckets)),
            (in_bucket, Judgement::Wrong(Withheld::ByBuckets)),
            (in_bucket + LOST_PER_OPENING, Judgement::Unexplained),
        ];
        for (now, judgement) in cases {
            reference.advance(now);
            assert_eq!(reference.judge(3), judgement, "at {now:?}");
        }
    }

    #[test]
    fn a_reservation_that_is_read_back_counts_as_of_the_reading() {
        let mut reference = with_three_at_hour_one();
        let record = reference.snapshot(h(2), 0, Boot::Known(1), 5);
        (0..2).for_each(|_| reference.admit(h(3)));
        reference.opened(Opened::Record(&record), h(4), 0, Boot::Known(1));
        assert_eq!((reference.least(h(4)), reference.most()), (5, 8));
        assert_eq!(reference.judge(8), Judgement::Wrong(Withheld::ByCrash));
        reference.advance(h(28));
        assert_eq!((reference.least(h(28)), reference.most()), (0, 5));
    }

    #[test]
    fn a_clock_that_is_set_over_a_restart_of_the_machine_is_believed_forward_only() {
        for (hours_later, least) in [(0, 3), (20, 3), (24, 0)] {
            let mut reference = with_three_at_hour_one();
            let record = reference.snapshot(h(1), 0, Boot::Known(1), 0);
            let wall_millis = u64::try_from(h(hours_later).as_millis()).unwrap();
            reference.opened(Opened::Record(&record), h(2), wall_millis, Boot::Known(2));
            assert_eq!(reference.least(h(2)), least, "{hours_later} hours on the clock");
            assert_eq!(reference.goes_by_true_time(h(2)), hours_later == 0);
        }
    }

    #[test]
    fn use_that_grows_without_an_admission_is_noticed() {
        let mut reference = with_three_at_hour_one();
        assert_eq!(reference.note_use(3), None);
        reference.admit(h(2));
        assert_eq!(reference.note_use(4), None);
        assert_eq!(reference.note_use(5), Some(4));
    }
}
