//! Members come, go and are taken for dead while tenants are created; those that are out stay out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::time::Duration;

use process_tests::{Cluster, Writer};

const PATIENCE: Duration = Duration::from_secs(30);

fn id(index: usize) -> String {
    (index + 1).to_string()
}

#[test]
fn the_first_member_is_exchanged_for_a_fourth_while_writes_go_on_and_stays_out() {
    let mut cluster = Cluster::start();
    let fourth = cluster.start_joiner(&cluster.join_token());
    let writer = Writer::start(cluster.operator(), "meanwhile");

    let _ = cluster.ctl(&["cluster", "member", "add", "4", &cluster.grpc(fourth)]);
    assert_eq!(cluster.voters_and_learners(), (vec![1, 2, 3], vec![4]));
    let _ = cluster.ctl(&["cluster", "member", "promote", "4"]);
    assert_eq!(cluster.voters_and_learners(), (vec![1, 2, 3, 4], vec![]));
    let _ = cluster.ctl(&["cluster", "member", "remove", "1"]);
    assert_eq!(cluster.voters_and_learners(), (vec![2, 3, 4], vec![]));
    cluster.members[fourth].wait_until_ready();

    // It hears of it while it runs, and remembers.
    assert_eq!(cluster.members[0].wait_until_ended(PATIENCE).code(), Some(1));
    let log = cluster.members[0].log();
    assert!(log.contains("was removed from the cluster"), "{log}");
    cluster.members[0].start();
    assert_eq!(cluster.members[0].wait_until_ended(PATIENCE).code(), Some(1));

    let promises = writer.finish();
    assert!(
        !promises.created.is_empty() && promises.vanished.is_empty(),
        "{promises:?}"
    );
    cluster.wait_until_present_members_agree(3);
    // The id is burnt, and the new member counts: one of the others may die.
    let refused = cluster
        .try_ctl(&["cluster", "member", "add", "1", &cluster.grpc(0)])
        .unwrap_err();
    assert!(refused.contains("never used again"), "{refused}");
    cluster.members[1].kill();
    cluster.create_tenant("with-two-of-three", &[]);
}

#[test]
fn a_leader_and_then_a_dead_member_are_replaced_while_writes_go_on() {
    let mut cluster = Cluster::start();
    let token = cluster.join_token();
    let (fourth, fifth) = (cluster.start_joiner(&token), cluster.start_joiner(&token));
    let writer = Writer::start(cluster.operator(), "meanwhile");

    let leader = cluster.leader(None);
    let _ = cluster.ctl(&["cluster", "member", "replace", &id(leader), "4", &cluster.grpc(fourth)]);
    assert_eq!(cluster.members[leader].wait_until_ended(PATIENCE).code(), Some(1));

    let dead = (0..3).find(|index| *index != leader).unwrap();
    cluster.members[dead].kill();
    let _ = cluster.ctl(&["cluster", "member", "replace", &id(dead), "5", &cluster.grpc(fifth)]);
    let (voters, learners) = cluster.voters_and_learners();
    assert_eq!((voters.len(), learners), (3, vec![]));
    assert!(voters.contains(&4) && voters.contains(&5), "{voters:?}");

    // The dead one knows nothing of it when it comes back, and is told.
    cluster.members[dead].start();
    assert_eq!(cluster.members[dead].wait_until_ended(PATIENCE).code(), Some(1));
    let log = cluster.members[dead].log();
    assert!(log.contains("was removed from the cluster"), "{log}");
    let promises = writer.finish();
    assert!(
        !promises.created.is_empty() && promises.vanished.is_empty(),
        "{promises:?}"
    );
    cluster.wait_until_present_members_agree(3);
}

#[test]
fn a_member_whose_disk_was_wiped_is_refused_under_its_old_id_and_replaced_under_a_new_one() {
    let mut cluster = Cluster::start();
    cluster.create_tenant("before", &[]);
    let wiped = 1;
    cluster.members[wiped].kill();
    std::fs::remove_dir_all(cluster.folder().join("control-plane-2")).unwrap();
    cluster.members[wiped].start();
    assert_eq!(cluster.members[wiped].wait_until_ended(PATIENCE).code(), Some(1));
    let log = cluster.members[wiped].log();
    assert!(log.contains("must not come back under its old id"), "{log}");
    assert!(log.contains("tenantctl cluster member replace"), "{log}");

    let fourth = cluster.start_joiner(&cluster.join_token());
    let _ = cluster.ctl(&["cluster", "member", "replace", "2", "4", &cluster.grpc(fourth)]);
    assert_eq!(cluster.voters_and_learners(), (vec![1, 3, 4], vec![]));
    cluster.wait_until_present_members_agree(3);

    // So is one that had joined: its first life is known by the others.
    cluster.members[fourth].kill();
    std::fs::remove_dir_all(cluster.folder().join("control-plane-4")).unwrap();
    cluster.members[fourth].start();
    assert_eq!(cluster.members[fourth].wait_until_ended(PATIENCE).code(), Some(1));
    let log = cluster.members[fourth].log();
    assert!(log.contains("must not come back under its old id"), "{log}");
    cluster.create_tenant("after", &[]);
}

#[test]
fn a_stranger_a_silent_address_and_unsound_removals_are_refused_with_words() {
    let mut cluster = Cluster::start();
    let stranger = cluster.start_joiner("0123456789abcdef");
    let refused = cluster
        .try_ctl(&["cluster", "member", "add", "4", &cluster.grpc(stranger)])
        .unwrap_err();
    assert!(refused.contains("is of cluster 0123456789abcdef"), "{refused}");
    let refused = cluster
        .try_ctl(&["cluster", "member", "add", "5", &cluster.grpc(stranger)])
        .unwrap_err();
    assert!(refused.contains("is of cluster"), "{refused}");

    let token = cluster.join_token();
    let refused = cluster
        .try_ctl(&["cluster", "member", "add", "5", "127.0.0.1:9"])
        .unwrap_err();
    assert!(refused.contains("nobody answers at 127.0.0.1:9"), "{refused}");
    assert!(refused.contains(&format!("--member-id 5 --join {token}")), "{refused}");

    let leader = cluster.leader(None);
    let followers: Vec<_> = (0..3).filter(|index| *index != leader).collect();
    cluster.members[followers[0]].kill();
    process_tests::until("the leader to miss it", PATIENCE, || {
        let list = cluster.ctl(&["cluster", "member", "list"]);
        list["members"][followers[0]]["active"] == false
    });
    let refused = cluster
        .try_ctl(&["cluster", "member", "remove", &id(followers[1])])
        .unwrap_err();
    assert!(refused.contains("1 of 2 voters would be alive"), "{refused}");
    assert_eq!(cluster.voters_and_learners().0, vec![1, 2, 3]);
}
