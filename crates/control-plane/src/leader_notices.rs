//! What the leader notices by itself and wants in the event log: nodes that come and go, and who leads and takes part.
//!
//! Compares what it sees with what is recorded, so that a change is told once, whoever leads when.

use tenantry_state::{AvailabilityChange, Command, RecordedMembers, State};
use tenantry_types::{MemberKind, Reachability};

use crate::raft::RaftStatus;
use crate::services::ControlPlane;

/// Has recorded what differs from the record. One that does not go through is noticed again in the next round.
pub(crate) async fn record(control_plane: &ControlPlane, status: &RaftStatus) {
    let published = control_plane.published.current();
    if let Some(members) = members(status, &published.state) {
        propose(control_plane, Command::RecordMembers(members)).await;
    }
    let changes = availability(control_plane, &published.state);
    if !changes.is_empty() {
        propose(control_plane, Command::RecordAvailability { changes }).await;
    }
}

async fn propose(control_plane: &ControlPlane, command: Command) {
    if let Err(status) = control_plane.propose(None, command).await {
        tracing::debug!(%status, "what the leader noticed is not recorded yet");
    }
}

/// Who leads and takes part, if that is news.
fn members(status: &RaftStatus, state: &State) -> Option<RecordedMembers> {
    let members = &status.members.members;
    let of_kind = |ids: &std::collections::BTreeSet<_>, kind| ids.iter().map(|id| (*id, kind)).collect::<Vec<_>>();
    let mut all = of_kind(&members.learners, MemberKind::Learner);
    all.extend(of_kind(&members.voters, MemberKind::Voter));
    let now = RecordedMembers {
        leader: status.member,
        term: status.term,
        members: all.into_iter().collect(),
    };
    let recorded = state.recorded_members();
    (!now.members.is_empty() && recorded.is_none_or(|recorded| **recorded != now)).then_some(now)
}

/// Nodes that are not as they are recorded. What is unknown is no news.
fn availability(control_plane: &ControlPlane, state: &State) -> Vec<AvailabilityChange> {
    let changed = state.nodes_after(None).filter_map(|node| {
        let to = Reachability::of(control_plane.availability(&node.id))?;
        let from = state.recorded_availability(&node.id);
        (from != Some(to)).then(|| AvailabilityChange {
            node: node.id.clone(),
            from,
            to,
        })
    });
    changed.collect()
}
