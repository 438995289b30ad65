//! Samples of both sides, taken in turn, and what they come to: medians over the rounds, and the median of the rounds'
//! ratios.

use std::time::Duration;

use crate::latency::{median, millis};
use crate::load::Sample;

/// Which of the two was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Baseline,
}

impl Side {
    /// Both, beginning with another one each round.
    pub(super) const fn in_turn(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) {
            [Self::Ours, Self::Baseline]
        } else {
            [Self::Baseline, Self::Ours]
        }
    }
}

/// One kind of load, measured on both sides in every round.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    name: String,
    ours: Vec<Sample>,
    baseline: Vec<Sample>,
}

impl Comparison {
    pub(super) const HEADER: [&str; 9] = [
        "load",
        "ours /s",
        "p50 ms",
        "p99 ms",
        "etcd /s",
        "p50 ms",
        "p99 ms",
        "ours/etcd (rounds)",
        "failed",
    ];

    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, side: Side, sample: Sample) {
        match side {
            Side::Ours => self.ours.push(sample),
            Side::Baseline => self.baseline.push(sample),
        }
    }

    /// A row under [`Comparison::HEADER`].
    pub(super) fn row(&self) -> Vec<String> {
        let mut row = vec![self.name.clone()];
        for samples in [&self.ours, &self.baseline] {
            if samples.is_empty() {
                row.extend(["–", "–", "–"].map(str::to_owned));
                continue;
            }
            let of = |value: &dyn Fn(&Sample) -> f64| median(&samples.iter().map(value).collect::<Vec<_>>());
            row.push(format!("{:.0}", of(&|sample| sample.per_second)));
            row.push(format!("{:.1}", of(&|sample| millis(sample.latencies.p50()))));
            row.push(format!("{:.1}", of(&|sample| millis(sample.latencies.p99()))));
        }
        row.push(self.ratios());
        let failures: u64 = self
            .ours
            .iter()
            .chain(&self.baseline)
            .map(|sample| sample.failures)
            .sum();
        row.push(failures.to_string());
        row
    }

    /// The median, and each round's in brackets.
    fn ratios(&self) -> String {
        let pairs = self.ours.iter().zip(&self.baseline);
        let ratios: Vec<f64> = pairs
            .map(|(ours, baseline)| ours.per_second / baseline.per_second)
            .collect();
        if ratios.is_empty() {
            return "–".to_owned();
        }
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        format!("**{:.2}** ({})", median(&ratios), each.join(" "))
    }
}

/// `12.3 ms`.
pub(super) fn in_millis(duration: Duration) -> String {
    format!("{:.1} ms", millis(duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latencies;

    fn sample(per_second: f64) -> Sample {
        Sample {
            latencies: Latencies::of(vec![Duration::from_millis(3)]),
            per_second,
            failures: 1,
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() {
        let mut comparison = Comparison::new("64 clients".to_owned());
        for (ours, baseline) in [(100.0, 100.0), (900.0, 300.0), (400.0, 200.0)] {
            comparison.add(Side::Ours, sample(ours));
            comparison.add(Side::Baseline, sample(baseline));
        }
        assert_eq!(
            comparison.row(),
            [
                "64 clients",
                "400",
                "3.0",
                "3.0",
                "200",
                "3.0",
                "3.0",
                "**2.00** (1.00 3.00 2.00)",
                "6"
            ]
        );
    }

    #[test]
    fn without_a_baseline_there_is_no_ratio() {
        let mut comparison = Comparison::new("x".to_owned());
        comparison.add(Side::Ours, sample(10.0));
        assert_eq!(comparison.row().get(4..8).unwrap(), ["–", "–", "–", "–"]);
    }
}
