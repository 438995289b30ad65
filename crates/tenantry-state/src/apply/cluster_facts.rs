//! What the leader wants recorded of nodes and members, each change told once.

use std::sync::Arc;

use tenantry_types::{ClusterEpoch, EventDetail, Reachability};

use super::Context;
use super::announce::announce;
use crate::{Answer, AvailabilityChange, RecordedMembers, State};

/// A change counts if it begins where the record stands: two leaders cannot tell it twice.
pub(super) fn record_availability(state: &mut State, context: &Context, changes: Vec<AvailabilityChange>) -> Answer {
    for AvailabilityChange { node, from, to } in changes {
        let stands = state.recorded_availability(&node) == from && from != Some(to);
        if !stands || state.node(&node).is_none() {
            continue;
        }
        state.put_availability(&node, to);
        // That a new node is up was told when it registered.
        if from.is_some() || to != Reachability::Up {
            announce(state, context, None, EventDetail::NodeAvailability { node, from, to });
        }
    }
    Answer::Recorded
}

/// Tells who leads and who takes part, where that differs from what was known. A record of an earlier term is old news.
pub(super) fn record_members(state: &mut State, context: &Context, now: RecordedMembers) -> Answer {
    let before = state.recorded_members().cloned();
    if before
        .as_ref()
        .is_some_and(|before| before.term > now.term || **before == now)
    {
        return Answer::Recorded;
    }
    let restored = state.cluster().map(|cluster| cluster.epoch);
    if let (None, Some(epoch)) = (&before, restored)
        && epoch > ClusterEpoch::FIRST
    {
        announce(state, context, None, EventDetail::ClusterRestored { epoch });
    }
    let from = before.as_ref().map(|before| before.leader);
    if from != Some(now.leader) {
        let (to, term) = (now.leader, now.term);
        announce(state, context, None, EventDetail::LeaderChanged { from, to, term });
    }
    if let Some(before) = &before {
        announce_members(state, context, before, &now);
    }
    state.put_members(now);
    Answer::Recorded
}

fn announce_members(state: &mut State, context: &Context, before: &Arc<RecordedMembers>, now: &RecordedMembers) {
    for (member, to) in &now.members {
        let (member, from, to) = (*member, before.members.get(member).copied(), *to);
        if from != Some(to) {
            announce(state, context, None, EventDetail::MemberChanged { member, from, to });
        }
    }
    for member in before.members.keys().filter(|member| !now.members.contains_key(member)) {
        let member = *member;
        announce(state, context, None, EventDetail::MemberRemoved { member });
    }
}
