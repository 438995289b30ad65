//! Members that come and go, with the real raft-rs, and crashes between any two steps.

use std::collections::BTreeSet;

use super::bag::{Bag, DiskSpeed, id};
use crate::raft::{Caution, ChangeFate, ChangeRefused, MemberChange, ProposeChangeError, ReplicaConfig, Role};
use crate::storage::{LogId, Members};

fn frequent_snapshots(config: &mut ReplicaConfig) {
    config.snapshot_every = 20;
    config.log_keep = 5;
}

fn add(member: u64) -> MemberChange {
    MemberChange::AddLearner {
        member: id(member),
        address: format!("host-{member}:1"),
        log: LogId::new(member).unwrap(),
    }
}

fn promote(member: u64) -> MemberChange {
    MemberChange::Promote { member: id(member) }
}

fn remove(member: u64) -> MemberChange {
    MemberChange::Remove { member: id(member) }
}

fn replace(old: u64, new: u64) -> MemberChange {
    MemberChange::Replace {
        old: id(old),
        new: id(new),
    }
}

fn ask(bag: &mut Bag, leader: u64, change: &MemberChange) -> Result<ChangeFate, ProposeChangeError> {
    let replica = &mut bag.members.get_mut(&leader).unwrap().replica;
    let proposed = replica.propose_change(change, Caution::Careful)?;
    bag.settle();
    bag.tick(4);
    let replica = &bag.members[&leader].replica;
    Ok(proposed.map_or(ChangeFate::Made, |proposed| replica.fate(proposed)))
}

fn members(bag: &Bag, of: u64) -> &Members {
    bag.members[&of].replica.members()
}

fn voters(bag: &Bag, of: u64) -> Vec<u64> {
    members(bag, of).voters.iter().map(|member| member.get()).collect()
}

fn assert_same(bag: &mut Bag, among: &[u64]) {
    bag.tick(8);
    assert!(bag.errors.is_empty(), "{:?}", bag.errors);
    let standing = |member: &u64| {
        let running = &bag.members[member];
        (
            running.applied(),
            running.digest(),
            running.replica.members_at().clone(),
        )
    };
    let all: Vec<_> = among.iter().map(standing).collect();
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
}

#[test]
fn a_member_joins_by_a_snapshot_that_names_it_is_promoted_and_counts() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    // There is a snapshot, and the log behind it is gone: it does not name the newcomer, who would ignore it.
    bag.write_values(leader, 1..=70);
    let before = bag.snapshots_sent;
    bag.join(4);
    assert_eq!(bag.members[&4].replica.members(), &Members::default());
    assert_eq!(ask(&mut bag, leader, &add(4)), Ok(ChangeFate::Made));
    bag.tick(10);
    assert_eq!(bag.snapshots_sent - before, 1, "one snapshot, and not again and again");
    assert_same(&mut bag, &[1, 2, 3, 4]);
    assert_eq!(bag.members[&4].replica.role(), Role::Follower);

    assert_eq!(ask(&mut bag, leader, &promote(4)), Ok(ChangeFate::Made));
    assert_eq!(voters(&bag, 4), [1, 2, 3, 4]);
    let dead = leader % 3 + 1;
    bag.crash(dead);
    bag.write_values(leader, 71..=80);
    let alive: Vec<u64> = (1..=4).filter(|member| *member != dead).collect();
    assert_same(&mut bag, &alive);
}

#[test]
fn a_newcomer_without_a_vote_waits_quietly_and_is_promoted_only_when_it_has_caught_up() {
    let mut bag = Bag::of_three(frequent_snapshots);
    bag.join(4);
    bag.tick(60);
    let leader = bag.elect();
    assert_eq!(
        (bag.members[&4].replica.term(), bag.members[&4].replica.leader()),
        (0, None)
    );
    bag.cut_off.insert(4);
    assert_eq!(ask(&mut bag, leader, &add(4)), Ok(ChangeFate::Made));
    let refused = ask(&mut bag, leader, &promote(4)).unwrap_err();
    let silent = ChangeRefused::NotActive { member: id(4) };
    assert_eq!(refused, ProposeChangeError::Refused(silent));
    bag.cut_off.clear();
    bag.tick(20);
    assert_eq!(ask(&mut bag, leader, &promote(4)), Ok(ChangeFate::Made));
    // An empty log under that id again: it knows nobody, so it never stands for election.
    bag.wipe(4);
    bag.cut_off.insert(leader);
    bag.tick(30);
    assert_ne!(bag.members[&4].replica.role(), Role::Leader);
}

#[test]
fn one_change_at_a_time_and_a_follower_makes_none() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    let propose = |bag: &mut Bag, by: u64, change: &MemberChange| {
        let replica = &mut bag.members.get_mut(&by).unwrap().replica;
        replica.propose_change(change, Caution::Careful)
    };
    let follower = leader % 3 + 1;
    assert_eq!(propose(&mut bag, follower, &add(4)), Err(ProposeChangeError::NotLeader));
    let first = propose(&mut bag, leader, &add(4)).unwrap().unwrap();
    let second = propose(&mut bag, leader, &add(5));
    assert_eq!(second, Err(ProposeChangeError::Refused(ChangeRefused::InProgress)));
    assert_eq!(bag.members[&leader].replica.fate(first), ChangeFate::Open);
    bag.settle();
    assert_eq!(bag.members[&leader].replica.fate(first), ChangeFate::Made);
    assert_eq!(ask(&mut bag, leader, &add(5)), Ok(ChangeFate::Made));
    assert_eq!(members(&bag, leader).learners.len(), 2);
}

#[test]
fn a_change_that_a_new_leader_overwrote_is_reported_as_dropped() {
    let mut bag = Bag::of_three(|_| {});
    let old = bag.elect();
    bag.cut_off.insert(old);
    let replica = &mut bag.members.get_mut(&old).unwrap().replica;
    let lost = replica.propose_change(&add(4), Caution::Careful).unwrap().unwrap();
    bag.settle();
    let new = bag.elect();
    bag.write_values(new, 1..=5);
    bag.cut_off.clear();
    assert_same(&mut bag, &[1, 2, 3]);
    assert_eq!(bag.members[&old].replica.fate(lost), ChangeFate::Dropped);
    assert!(members(&bag, old).learners.is_empty());
}

#[test]
fn a_removed_member_is_not_heard_and_changes_nobodys_term() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    let gone = leader % 3 + 1;
    // It does not hear of its own removal.
    bag.cut_off.insert(gone);
    assert_eq!(ask(&mut bag, leader, &remove(gone)), Ok(ChangeFate::Made));
    let term = bag.members[&leader].replica.term();
    bag.cut_off.clear();
    bag.tick(60);
    assert_eq!(bag.leaders(), [leader]);
    assert_eq!(bag.members[&leader].replica.term(), term);
    bag.write_values(leader, 1..=30);
    let refused = ask(&mut bag, leader, &add(gone)).unwrap_err();
    assert_eq!(
        refused,
        ProposeChangeError::Refused(ChangeRefused::IdUsed { member: id(gone) })
    );
}

#[test]
fn members_survive_restarts_and_snapshots_and_no_change_is_made_twice() {
    let mut bag = Bag::of_three(frequent_snapshots);
    let leader = bag.elect();
    bag.join(4);
    assert_eq!(ask(&mut bag, leader, &add(4)), Ok(ChangeFate::Made));
    bag.tick(20);
    let old = leader % 3 + 1;
    assert_eq!(ask(&mut bag, leader, &replace(old, 4)), Ok(ChangeFate::Made));
    bag.crash(old);
    let present: Vec<u64> = (1..=4).filter(|member| *member != old).collect();
    assert_eq!(voters(&bag, leader), present);
    let expected = members(&bag, leader).clone();
    assert_eq!(expected.removed, BTreeSet::from([id(old)]));
    for round in 0..3 {
        for member in &present {
            bag.restart(*member);
            assert_eq!(members(&bag, *member), &expected, "member {member} in round {round}");
        }
        let leader = bag.elect();
        bag.write_values(leader, 1..=25);
        assert_same(&mut bag, &present);
    }
    assert_eq!(members(&bag, present[0]), &expected);
}

#[test]
fn a_replacement_is_finished_by_the_next_leader() {
    let (mut not_made, mut halfway) = (0, 0);
    for messages_before_the_crash in 0..40 {
        let mut bag = Bag::of_three(frequent_snapshots);
        let leader = bag.elect();
        bag.join(4);
        assert_eq!(ask(&mut bag, leader, &add(4)), Ok(ChangeFate::Made));
        bag.tick(20);
        let old = leader % 3 + 1;
        let replica = &mut bag.members.get_mut(&leader).unwrap().replica;
        let change = replace(old, 4);
        replica.propose_change(&change, Caution::Careful).unwrap().unwrap();
        bag.process(leader);
        (0..messages_before_the_crash).for_each(|_| bag.deliver_one());
        bag.crash(leader);
        bag.messages.retain(|(from, _, _)| *from != leader);
        let alive = bag.members.values();
        halfway += usize::from(
            alive
                .map(|running| running.replica.members())
                .any(|known| !known.voters_outgoing.is_empty()),
        );
        bag.elect();
        bag.start(leader).unwrap();
        bag.tick(30);
        let now = bag.elect();
        let after = members(&bag, now);
        assert!(
            after.voters_outgoing.is_empty(),
            "after {messages_before_the_crash}: {after:?}"
        );
        let made = after.removed.contains(&id(old));
        not_made += usize::from(!made);
        let expected: Vec<u64> = (1..=4).filter(|member| *member != if made { old } else { 4 }).collect();
        assert_eq!(voters(&bag, now), expected, "after {messages_before_the_crash}");
        bag.write_values(now, 1..=3);
        assert_same(&mut bag, &expected);
    }
    assert!(halfway > 0 && not_made > 0, "{halfway} halfway, {not_made} not made");
}

#[test]
fn a_lone_voter_tells_its_learner_nothing_before_its_term_is_on_disk() {
    let mut bag = Bag::of_three(|_| {});
    let leader = bag.elect();
    for gone in (1..=3).filter(|member| *member != leader) {
        assert_eq!(ask(&mut bag, leader, &remove(gone)), Ok(ChangeFate::Made));
        bag.crash(gone);
    }
    bag.join(4);
    assert_eq!(ask(&mut bag, leader, &add(4)), Ok(ChangeFate::Made));
    bag.tick(20);
    bag.restart(leader);
    bag.set_disk(leader, DiskSpeed::Held);
    let term = bag.members[&4].replica.term();
    for _ in 0..40 {
        bag.members.get_mut(&leader).unwrap().replica.tick();
        bag.process(leader);
    }
    assert_eq!(bag.members[&leader].replica.role(), Role::Leader);
    assert!(bag.messages.is_empty(), "it spoke in a term that a crash would undo");
    bag.crash(leader);
    bag.start(leader).unwrap();
    bag.settle();
    assert_eq!(bag.members[&4].replica.term(), term);
    bag.elect();
    bag.write_values(leader, 1..=3);
    assert_same(&mut bag, &[leader, 4]);
}

/// A leader is never removed at its own command, but one may be elected that its predecessor has asked to remove.
#[test]
fn a_member_that_comes_to_lead_and_then_applies_its_own_removal_stops_leading() {
    let mut bag = Bag::of_three(|_| {});
    let old = bag.elect();
    let removed = if old == 1 { 2 } else { 1 };
    let third = 6 - old - removed;
    let replica = &mut bag.members.get_mut(&old).unwrap().replica;
    replica.propose_change(&remove(removed), Caution::Careful).unwrap();
    bag.process(old);
    // Both followers have it in their logs; nobody has heard so.
    let appends = bag.messages.len();
    (0..appends).for_each(|_| bag.deliver_one());
    bag.cut_off.insert(old);
    bag.messages.clear();
    let timeout_now = bag.members.get_mut(&removed).unwrap();
    for _ in 0..40 {
        timeout_now.replica.tick();
    }
    bag.settle();
    bag.cut_off.remove(&old);
    let leader = bag.elect();
    assert!(leader == old || leader == third, "{leader} leads");
    bag.propose(leader, "after", "the removal").unwrap();
    assert_same(&mut bag, &[old, third]);
    assert_eq!(voters(&bag, third), {
        let mut left = [old, third];
        left.sort_unstable();
        left.to_vec()
    });
}
