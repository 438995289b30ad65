//! Where a long call looks whether it may go on.

use std::cell::Cell;
use std::sync::Arc;

use crate::database::raw_sqlite::functions::Failure;

/// Steps between two looks; a step is about a byte that is compared. Some tens of microseconds, as between two looks of SQLite's.
const STEPS_PER_LOOK: usize = 1 << 16;

/// Lets others run first where they are due, and tells whether the statement has to stop.
pub(in crate::database) type ShouldStop = Arc<dyn Fn() -> bool + Send + Sync>;

/// Counts the steps of one function on one connection, over all its calls.
pub(super) struct Pause {
    should_stop: ShouldStop,
    steps: Cell<usize>,
}

impl Pause {
    pub(super) const fn new(should_stop: ShouldStop) -> Self {
        Self {
            should_stop,
            steps: Cell::new(0),
        }
    }

    /// So many steps were made.
    ///
    /// # Errors
    /// When the statement has to stop.
    #[inline]
    pub(super) fn after(&self, steps: usize) -> Result<(), Failure> {
        let steps = self.steps.get().saturating_add(steps);
        if steps < STEPS_PER_LOOK {
            self.steps.set(steps);
            return Ok(());
        }
        self.steps.set(0);
        if (self.should_stop)() {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }
}
