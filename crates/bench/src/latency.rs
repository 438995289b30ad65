//! Durations of calls and their quantiles. Pure.

use std::time::Duration;

/// Measured durations. All are kept, so that quantiles are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self { sorted: durations }
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest duration that `percent` of all do not exceed; zero when there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent.min(100)).div_ceil(100);
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.percentile(99)
    }

    pub(crate) fn max(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }
}

/// The middle value; of an even number, the mean of the two in the middle. Zero for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    }
}

/// Milliseconds with fractions.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values_and_never_interpolated() {
        let of = |millis: &[u64]| Latencies::of(millis.iter().copied().map(Duration::from_millis).collect());
        let hundred: Vec<u64> = (1..=100).rev().collect();
        for (values, percent, expected) in [
            (&hundred[..], 50, 50),
            (&hundred, 99, 99),
            (&hundred, 100, 100),
            (&hundred, 0, 1),
            (&[7], 50, 7),
            (&[7], 99, 7),
            (&[1, 2], 50, 1),
            (&[1, 2], 99, 2),
            (&[], 99, 0),
        ] {
            assert_eq!(
                of(values).percentile(percent),
                Duration::from_millis(expected),
                "{percent}"
            );
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        for (values, expected) in [
            (&[3.0, 1.0, 2.0][..], 2.0),
            (&[4.0, 1.0, 2.0, 3.0], 2.5),
            (&[1.0], 1.0),
            (&[], 0.0),
        ] {
            assert!((median(values) - expected).abs() < 1e-9, "{values:?}");
        }
    }
}
