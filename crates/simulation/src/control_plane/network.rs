//! The simulated network: what is on its way, and who cannot hear whom. Knows nothing of what messages mean.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use tenantry_types::MemberId;

use super::Plan;
use super::report::Report;

/// A directed link.
pub(super) type Link = (MemberId, MemberId);

/// What travels.
#[derive(Debug, Clone)]
pub(super) enum Cargo {
    Message(Bytes),
    /// A snapshot file with its message.
    Snapshot {
        message: Bytes,
        file: Bytes,
        crc32: u32,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) from: MemberId,
    pub(super) to: MemberId,
    pub(super) cargo: Cargo,
    /// Counts up; tells what overtakes what.
    sent: u64,
}

/// In which directions a partition stops messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Both,
    OneWay,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) blocked: BTreeSet<Link>,
    pub(super) direction: Direction,
    pub(super) until: u64,
    pub(super) messages_lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    in_flight: BTreeMap<(u64, u64), Flight>,
    pub(super) partitions: Vec<Partition>,
    last_arrived: BTreeMap<Link, u64>,
    sequence: u64,
}

impl Network {
    /// Sends something at `now`; chance and `plan` decide whether, when and how often it arrives.
    pub(super) fn send(
        &mut self,
        now: u64,
        (from, to): Link,
        cargo: &Cargo,
        plan: &Plan,
        rng: &mut StdRng,
        report: &mut Report,
    ) -> Sent {
        if rng.random_ratio(plan.drop, 1000) {
            report.drops += 1;
            return Sent::Lost;
        }
        // A file comes on a stream, which repeats nothing.
        let twice = matches!(cargo, Cargo::Message(_)) && rng.random_ratio(plan.duplicate, 1000);
        report.duplicates += u64::from(twice);
        for copy in 0..=u64::from(twice) {
            let mut at = now;
            // A copy comes from somewhere that was slow.
            if copy > 0 {
                at += rng.random_range(0..=10 * plan.max_delay_ticks);
            }
            if rng.random_ratio(plan.delay, 1000) {
                // Most are a little late, a few very.
                let tail = if rng.random_ratio(1, 10) { 10 } else { 1 };
                at += rng.random_range(1..=tail * plan.max_delay_ticks);
                report.delays += 1;
            }
            self.sequence += 1;
            let sent = self.sequence;
            let cargo = cargo.clone();
            self.in_flight.insert((at, sent), Flight { from, to, cargo, sent });
        }
        Sent::OnItsWay
    }

    /// The next thing that is due by `now`.
    pub(super) fn next(&mut self, now: u64, report: &mut Report) -> Option<Flight> {
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        let flight = entry.remove();
        let last = self.last_arrived.entry((flight.from, flight.to)).or_default();
        report.reorders += u64::from(flight.sent < *last);
        *last = flight.sent.max(*last);
        Some(flight)
    }

    /// Puts back what cannot be delivered before `at`, in the order in which it was sent.
    pub(super) fn hold(&mut self, flight: Flight, at: u64) {
        self.in_flight.insert((at, flight.sent), flight);
    }

    /// Whether a partition stops this; counts what each partition costs.
    pub(super) fn stops(&mut self, link: Link, report: &mut Report) -> bool {
        let Some(partition) = self.partitions.iter_mut().find(|p| p.blocked.contains(&link)) else {
            return false;
        };
        if partition.messages_lost == 0 {
            match partition.direction {
                Direction::Both => report.partitions += 1,
                Direction::OneWay => report.one_way_partitions += 1,
            }
        }
        partition.messages_lost += 1;
        true
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    OnItsWay,
    Lost,
}
