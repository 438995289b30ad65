//! The clocks by way of the C library. `SystemClock` finds its way to the kernel's clock by itself, which valgrind does not
//! support: the process would crash. What a decision costs besides is the same.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tenantry_layers::UnixMillis;
use tenantry_layers::clock::{Boot, Clock, Now};

pub(crate) struct LibraryClock {
    started: Instant,
    started_wall: UnixMillis,
}

impl LibraryClock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            started_wall: wall(),
        }
    }
}

impl Clock for LibraryClock {
    fn now(&self) -> Now {
        let monotonic = self.started.elapsed();
        Now {
            monotonic,
            steady: self.started_wall.plus(monotonic),
            wall: wall(),
        }
    }

    fn boot(&self) -> Boot {
        Boot::Unknown
    }
}

fn wall() -> UnixMillis {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::default().plus(since)
}
