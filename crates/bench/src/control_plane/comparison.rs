//! Samples of both sides, taken in turn, and what they come to: medians over the rounds, and the median of the rounds'
//! ratios.

use anyhow::Result;

use crate::load::{self, Keys, Shape};
use crate::machine::processor_time;
use crate::measured::{Measured, cells, failures, ratios};
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
            servers: group.processor_time()?.saturating_sub(members),
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
        row.extend(cells(&self.ours));
        row.extend(cells(&self.baseline));
        row.push(ratios(&self.ours, &self.baseline));
        row.push((failures(&self.ours) + failures(&self.baseline)).to_string());
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::tests::measured;

    #[test]
    fn a_row_has_a_cell_for_each_column_with_and_without_a_baseline() {
        let mut comparison = Comparison::new("64 clients".to_owned());
        comparison.add(Side::Ours, measured(100.0));
        let cell = |comparison: &Comparison, column: usize| comparison.row().get(column).cloned();
        assert_eq!(comparison.row().len(), Comparison::HEADER.len());
        assert_eq!(cell(&comparison, 9).unwrap(), "–");
        comparison.add(Side::Baseline, measured(50.0));
        assert_eq!(comparison.row().len(), Comparison::HEADER.len());
        assert_eq!(cell(&comparison, 5).unwrap(), "50");
        assert_eq!(cell(&comparison, 9).unwrap(), "**2.00** (2.00)");
        assert_eq!(cell(&comparison, 10).unwrap(), "2");
    }
}
