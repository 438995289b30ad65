//! The clocks, read in one place. The arithmetic of `quota` and `meter` is given the time and must not read a clock itself.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tenantry_types::UnixMillis;

/// One reading of all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the machine started, suspended time included. Never goes back.
    pub monotonic: Duration,
    /// The wall clock when this process started, advanced by `monotonic`: aligned to wall-clock minutes, deaf to jumps.
    pub steady: UnixMillis,
    /// The wall clock. May jump either way; only for records that leave this process.
    pub wall: UnixMillis,
}

/// Which start of the machine `Now::monotonic` counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// Two readings with the same id are on one time line.
    Known(u128),
    /// The platform does not say: readings of two processes cannot be compared.
    Unknown,
}

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// Reads it.
    fn now(&self) -> Now;

    /// Which start of the machine it counts from.
    fn boot(&self) -> Boot;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock {
    boot: Boot,
    started: Instant,
    started_monotonic: Duration,
    started_wall: UnixMillis,
}

impl SystemClock {
    /// Starts the steady clock at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        let started = Instant::now();
        Self {
            boot: read_boot(),
            started,
            started_monotonic: since_boot(started),
            started_wall: read_wall(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let monotonic = since_boot(self.started);
        Now {
            monotonic,
            steady: self.started_wall.plus(monotonic.saturating_sub(self.started_monotonic)),
            wall: read_wall(),
        }
    }

    fn boot(&self) -> Boot {
        self.boot
    }
}

fn read_wall() -> UnixMillis {
    UnixMillis::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(target_os = "linux")]
fn since_boot(_started: Instant) -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(not(target_os = "linux"))]
fn since_boot(started: Instant) -> Duration {
    started.elapsed()
}

#[cfg(target_os = "linux")]
fn read_boot() -> Boot {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| uuid::Uuid::parse_str(text.trim()).ok())
        .map_or(Boot::Unknown, |id| Boot::Known(id.as_u128()))
}

#[cfg(not(target_os = "linux"))]
fn read_boot() -> Boot {
    Boot::Unknown
}

/// A clock that stands still until somebody moves it: for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Hands>);

/// Whole durations, so that many short advances add up to a long one.
#[derive(Debug, Clone, Copy)]
struct Hands {
    monotonic: Duration,
    steady: Duration,
    wall: Duration,
    boot: u128,
}

impl ManualClock {
    /// All clocks show `millis`, on the first start of the machine.
    #[must_use]
    pub const fn at(millis: u64) -> Self {
        let time = Duration::from_millis(millis);
        Self(Mutex::new(Hands {
            monotonic: time,
            steady: time,
            wall: time,
            boot: 1,
        }))
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.0.lock();
        hands.monotonic += by;
        hands.steady += by;
        hands.wall += by;
    }

    /// Someone sets the wall clock, by milliseconds.
    pub fn jump_wall(&self, by: i64) {
        let mut hands = self.0.lock();
        let distance = Duration::from_millis(by.unsigned_abs());
        hands.wall = match by < 0 {
            true => hands.wall.saturating_sub(distance),
            false => hands.wall.saturating_add(distance),
        };
    }

    /// The process starts anew: the steady clock begins at the wall clock.
    pub fn restart(&self) {
        let mut hands = self.0.lock();
        hands.steady = hands.wall;
    }

    /// The machine starts anew: monotonic time begins at zero.
    pub fn reboot(&self) {
        let mut hands = self.0.lock();
        hands.monotonic = Duration::ZERO;
        hands.boot += 1;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let hands = self.0.lock();
        Now {
            monotonic: hands.monotonic,
            steady: UnixMillis::default().plus(hands.steady),
            wall: UnixMillis::default().plus(hands.wall),
        }
    }

    fn boot(&self) -> Boot {
        Boot::Known(self.0.lock().boot)
    }
}

/// All clocks showing `millis`.
#[must_use]
pub const fn now_at(millis: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(millis),
        steady: UnixMillis(millis),
        wall: UnixMillis(millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.monotonic >= first.monotonic && second.steady >= first.steady);
        assert_eq!(clock.boot(), SystemClock::start().boot());
    }

    #[test]
    fn short_advances_of_a_manual_clock_add_up() {
        let clock = ManualClock::at(5);
        (0..1_000).for_each(|_| clock.advance(Duration::from_micros(10)));
        assert_eq!(clock.now(), now_at(15));
        clock.jump_wall(-1_000);
        assert_eq!((clock.now().wall, clock.now().steady), (UnixMillis(0), UnixMillis(15)));
        clock.restart();
        clock.reboot();
        let now = clock.now();
        assert_eq!(
            (now.monotonic, now.steady, clock.boot()),
            (Duration::ZERO, now.wall, Boot::Known(2))
        );
    }
}
