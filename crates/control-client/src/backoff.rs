//! How long to wait before the next round: exponential with full jitter.

use std::time::Duration;

/// Bounds of the waits between rounds of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of all waits.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(2),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failed rounds (from 1 on), where `random` is drawn evenly from 0..1.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let bound = self.first.saturating_mul(1 << doublings).min(self.max);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_from_first_to_max() {
        let cases = [
            (0, 100),
            (1, 100),
            (2, 200),
            (3, 400),
            (5, 1_600),
            (6, 2_000),
            (u32::MAX, 2_000),
        ];
        for (failures, millis) in cases {
            let backoff = Backoff::default();
            assert_eq!(
                backoff.delay(failures, 1.0),
                Duration::from_millis(millis),
                "{failures}"
            );
            assert_eq!(backoff.delay(failures, 0.5), Duration::from_millis(millis / 2));
            assert_eq!(backoff.delay(failures, 0.0), Duration::ZERO);
        }
    }
}
