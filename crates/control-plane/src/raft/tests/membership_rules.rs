//! The rules for changes of the members, against raft-rs's own idea of what a change does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use raft::eraftpb::{ConfChangeV2, ConfState};
use raft::storage::MemStorage;
use raft::{Config, RawNode};
use tenantry_types::MemberId;

use crate::raft::codec::conf_state;
use crate::raft::logger::logger;
use crate::raft::membership::{LeaderView, after, propose};
use crate::raft::{Caution, ChangeRefused, MemberChange, MemberProgress};
use crate::storage::{LogId, Members};

const LAST: u64 = 5000;

fn id(id: u64) -> MemberId {
    MemberId::new(id).unwrap()
}

fn ids(list: &[u64]) -> BTreeSet<MemberId> {
    list.iter().copied().map(id).collect()
}

fn log(member: u64) -> LogId {
    LogId::new(member + 100).unwrap()
}

fn address(member: u64) -> String {
    format!("host-{member}:7401")
}

fn members(voters: &[u64], learners: &[u64]) -> Members {
    let all: Vec<u64> = voters.iter().chain(learners).copied().collect();
    Members {
        voters: ids(voters),
        learners: ids(learners),
        addresses: all.iter().map(|member| (id(*member), address(*member))).collect(),
        logs: all.iter().map(|member| (id(*member), log(*member))).collect(),
        ..Members::default()
    }
}

fn add(member: u64) -> MemberChange {
    MemberChange::AddLearner {
        member: id(member),
        address: address(member),
        log: log(member),
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

/// Member 1 leads; `progress` holds what differs from "alive and caught up".
struct Situation {
    members: Members,
    change_pending: bool,
    progress: BTreeMap<u64, MemberProgress>,
}

impl Situation {
    fn of(members: Members) -> Self {
        Self {
            members,
            change_pending: false,
            progress: BTreeMap::new(),
        }
    }

    fn with(mut self, member: u64, matched: u64, active: bool) -> Self {
        self.progress.insert(member, MemberProgress { matched, active });
        self
    }

    fn ask(&self, change: &MemberChange, caution: Caution) -> Result<Option<ConfChangeV2>, ChangeRefused> {
        let healthy = MemberProgress {
            matched: LAST,
            active: true,
        };
        let view = LeaderView {
            leader: id(1),
            last_index: LAST,
            change_pending: self.change_pending,
            members: &self.members,
            progress: |member: MemberId| Some(self.progress.get(&member.get()).copied().unwrap_or(healthy)),
        };
        propose(&view, change, caution)
    }
}

/// Lets raft-rs apply a change, and its own second half if there is one; all members on the way.
fn apply(before: &Members, change: &ConfChangeV2) -> Vec<Members> {
    let storage = MemStorage::new_with_conf_state(conf_state(before));
    let config = Config {
        id: 1,
        ..Config::default()
    };
    let mut node = RawNode::new(&config, storage, &logger()).unwrap();
    let state: ConfState = node.apply_conf_change(change).unwrap();
    let mut steps = vec![after(before, change, &state).unwrap()];
    if state.auto_leave {
        let leave = ConfChangeV2::default();
        let state = node.apply_conf_change(&leave).unwrap();
        let last = after(&steps[0], &leave, &state).unwrap();
        steps.push(last);
    }
    steps
}

#[test]
fn unsound_changes_are_refused_with_the_reason() {
    let three = || Situation::of(members(&[1, 2, 3], &[4]));
    let mut used = three();
    used.members.removed = ids(&[9]);
    let mut joint = three();
    joint.members.voters_outgoing = ids(&[1, 2, 5]);
    let mut pending = three();
    pending.change_pending = true;
    let at = |member: u64, address: &str| MemberChange::AddLearner {
        member: id(member),
        address: address.into(),
        log: log(member),
    };
    let moved = |member: u64, address: &str| MemberChange::SetAddress {
        member: id(member),
        address: address.into(),
    };
    let cases = [
        (pending, add(5), "another change"),
        (joint, add(6), "another change"),
        (
            three(),
            at(2, "host-9:1"),
            "there is a member 2 already, at host-2:7401",
        ),
        (three(), at(5, "HOST-2:7401"), "member 2 has the address host-2:7401"),
        (three(), at(5, "0.0.0.0:7401"), "where to listen"),
        (used, add(9), "its id is never used again"),
        (three(), moved(7, "host-9:1"), "there is no member 7"),
        (three(), moved(2, "host-3:7401"), "member 3 has the address"),
        (three(), promote(7), "there is no member 7"),
        (three().with(4, 0, true), promote(4), "holds the log up to 0 of 5000"),
        (
            three().with(4, 3999, true),
            promote(4),
            "holds the log up to 3999 of 5000",
        ),
        (three().with(4, LAST, false), promote(4), "member 4 does not answer"),
        (three(), remove(7), "there is no member 7"),
        (three(), remove(1), "member 1 leads"),
        (three().with(3, LAST, false), remove(2), "1 of 2 voters would be alive"),
        (
            Situation::of(members(&[2], &[3])),
            remove(2),
            "member 2 is the last voter",
        ),
        (three(), replace(1, 4), "member 1 leads"),
        (three(), replace(2, 3), "member 3 is not a learner"),
        (three(), replace(4, 4), "member 4 has no vote"),
        (three(), replace(7, 4), "there is no member 7"),
        (three().with(4, 10, true), replace(2, 4), "holds the log up to 10"),
        (
            Situation::of(members(&[1, 2, 3, 5, 6], &[4]))
                .with(5, LAST, false)
                .with(6, LAST, false)
                .with(3, LAST, false),
            replace(2, 4),
            "2 of 5 voters would be alive",
        ),
    ];
    for (situation, change, reason) in cases {
        let refused = situation.ask(&change, Caution::Careful).unwrap_err().to_string();
        assert!(refused.contains(reason), "{change:?}: {refused}");
    }
}

#[test]
fn a_dead_voter_may_be_removed_or_replaced_and_a_live_one_only_by_force() {
    let one_dead = || Situation::of(members(&[1, 2, 3], &[4])).with(3, 7, false);
    for change in [remove(3), replace(3, 4), remove(4), promote(4)] {
        assert!(
            one_dead().ask(&change, Caution::Careful).unwrap().is_some(),
            "{change:?}"
        );
    }
    assert!(one_dead().ask(&remove(2), Caution::Careful).is_err());
    assert!(one_dead().ask(&remove(2), Caution::Forced).unwrap().is_some());
}

#[test]
fn what_is_so_already_is_no_change() {
    let mut situation = Situation::of(members(&[1, 2, 3], &[4]));
    situation.members.removed = ids(&[9]);
    // Even while another change is under way: the answer to a retry must not depend on it.
    situation.change_pending = true;
    let stay = MemberChange::SetAddress {
        member: id(2),
        address: address(2),
    };
    for change in [add(4), promote(2), remove(9), replace(9, 3), stay] {
        assert_eq!(situation.ask(&change, Caution::Careful), Ok(None), "{change:?}");
    }
}

#[test]
fn each_change_has_its_effect_and_a_removed_id_is_remembered() {
    let start = members(&[1, 2, 3], &[]);
    let step = |before: &Members, change: &MemberChange| {
        let situation = Situation::of(before.clone());
        let entry = situation.ask(change, Caution::Careful).unwrap().unwrap();
        apply(before, &entry)
    };
    let added = step(&start, &add(4)).pop().unwrap();
    assert_eq!(added, members(&[1, 2, 3], &[4]));

    let replaced = step(&added, &replace(2, 4));
    assert_eq!(replaced[0].voters_outgoing, ids(&[1, 2, 3]));
    assert!(replaced[0].addresses.contains_key(&id(2)) && replaced[0].removed.is_empty());
    let mut expected = members(&[1, 3, 4], &[]);
    expected.removed = ids(&[2]);
    assert_eq!(replaced[1], expected);

    let change = MemberChange::SetAddress {
        member: id(3),
        address: "elsewhere:1".into(),
    };
    let moved = step(&expected, &change).pop().unwrap();
    expected.addresses.insert(id(3), "elsewhere:1".into());
    assert_eq!(moved, expected);

    let removed = step(&moved, &remove(4)).pop().unwrap();
    assert_eq!(removed.removed, ids(&[2, 4]));
    assert_eq!(removed.voters, ids(&[1, 3]));
    assert!(!removed.addresses.contains_key(&id(4)) && !removed.logs.contains_key(&id(4)));
}

#[test]
fn a_change_of_a_newer_version_is_not_guessed_at() {
    let before = members(&[1, 2, 3], &[]);
    let situation = Situation::of(before.clone());
    let mut change = situation.ask(&add(4), Caution::Careful).unwrap().unwrap();
    let state = conf_state(&before);
    assert!(after(&before, &change, &state).is_ok());
    change.context = vec![8, 2].into();
    assert!(after(&before, &change, &state).is_err());
}

fn is_majority(voters: &BTreeSet<MemberId>, chosen: &BTreeSet<MemberId>) -> bool {
    voters.is_empty() || voters.intersection(chosen).count() > voters.len() / 2
}

fn is_quorum(members: &Members, chosen: &BTreeSet<MemberId>) -> bool {
    is_majority(&members.voters, chosen) && is_majority(&members.voters_outgoing, chosen)
}

fn changes() -> impl Strategy<Value = MemberChange> {
    let member = 1..9_u64;
    prop_oneof![
        member.clone().prop_map(add),
        member.clone().prop_map(promote),
        member.clone().prop_map(remove),
        (member.clone(), member).prop_map(|(old, new)| replace(old, new)),
    ]
}

proptest! {
    #[test]
    fn quorums_before_and_after_any_accepted_change_share_a_member(
        wanted in proptest::collection::vec((changes(), any::<bool>(), 0..9_u64), 1..40),
    ) {
        let mut now = members(&[1, 2, 3], &[]);
        for (change, forced, dead) in wanted {
            let caution = if forced { Caution::Forced } else { Caution::Careful };
            let situation = Situation::of(now.clone()).with(dead, 0, false);
            let Ok(Some(entry)) = situation.ask(&change, caution) else { continue };
            for next in apply(&now, &entry) {
                let everyone: Vec<_> = now.all().chain(next.all()).collect::<BTreeSet<_>>().into_iter().collect();
                for chosen in 0_u32..1 << everyone.len() {
                    let (inside, outside): (Vec<_>, Vec<_>) =
                        everyone.iter().enumerate().partition(|(bit, _)| chosen >> bit & 1 == 1);
                    let set = |half: Vec<(usize, &MemberId)>| half.into_iter().map(|(_, id)| *id).collect();
                    prop_assert!(!(is_quorum(&now, &set(inside)) && is_quorum(&next, &set(outside))), "{:?}", change);
                }
                // The books: everyone present has a record, nobody removed is present, and no id is forgotten.
                let present: BTreeSet<_> = next.all().collect();
                prop_assert_eq!(next.addresses.keys().copied().collect::<BTreeSet<_>>(), present.clone());
                prop_assert_eq!(next.logs.keys().copied().collect::<BTreeSet<_>>(), present.clone());
                prop_assert!(next.removed.is_disjoint(&present) && next.removed.is_superset(&now.removed));
                prop_assert!(next.voters.contains(&id(1)));
                prop_assert!(now.all().all(|member| present.contains(&member) || next.removed.contains(&member)));
                now = next;
            }
            prop_assert!(now.voters_outgoing.is_empty());
        }
    }
}
