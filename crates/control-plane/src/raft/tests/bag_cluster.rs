//! What three members must do whatever happens to messages, disks and each other.

use bytes::Bytes;
use proptest::prelude::*;

use super::bag::{Bag, DiskSpeed, Member, id};
use crate::raft::{ProposeRefusal, ReplicaError, Role, Stepped};
use crate::storage::{DiskFault, StoreError};

fn frequent_snapshots(config: &mut crate::raft::ReplicaConfig) {
    config.snapshot_every = 20;
    config.log_keep = 5;
}

fn values(bag: &Bag, member: u64) -> Vec<String> {
    bag.members[&member].machine().values.values().cloned().collect()
}

#[test]
fn three_members_elect_one_leader_and_apply_the_same() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    let first = bag.propose(leader, "a", "1").unwrap();
    let second = bag.propose(leader, "a", "2").unwrap();
    bag.settle();
    assert_eq!(bag.answers[&(leader, first)], None);
    assert_eq!(bag.answers[&(leader, second)], Some("1".into()));
    bag.assert_equal();
    let follower = leader % 3 + 1;
    let refusal = ProposeRefusal::NotLeader {
        leader: Some(id(leader)),
    };
    assert_eq!(bag.propose(follower, "a", "3"), Err(refusal));
}

#[test]
fn a_vote_that_was_given_is_remembered_after_a_crash() {
    let mut bag = Bag::of_three(|_| {});
    let before = bag.members[&1].replica.term();
    let voter = (0..1000).find_map(|_| {
        if bag.messages.is_empty() {
            suffer(&mut bag, &Fault::Tick(1), &mut Vec::new());
        }
        bag.deliver_one();
        let voted = |(_, m): &(&u64, &Member)| m.replica.term() > before && m.replica.role() == Role::Follower;
        bag.members.iter().find(voted).map(|(member, _)| *member)
    });
    let voter = voter.expect("an election");
    let term = bag.members[&voter].replica.term();
    bag.restart(voter);
    assert_eq!(bag.members[&voter].replica.term(), term);
    bag.elect();
    bag.assert_equal();
}

#[test]
fn a_restarted_cluster_has_lost_nothing() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    bag.write_values(leader, 1..=70);
    let before = values(&bag, leader);
    (1..=3).for_each(|member| bag.crash(member));
    (1..=3).for_each(|member| bag.start(member).unwrap());
    bag.elect();
    bag.assert_equal();
    (1..=3).for_each(|member| assert_eq!(values(&bag, member), before));
    assert!(bag.members.values().all(|m| m.replica.snapshot().index > 20));
}

#[test]
fn a_follower_that_lags_behind_the_log_catches_up_by_snapshot() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    let lagging = leader % 3 + 1;
    bag.cut_off.insert(lagging);
    bag.write_values(leader, 1..=100);
    assert!(bag.members[&leader].replica.log_range().0 > 10, "nothing was compacted");
    bag.snapshots_fail = true;
    bag.cut_off.clear();
    bag.tick(5);
    assert!(bag.snapshots_sent > 0);
    bag.snapshots_fail = false;
    let failed = bag.snapshots_sent;
    bag.assert_equal();
    assert_eq!(bag.snapshots_sent, failed + 1, "one successful snapshot is enough");
    bag.restart(lagging);
    bag.assert_equal();
}

#[test]
fn a_new_leader_replaces_what_the_lost_one_never_committed() {
    let mut bag = Bag::of_three(|_| {});
    let old = bag.elect();
    bag.write_values(old, 1..=3);
    bag.cut_off.insert(old);
    let lost = bag.propose(old, "lost", "1").unwrap();
    bag.settle();
    let new = bag.elect();
    assert_ne!(new, old);
    bag.write_values(new, 4..=6);
    bag.tick(30);
    assert_eq!(bag.leaders(), [new], "the old leader steps down by itself");
    bag.cut_off.clear();
    bag.assert_equal();
    assert!(!bag.answers.contains_key(&(old, lost)));
    assert!(!bag.members[&old].machine().values.contains_key("lost"));
}

#[test]
fn a_leader_that_is_cut_off_confirms_no_read() {
    let mut bag = Bag::of_three(|_| {});
    let old = bag.elect();
    bag.write_values(old, [1]);
    bag.cut_off.insert(old);
    let stale = bag.read(old);
    bag.tick(1);
    let new = bag.elect();
    bag.write_values(new, [2]);
    bag.tick(30);
    assert!(bag.reads.iter().all(|(_, sequence, _)| *sequence != stale));
    bag.cut_off.clear();
    bag.tick(5);
    let fresh = bag.read(old);
    bag.settle();
    let committed = bag.members[&new].replica.commit().get();
    let answer = bag.reads.iter().find(|(_, sequence, _)| *sequence == fresh);
    assert_eq!(
        answer.copied(),
        Some((old, fresh, committed)),
        "a follower asks the leader"
    );
}

#[test]
fn a_full_disk_stops_acknowledgements_until_it_is_freed() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    bag.write_values(leader, 1..=3);
    for fault in [DiskFault::Full, DiskFault::SyncFails] {
        let broken = leader % 3 + 1;
        bag.disks[&broken].set_fault(fault);
        bag.write_values(leader, 4..=6);
        assert!(bag.errors[&broken].is_transient());
        let applied = bag.members[&broken].applied();
        bag.write_values(leader, 7..=9);
        assert_eq!(bag.members[&broken].applied(), applied);
        bag.disks[&broken].set_fault(DiskFault::None);
        bag.rebuild(broken).unwrap();
        bag.errors.clear();
        bag.assert_equal();
    }
}

#[test]
fn a_wiped_member_under_its_old_id_stops_with_a_clear_error() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    bag.write_values(leader, 1..=9);
    bag.tick(3);
    let wiped = leader % 3 + 1;
    bag.wipe(wiped);
    bag.tick(3);
    let error = bag.errors.remove(&wiped).unwrap();
    assert!(matches!(error, ReplicaError::LostLog { .. }), "{error}");
    assert!(error.to_string().contains("new id"));
}

#[test]
fn an_unreadable_snapshot_is_left_alone_and_the_one_before_it_used() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    bag.write_values(leader, 1..=70);
    bag.assert_equal();
    let expected = values(&bag, 1);
    let newest = bag.snapshot_folder(1).list().unwrap()[0];
    let name = format!("{:020}-{}.snap", newest.index, newest.term);
    let path = bag.folders[&1].path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    bag.restart(1);
    assert!(bag.members[&1].replica.snapshot() < newest);
    bag.elect();
    bag.assert_equal();
    assert_eq!(values(&bag, 1), expected);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_member_without_any_readable_snapshot_says_so_and_changes_nothing() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    bag.write_values(leader, 1..=70);
    bag.crash(2);
    for entry in std::fs::read_dir(bag.folders[&2].path()).unwrap() {
        std::fs::write(entry.unwrap().path(), b"junk").unwrap();
    }
    assert!(matches!(bag.start(2), Err(ReplicaError::NoSnapshot { .. })));
    assert!(!bag.snapshot_folder(2).list().unwrap().is_empty());
}

#[test]
fn a_member_whose_log_is_gone_but_not_its_snapshots_is_refused() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    bag.write_values(leader, 1..=40);
    bag.crash(2);
    bag.disks.insert(2, crate::storage::MemoryDisk::default());
    let error = bag.start(2).unwrap_err();
    assert!(matches!(error, ReplicaError::Store(StoreError::Foreign(_))), "{error}");
}

#[test]
fn a_command_nobody_knows_stops_the_member() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    let id = crate::raft::ProposalId { origin: 9, sequence: 1 };
    let replica = &mut bag.members.get_mut(&leader).unwrap().replica;
    replica.propose(vec![(id, Bytes::from_static(b"what"))]).unwrap();
    bag.settle();
    assert!(matches!(bag.errors[&leader], ReplicaError::Apply { .. }));
    assert!(!bag.errors[&leader].is_transient());
}

#[test]
fn the_log_never_forgets_what_a_receiver_of_a_snapshot_needs_next() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    bag.write_values(leader, 1..=200);
    for running in bag.members.values() {
        let (first, last) = running.replica.log_range();
        assert!(first <= running.replica.snapshot().index && last == running.applied());
        assert!(last - first < 60, "the log is bounded: {first}..{last}");
    }
    assert!(bag.snapshot_folder(leader).list().unwrap().len() <= 2);
}

#[test]
fn leadership_is_handed_over_on_request() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    bag.write_values(leader, [1]);
    let successor = bag.members[&leader].replica.successor().unwrap();
    bag.members
        .get_mut(&leader)
        .unwrap()
        .replica
        .transfer_leadership(successor);
    bag.settle();
    assert_eq!(bag.leaders(), [successor.get()]);
}

#[test]
fn an_acknowledgement_leaves_only_after_its_write() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    let followers = [leader % 3 + 1, (leader + 1) % 3 + 1];
    for follower in followers {
        bag.set_disk(follower, DiskSpeed::Held);
    }
    let written = bag.propose(leader, "a", "1").unwrap();
    bag.settle();
    assert!(
        !bag.answers.contains_key(&(leader, written)),
        "nobody but the leader has it on disk"
    );
    bag.write_some(followers[0], usize::MAX);
    bag.settle();
    assert!(bag.answers.contains_key(&(leader, written)));
}

#[test]
fn a_leader_applies_nothing_that_its_own_disk_lacks() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    bag.set_disk(leader, DiskSpeed::Held);
    let before = bag.members[&leader].applied();
    let written = bag.propose(leader, "a", "1").unwrap();
    bag.settle();
    assert_eq!(bag.members[&leader].applied(), before);
    assert!(!bag.answers.contains_key(&(leader, written)));
    bag.write_some(leader, usize::MAX);
    bag.settle();
    assert!(bag.answers.contains_key(&(leader, written)));
}

#[test]
fn what_waited_for_the_disk_when_the_power_went_was_promised_to_nobody() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    bag.write_values(leader, 1..=3);
    (1..=3).for_each(|member| bag.set_disk(member, DiskSpeed::Held));
    let lost = bag.propose(leader, "lost", "1").unwrap();
    bag.settle();
    (1..=3).for_each(|member| bag.restart(member));
    bag.messages.clear();
    bag.elect();
    bag.assert_equal();
    assert!(!bag.answers.contains_key(&(leader, lost)));
    assert!((1..=3).all(|member| !bag.members[&member].machine().values.contains_key("lost")));
}

#[test]
fn elections_during_the_installation_of_a_snapshot_do_no_harm() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    let lagging = leader % 3 + 1;
    bag.cut_off.insert(lagging);
    bag.write_values(leader, 1..=100);
    bag.set_disk(lagging, DiskSpeed::Held);
    bag.cut_off.clear();
    bag.tick(4);
    assert!(bag.snapshots_sent > 0);
    let before = bag.members[&lagging].applied();
    bag.cut_off.insert(lagging);
    bag.tick(60);
    assert_eq!(bag.members[&lagging].applied(), before);
    bag.cut_off.clear();
    bag.write_some(lagging, usize::MAX);
    assert!(bag.members[&lagging].applied() > 50, "the snapshot is in place");
    bag.set_disk(lagging, DiskSpeed::Immediate);
    bag.elect();
    bag.assert_equal();
    bag.restart(lagging);
    bag.assert_equal();
}

#[derive(Debug, Clone)]
enum Fault {
    Tick(usize),
    Deliver(usize),
    Drop,
    Duplicate,
    CutOff(u64),
    Heal,
    Restart(u64),
    DiskFails(u64),
    DiskIsSlow(u64),
    DiskWrites(u64, usize),
    Write,
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        4 => (1..14_usize).prop_map(Fault::Tick),
        6 => (1..20_usize).prop_map(Fault::Deliver),
        2 => Just(Fault::Drop),
        1 => Just(Fault::Duplicate),
        1 => (1..=3_u64).prop_map(Fault::CutOff),
        1 => Just(Fault::Heal),
        1 => (1..=3_u64).prop_map(Fault::Restart),
        1 => (1..=3_u64).prop_map(Fault::DiskFails),
        2 => (1..=3_u64).prop_map(Fault::DiskIsSlow),
        4 => (1..=3_u64, 1..4_usize).prop_map(|(member, count)| Fault::DiskWrites(member, count)),
        6 => Just(Fault::Write),
    ];
    proptest::collection::vec(fault, 30..120)
}

fn suffer(bag: &mut Bag, fault: &Fault, written: &mut Vec<(u64, u64, String)>) {
    match *fault {
        Fault::Tick(count) => {
            for _ in 0..count {
                (1..=3).for_each(|member| {
                    bag.members.get_mut(&member).unwrap().replica.tick();
                    bag.process(member);
                });
            }
        }
        Fault::Deliver(count) => (0..count).for_each(|_| bag.deliver_one()),
        Fault::Drop => drop(bag.messages.pop_front()),
        Fault::Duplicate => bag.messages.extend(bag.messages.front().cloned()),
        Fault::CutOff(member) => drop(bag.cut_off.insert(member)),
        Fault::Heal => bag.cut_off.clear(),
        Fault::Restart(member) => bag.restart(member),
        Fault::DiskFails(member) => {
            bag.disks[&member].set_fault(DiskFault::SyncFails);
            bag.members.get_mut(&member).unwrap().replica.tick();
            bag.process(member);
            bag.disks[&member].set_fault(DiskFault::None);
        }
        Fault::DiskIsSlow(member) => bag.set_disk(member, DiskSpeed::Held),
        Fault::DiskWrites(member, count) => bag.write_some(member, count),
        Fault::Write => {
            for leader in bag.leaders() {
                let key = format!("w{}", written.len());
                if let Ok(sequence) = bag.propose(leader, &key, "x") {
                    written.push((leader, sequence, key));
                }
                bag.process(leader);
            }
        }
    }
    // A member whose disk failed continues from what the disk holds, and that is only what was synced.
    for (member, error) in std::mem::take(&mut bag.errors) {
        assert!(error.is_transient(), "member {member}: {error}");
        bag.disks[&member].crash();
        bag.rebuild(member).unwrap();
    }
    let mut terms: Vec<u64> = bag
        .leaders()
        .iter()
        .map(|leader| bag.members[leader].replica.term())
        .collect();
    terms.sort_unstable();
    assert!(terms.windows(2).all(|pair| pair[0] != pair[1]), "two leaders in a term");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_happens_no_acknowledged_write_is_lost_and_replicas_stay_equal(faults in faults()) {
        let mut bag = Bag::of_three(frequent_snapshots);
        bag.elect();
        let mut written = Vec::new();
        for fault in &faults {
            suffer(&mut bag, fault, &mut written);
        }
        bag.cut_off.clear();
        (1..=3).for_each(|member| bag.set_disk(member, DiskSpeed::Immediate));
        bag.elect();
        bag.tick(40);
        let leader = bag.elect();
        bag.write_values(leader, [1]);
        bag.assert_equal();
        for (leader, sequence, key) in written {
            if bag.answers.contains_key(&(leader, sequence)) {
                prop_assert!(bag.members[&1].machine().values.contains_key(&key), "{key} is lost");
            }
        }
    }
}

#[test]
fn a_question_for_a_read_index_that_arrives_twice_is_taken_in_once() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    let follower = if leader == 1 { 2 } else { 1 };
    bag.read(follower);
    bag.process(follower);
    let asked = |(from, to, _): &&(u64, u64, Bytes)| (*from, *to) == (follower, leader);
    let (_, _, question) = bag.messages.iter().find(asked).cloned().unwrap();
    bag.settle();
    assert_eq!(bag.reads.len(), 1);
    let replica = &mut bag.members.get_mut(&leader).unwrap().replica;
    // Late answers to its first arrival would release questions that were asked in between.
    let again = replica.step(&question).unwrap();
    assert!(matches!(again, Stepped::Refused(_)), "{again:?}");
}
