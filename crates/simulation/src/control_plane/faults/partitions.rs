//! Members that cannot hear each other.

use std::collections::BTreeSet;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::StateMachine;
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::MemberId;

use super::super::cluster::Cluster;
use super::super::network::{Direction, Link, Partition};

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(super) fn begin_partition(&mut self) {
        let ids = self.ids();
        let one_side: BTreeSet<MemberId> = ids.iter().copied().filter(|_| self.rng.random_bool(0.5)).collect();
        let direction = if self.rng.random_bool(0.5) {
            Direction::Both
        } else {
            Direction::OneWay
        };
        let stops = |(from, to): Link| match direction {
            Direction::Both => one_side.contains(&from) != one_side.contains(&to),
            Direction::OneWay => one_side.contains(&from) && !one_side.contains(&to),
        };
        let links = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
        let blocked: BTreeSet<Link> = links.filter(|link| stops(*link)).collect();
        let until = self.now + self.rng.random_range(10..120);
        self.trace.note(format_args!(
            "{} until {until} these cannot be heard: {}",
            self.now,
            blocked
                .iter()
                .map(|(from, to)| format!("{from} by {to}"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
        self.network.partitions.push(Partition {
            blocked,
            direction,
            until,
            messages_lost: 0,
        });
    }
}
