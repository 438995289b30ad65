//! True time, which only goes forward, and the clocks of the machine, which are set, restarted and wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenantry_layers::clock::{Boot, Clock, ManualClock};

/// Both of them. Time passes on all clocks alike.
#[derive(Debug)]
pub(super) struct Timeline {
    clock: Arc<ManualClock>,
    passed: Mutex<Duration>,
}

impl Timeline {
    pub(super) fn start() -> Self {
        Self {
            clock: Arc::new(ManualClock::at(1_700_000_000_000)),
            passed: Mutex::new(Duration::ZERO),
        }
    }

    /// True time since the start.
    pub(super) fn now(&self) -> Duration {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass up to `moment`, if it is not past already.
    pub(super) fn advance_to(&self, moment: Duration) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        self.clock.advance(moment.saturating_sub(*passed));
        *passed = moment.max(*passed);
    }

    /// The clock as processes see it.
    pub(super) const fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    /// The wall clock, in milliseconds.
    pub(super) fn wall_millis(&self) -> u64 {
        self.clock.now().wall.0
    }

    pub(super) fn boot(&self) -> Boot {
        self.clock.boot()
    }
}
