//! Samples of both sides, taken in turn, and what they come to: medians over the rounds, and the median of the rounds'
//! ratios.

use std::time::Duration;

use anyhow::Result;

use crate::latency::{median, millis};
use crate::load::{self, Keys, Sample, Shape};
use crate::machine::processor_time;
use crate::operation::Operation;
use crate::subject::Group;

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
    ours: Vec<Measured>,
    baseline: Vec<Measured>,
}

#[derive(Debug)]
struct Measured {
    sample: Sample,
    /// Processor time of all members, for all calls.
    members: Duration,
    /// Processor time of this process meanwhile.
    client: Duration,
}

/// Where the connections lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    Leader,
    AllMembers,
}

impl Aim {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::AllMembers => "all members",
        }
    }
}

impl Comparison {
    /// "CPU µs": processor time for one call, of all members and of the client, in microseconds.
    pub(super) const HEADER: [&str; 11] = [
        "load",
        "ours /s",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "etcd /s",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "ours/etcd (rounds)",
        "failed",
    ];

    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Measures one side and keeps what comes of it.
    ///
    /// # Errors
    /// When the group fails under the load.
    pub(super) async fn measure(
        &mut self,
        side: Side,
        group: &mut Group,
        aim: Aim,
        operation: Operation,
        keys: &Keys,
        shape: Shape,
    ) -> Result<()> {
        let endpoints = match aim {
            Aim::Leader => vec![group.leader_endpoint().await?],
            Aim::AllMembers => group.endpoints().to_vec(),
        };
        let channels = load::connect(&endpoints).await?;
        let (members, client) = (group.processor_time()?, processor_time(std::process::id())?);
        let sample = load::run(operation, &channels, keys, shape).await?;
        let measured = Measured {
            sample,
            members: group.processor_time()?.saturating_sub(members),
            client: processor_time(std::process::id())?.saturating_sub(client),
        };
        self.add(side, measured);
        Ok(())
    }

    fn add(&mut self, side: Side, measured: Measured) {
        match side {
            Side::Ours => self.ours.push(measured),
            Side::Baseline => self.baseline.push(measured),
        }
    }

    /// A row under [`Comparison::HEADER`].
    pub(super) fn row(&self) -> Vec<String> {
        let mut row = vec![self.name.clone()];
        for samples in [&self.ours, &self.baseline] {
            if samples.is_empty() {
                row.extend(["–", "–", "–", "–"].map(str::to_owned));
                continue;
            }
            let of = |value: &dyn Fn(&Measured) -> f64| median(&samples.iter().map(value).collect::<Vec<_>>());
            row.push(format!("{:.0}", of(&|measured| measured.sample.per_second)));
            row.push(format!(
                "{:.1}",
                of(&|measured| millis(measured.sample.latencies.p50()))
            ));
            row.push(format!(
                "{:.1}",
                of(&|measured| millis(measured.sample.latencies.p99()))
            ));
            row.push(format!(
                "{:.0} + {:.0}",
                of(&|measured| measured.micros_a_call(measured.members)),
                of(&|measured| measured.micros_a_call(measured.client))
            ));
        }
        row.push(self.ratios());
        let failures: u64 = self
            .ours
            .iter()
            .chain(&self.baseline)
            .map(|measured| measured.sample.failures)
            .sum();
        row.push(failures.to_string());
        row
    }

    /// The median, and each round's in brackets.
    fn ratios(&self) -> String {
        let pairs = self.ours.iter().zip(&self.baseline);
        let ratios: Vec<f64> = pairs
            .map(|(ours, baseline)| ours.sample.per_second / baseline.sample.per_second)
            .collect();
        if ratios.is_empty() {
            return "–".to_owned();
        }
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        format!("**{:.2}** ({})", median(&ratios), each.join(" "))
    }
}

impl Measured {
    /// Far less noisy than the rates on a busy machine.
    fn micros_a_call(&self, processor: Duration) -> f64 {
        let calls = u32::try_from(self.sample.calls).unwrap_or(u32::MAX);
        processor.as_secs_f64() * 1e6 / f64::from(calls.max(1))
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

    fn measured(per_second: f64) -> Measured {
        Measured {
            sample: Sample {
                latencies: Latencies::of(vec![Duration::from_millis(3)]),
                per_second,
                calls: 500,
                failures: 1,
            },
            members: Duration::from_millis(100),
            client: Duration::from_millis(50),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() {
        let mut comparison = Comparison::new("64 clients".to_owned());
        for (ours, baseline) in [(100.0, 100.0), (900.0, 300.0), (400.0, 50.0)] {
            comparison.add(Side::Ours, measured(ours));
            comparison.add(Side::Baseline, measured(baseline));
        }
        let (rates, ratio) = (["3.0", "3.0", "200 + 100"], "**3.00** (1.00 3.00 8.00)");
        let expected = [&["64 clients", "400"][..], &rates, &["100"], &rates, &[ratio, "6"]].concat();
        assert_eq!(comparison.row(), expected);
    }

    #[test]
    fn without_a_baseline_there_is_no_ratio() {
        let mut comparison = Comparison::new("x".to_owned());
        comparison.add(Side::Ours, measured(10.0));
        assert_eq!(comparison.row().get(5..10).unwrap(), ["–", "–", "–", "–", "–"]);
    }
}
