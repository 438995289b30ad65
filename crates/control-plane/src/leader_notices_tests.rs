//! What the leader records by itself: once, whoever of two leaders records it, and again only when it is different.

use std::sync::Arc;
use std::time::Duration;

use tenantry_types::{Incarnation, MemberKind, NodeId, NodeLoad, Reachability};

use crate::leader_notices::record;
use crate::observations::Patience;
use crate::raft::RaftStatus;
use crate::services::ControlPlane;
use crate::single_member::SingleMember;

fn status(member: &SingleMember) -> RaftStatus {
    member.control_plane.log.status().borrow().clone()
}

/// The same member as one would be that judges silence by `patience`.
fn judging(member: &SingleMember, patience: Patience) -> ControlPlane {
    let (own, log) = (member.control_plane.member, member.control_plane.log.clone());
    ControlPlane::new(
        own,
        log,
        member.control_plane.published.clone(),
        patience,
        Duration::ZERO,
    )
}

fn hear(control_plane: &ControlPlane) {
    let (n1, now) = (NodeId::new("n1").unwrap(), control_plane.uptime());
    control_plane.observations(|observations| {
        observations.hear(&n1, Incarnation(1), now, NodeLoad::default(), Vec::new());
    });
}

/// Silent for longer than any wait here means nothing, up to the given one.
const fn patience(suspect_after: Duration, down_after: Duration) -> Patience {
    Patience {
        heartbeat_interval: Duration::from_secs(2),
        suspect_after,
        down_after,
    }
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_is_recorded_once_and_a_part_that_changes_is_told() {
    let member = SingleMember::start().await;
    let mut seen = status(&member);
    record(&member.control_plane, &seen).await;
    record(&member.control_plane, &seen).await;
    assert_eq!(member.kinds(), ["leader-changed"]);
    let state = member.state();
    let recorded = state.recorded_members().unwrap();
    assert_eq!((recorded.leader, recorded.term), (seen.member, seen.term));
    assert_eq!(recorded.members[&seen.member], MemberKind::Voter);

    let mut at = crate::storage::MembersAt::clone(&seen.members);
    at.members.learners.insert(tenantry_state::strategies::member_id(2));
    seen.members = Arc::new(at);
    record(&member.control_plane, &seen).await;
    assert_eq!(member.kinds(), ["leader-changed", "member-changed"]);

    // A member that does not know who takes part yet says nothing.
    seen.members = Arc::default();
    record(&member.control_plane, &seen).await;
    assert_eq!(member.kinds().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_silent_is_told_once_by_whoever_leads() {
    let member = SingleMember::start().await;
    member.register().await;
    let seen = status(&member);
    record(&member.control_plane, &seen).await;
    let before = member.kinds().len();
    // Of a node that was not heard of yet there is nothing to say; that it is up says its registration.
    hear(&member.control_plane);
    record(&member.control_plane, &seen).await;
    let n1 = NodeId::new("n1").unwrap();
    assert_eq!(member.state().recorded_availability(&n1), Some(Reachability::Up));
    assert_eq!(member.kinds().len(), before);

    let hasty = judging(&member, patience(Duration::ZERO, LONG));
    let other = judging(&member, patience(Duration::ZERO, LONG));
    for leader in [&hasty, &other] {
        hear(leader);
    }
    // Silence of any length is suspicious to both.
    tokio::time::sleep(Duration::from_millis(2)).await;
    for leader in [&hasty, &other, &hasty] {
        record(leader, &seen).await;
    }
    assert_eq!(member.kinds()[before..], ["node-suspect"]);
    let strict = judging(&member, patience(Duration::ZERO, Duration::ZERO));
    hear(&strict);
    tokio::time::sleep(Duration::from_millis(2)).await;
    record(&strict, &seen).await;
    let calm = judging(&member, patience(LONG, LONG));
    hear(&calm);
    record(&calm, &seen).await;
    assert_eq!(member.kinds()[before..], ["node-suspect", "node-down", "node-up"]);
    // One that has just begun to lead knows nothing, and takes nothing back.
    record(&judging(&member, patience(LONG, LONG)), &seen).await;
    assert_eq!(member.kinds().len(), before + 3);
}
