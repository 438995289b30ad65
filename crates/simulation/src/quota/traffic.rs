//! When a tenant's next request comes: calm hours, busy ones, bursts, floods and nights, in turns.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::reference::DAY;

/// One tenant's clients.
#[derive(Debug)]
pub(super) struct Traffic {
    /// When the next request comes.
    pub(super) next: Duration,
    phase_ends: Duration,
    /// Between two requests, or two bursts, on the average.
    pause: Duration,
    /// Requests in a burst.
    burst: u32,
    left_of_burst: u32,
}

impl Traffic {
    pub(super) const fn new() -> Self {
        Self {
            next: Duration::ZERO,
            phase_ends: Duration::ZERO,
            pause: DAY,
            burst: 1,
            left_of_burst: 0,
        }
    }

    /// Draws when the request after the one at `now` comes. Habits go by the daily limit.
    pub(super) fn draw_next(&mut self, now: Duration, limit: u64, rng: &mut StdRng) {
        if now >= self.phase_ends {
            self.begin_phase(now, limit.max(1), rng);
        }
        if self.left_of_burst > 0 {
            self.left_of_burst -= 1;
            let apart = if rng.random_bool(0.5) {
                0
            } else {
                rng.random_range(0..200_000)
            };
            self.next = now + Duration::from_nanos(apart);
            return;
        }
        self.left_of_burst = self.burst - 1;
        self.next = now + exponential(self.pause, rng);
    }

    /// Habits change, as the limit does.
    pub(super) const fn end_phase(&mut self) {
        self.phase_ends = Duration::ZERO;
    }

    /// No request comes before that.
    pub(super) fn hold_until(&mut self, moment: Duration) {
        self.next = self.next.max(moment);
    }

    fn begin_phase(&mut self, now: Duration, limit: u64, rng: &mut StdRng) {
        let hours = exponential(DAY / 2, rng);
        let minutes = exponential(DAY / 200, rng);
        // Requests by the day, in parts of the limit; how many come at once; for how long.
        let (parts, burst, length) = match rng.random_range(0..100) {
            0..55 => (rng.random_range(0.1..0.7), 1, hours),
            55..58 => (rng.random_range(0.9..1.2), 1, hours),
            58..84 => (rng.random_range(0.2..0.7), (limit / 20).clamp(1, 50), hours),
            84..86 => (rng.random_range(1.0..4.0), (limit / 4).clamp(1, 2_000), hours),
            86..90 => (rng.random_range(50.0..500.0), 1, minutes),
            _ => (0.01, 1, hours),
        };
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
        let each_day = parts * limit as f64;
        self.burst = u32::try_from(burst).unwrap_or(1);
        self.pause = DAY.mul_f64(f64::from(self.burst) / each_day);
        self.phase_ends = now + length;
        self.left_of_burst = 0;
        // A pause of an earlier phase may have been longer than this whole one.
        self.pause = self.pause.min(DAY);
    }
}

/// A time that is `mean` on the average, often shorter, seldom much longer.
pub(super) fn exponential(mean: Duration, rng: &mut StdRng) -> Duration {
    let share: f64 = rng.random_range(f64::EPSILON..1.0);
    mean.mul_f64(-share.ln())
}
