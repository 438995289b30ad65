//! Whether there is anybody in the quiet lane, for whom the workers of the busy one have to stand back.
//!
//! To be displaced by whoever wakes costs a busy tenant a fifth of its requests a second, and to displace the databases' threads a tenth. One that is alone on
//! the node keeps them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::lane::Lane;
use crate::thread_slices::{self, Slice};

/// After a turn in the quiet lane there is somebody for so long.
const PRESENT: Duration = Duration::from_secs(1);

thread_local! {
    /// What the slices of this thread are, as far as it has set them itself.
    static SLICE: Cell<Slice> = const { Cell::new(Slice::Shortest) };
}

/// When the quiet lane had its last turn.
#[derive(Debug)]
pub(super) struct Neighbours {
    begin: Instant,
    /// Milliseconds since `begin`, plus one; 0: never.
    last_turn: AtomicU64,
}

impl Neighbours {
    pub(super) const fn none(now: Instant) -> Self {
        Self {
            begin: now,
            last_turn: AtomicU64::new(0),
        }
    }

    /// A worker of `lane` begins a turn: one of the quiet lane is seen, one of the busy lane stands back if one was.
    pub(super) fn begin_turn(&self, lane: Lane, now: Instant) {
        match lane {
            Lane::Quiet => {
                let turn = self.millis(now) + 1;
                // Workers share it: it is written once a millisecond.
                if self.last_turn.load(Relaxed) < turn {
                    self.last_turn.store(turn, Relaxed);
                }
            }
            Lane::Busy => {
                let slice = if self.is_anybody(now) {
                    Slice::BusyLane
                } else {
                    Slice::Database
                };
                if SLICE.replace(slice) != slice {
                    thread_slices::set_for_this_thread(slice);
                }
            }
        }
    }

    fn is_anybody(&self, now: Instant) -> bool {
        let last_turn = self.last_turn.load(Relaxed);
        last_turn > 0
            && self.millis(now).saturating_sub(last_turn - 1) < u64::try_from(PRESENT.as_millis()).unwrap_or(u64::MAX)
    }

    fn millis(&self, now: Instant) -> u64 {
        // Enough for longer than anything runs.
        u64::try_from(now.saturating_duration_since(self.begin).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_somebody_for_a_second_after_a_turn_in_the_quiet_lane() {
        let now = Instant::now();
        let neighbours = Neighbours::none(now);
        assert!(!neighbours.is_anybody(now));
        neighbours.begin_turn(Lane::Busy, now);
        assert!(!neighbours.is_anybody(now), "the busy are no neighbours of theirs");
        neighbours.begin_turn(Lane::Quiet, now);
        assert!(neighbours.is_anybody(now + Duration::from_millis(999)));
        assert!(!neighbours.is_anybody(now + PRESENT));
        neighbours.begin_turn(Lane::Quiet, now + 2 * PRESENT);
        // A worker that looked at the clock earlier and comes later takes nothing back.
        neighbours.begin_turn(Lane::Quiet, now);
        assert!(neighbours.is_anybody(now + 2 * PRESENT));
    }
}
