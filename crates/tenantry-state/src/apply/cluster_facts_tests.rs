//! Nodes that come and go, and who leads and takes part: each change is told once, whoever tells it.

use std::collections::BTreeMap;

use tenantry_types::{ClusterEpoch, EventDetail, MemberId, MemberKind, Reachability, Revision, UnixMillis};

use super::testing::{Cluster, node, register};
use crate::strategies::member_id;
use crate::{AvailabilityChange, Command, RecordedMembers};
use MemberKind::{Learner, Voter};
use Reachability::{Down, Suspect, Up};

fn available(changes: &[(&str, Option<Reachability>, Reachability)]) -> Command {
    let change = |&(id, from, to): &(&str, Option<Reachability>, Reachability)| AvailabilityChange {
        node: node(id),
        from,
        to,
    };
    Command::RecordAvailability {
        changes: changes.iter().map(change).collect(),
    }
}

fn members(leader: u64, term: u64, all: &[(u64, MemberKind)]) -> Command {
    let members: BTreeMap<MemberId, MemberKind> = all.iter().map(|(id, kind)| (member_id(*id), *kind)).collect();
    Command::RecordMembers(RecordedMembers {
        leader: member_id(leader),
        term,
        members,
    })
}

fn leader_changed(from: Option<u64>, to: u64, term: u64) -> EventDetail {
    EventDetail::LeaderChanged {
        from: from.map(member_id),
        to: member_id(to),
        term,
    }
}

fn member_changed(member: u64, from: Option<MemberKind>, to: MemberKind) -> EventDetail {
    let member = member_id(member);
    EventDetail::MemberChanged { member, from, to }
}

#[test]
fn a_change_of_a_nodes_availability_is_told_once_though_two_leaders_tell_it() {
    let mut cluster = Cluster::new();
    cluster.done(register("n2", 1));
    // Each as the leader saw it, and what is told of it.
    let steps: [(Command, &[&str]); 9] = [
        (available(&[("n1", None, Up)]), &[]),
        (available(&[("n1", None, Up)]), &[]),
        (available(&[("n1", Some(Up), Suspect)]), &["node-suspect"]),
        (available(&[("n1", Some(Up), Suspect)]), &[]),
        (available(&[("n1", Some(Up), Down)]), &[]),
        (available(&[("n1", Some(Suspect), Suspect)]), &[]),
        (
            available(&[("n1", Some(Suspect), Down), ("n2", None, Down), ("n9", None, Down)]),
            &["node-down", "node-down"],
        ),
        (available(&[("n1", Some(Down), Up)]), &["node-up"]),
        (available(&[("n1", Some(Down), Up)]), &[]),
    ];
    for (number, (command, told)) in steps.into_iter().enumerate() {
        assert_eq!(cluster.told(command), told, "{number}");
    }
    assert_eq!(cluster.state.recorded_availability(&node("n1")), Some(Up));
    assert_eq!(cluster.state.recorded_availability(&node("n2")), Some(Down));
    assert_eq!(cluster.state.recorded_availability(&node("n9")), None);
}

#[test]
fn an_availability_says_what_it_was_before() {
    let mut cluster = Cluster::new();
    let detail = |from, to| EventDetail::NodeAvailability {
        node: node("n1"),
        from,
        to,
    };
    assert_eq!(
        cluster.news(available(&[("n1", None, Suspect)])),
        [detail(None, Suspect)]
    );
    let down = cluster.news(available(&[("n1", Some(Suspect), Down)]));
    assert_eq!(down, [detail(Some(Suspect), Down)]);
}

#[test]
fn joins_promotions_removals_and_leaders_are_told_as_they_differ_from_the_record() {
    let mut cluster = Cluster::new();
    let three = [(1, Voter), (2, Voter), (3, Voter)];
    // Those that a cluster begins with are no news.
    assert_eq!(cluster.news(members(1, 2, &three)), [leader_changed(None, 1, 2)]);
    assert!(cluster.news(members(1, 2, &three)).is_empty());
    assert!(
        cluster.news(members(1, 3, &three)).is_empty(),
        "it leads on in a later term"
    );

    let joined = [(1, Voter), (2, Voter), (3, Voter), (4, Learner)];
    assert_eq!(cluster.news(members(1, 3, &joined)), [member_changed(4, None, Learner)]);
    let promoted = [(1, Voter), (2, Voter), (3, Voter), (4, Voter)];
    let news = cluster.news(members(1, 3, &promoted));
    assert_eq!(news, [member_changed(4, Some(Learner), Voter)]);
    // Much at once, as a leader finds it that was elected meanwhile.
    let news = cluster.news(members(4, 5, &[(2, Learner), (3, Voter), (4, Voter), (5, Learner)]));
    let expected = [
        leader_changed(Some(1), 4, 5),
        member_changed(2, Some(Voter), Learner),
        member_changed(5, None, Learner),
        EventDetail::MemberRemoved { member: member_id(1) },
    ];
    assert_eq!(news, expected);
}

#[test]
fn what_a_leader_of_an_earlier_term_noticed_is_old_news() {
    let mut cluster = Cluster::new();
    cluster.done(members(2, 7, &[(1, Voter), (2, Voter)]));
    let before = cluster.state.recorded_members().cloned();
    assert!(
        cluster
            .news(members(1, 6, &[(1, Voter), (2, Voter), (3, Learner)]))
            .is_empty()
    );
    assert_eq!(cluster.state.recorded_members().cloned(), before);
}

#[test]
fn a_restore_is_told_once_by_the_first_that_leads_after_it() {
    let mut cluster = Cluster::new();
    let three = [(1, Voter), (2, Voter), (3, Voter)];
    cluster.done(members(1, 9, &three));
    let epoch = ClusterEpoch(2);
    let mut restored = Cluster {
        state: cluster.state.in_new_epoch(epoch, Revision(1 << 33)).unwrap(),
        now: UnixMillis(2_000),
    };
    // The terms of the new life begin anew, and so do its members.
    let news = restored.news(members(1, 2, &[(1, Voter)]));
    assert_eq!(
        news,
        [EventDetail::ClusterRestored { epoch }, leader_changed(None, 1, 2)]
    );
    assert!(restored.news(members(1, 2, &[(1, Voter)])).is_empty());
    let news = restored.news(members(2, 3, &[(1, Voter), (2, Voter)]));
    assert_eq!(news, [leader_changed(Some(1), 2, 3), member_changed(2, None, Voter)]);
}
