//! Conditions and proposed moves: what is news, whose word counts, and what ends them.

use tenantry_types::{
    Cleared, Condition, EndReason, EventDetail, Incarnation, MoveCause, ReportSequence, ReportedEvent, TenantUid,
    UnixMillis,
};

use super::testing::{
    ACME, Cluster, OTHER, create, delete, node, place, proposing, raised, register, register_with_record, subsided,
};
use crate::{Answer, Command};

const THIRD: TenantUid = TenantUid::from_u128(4);
const FOURTH: TenantUid = TenantUid::from_u128(5);

/// `acme`, `other`, `third` and `fourth` on `n1`, and an empty `n2`.
fn four_on_one_node() -> Cluster {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n2", 1));
    for (uid, name) in [(OTHER, "other"), (THIRD, "third"), (FOURTH, "fourth")] {
        cluster.done(create(uid, name, &[], Some("n1")));
    }
    cluster
}

fn ended(condition: Condition, reason: EndReason) -> EventDetail {
    EventDetail::Cleared(Cleared::Ended(condition, reason))
}

fn proposed(cluster: &Cluster) -> Vec<TenantUid> {
    cluster.state.move_proposals().map(|(uid, _)| uid).collect()
}

#[test]
fn a_condition_is_told_once_until_it_is_over_and_its_end_once_until_it_sets_in_again() {
    for condition in Condition::ALL {
        let mut cluster = Cluster::with_acme();
        let (set_in, over) = (raised(ACME, condition), subsided(ACME, condition));
        let told_nothing: Vec<EventDetail> = Vec::new();
        let steps = [
            (&over, told_nothing.clone()),
            (&set_in, vec![set_in.1.clone()]),
            (&set_in, told_nothing.clone()),
            (&over, vec![over.1.clone()]),
            (&over, told_nothing),
            (&set_in, vec![set_in.1.clone()]),
        ];
        for (report, news) in steps {
            let command = cluster.reports("n1", vec![report.clone()]);
            assert_eq!(cluster.news(command), news);
            let active = cluster.state.condition(ACME, condition).is_some();
            assert_eq!(active, matches!(report.1, EventDetail::Raised(_)));
        }
        let active = cluster.state.condition(ACME, condition).unwrap();
        assert_eq!((active.event, active.since), (cluster.state.last_event(), cluster.now));
        assert_eq!((active.node.clone(), active.incarnation), (node("n1"), Incarnation(5)));
    }
}

#[test]
fn conditions_of_a_tenant_do_not_touch_each_other() {
    let mut cluster = Cluster::with_acme();
    let all = Condition::ALL.map(|condition| raised(ACME, condition)).to_vec();
    let told = cluster.told(cluster.reports("n1", all));
    assert_eq!(told, ["hotspot-raised", "spike-raised", "node-exceeded-raised"]);
    let over = cluster.reports("n1", vec![subsided(ACME, Condition::Spike)]);
    assert_eq!(cluster.told(over), ["spike-cleared"]);
    let left: Vec<_> = cluster.state.conditions().map(|(_, condition, _)| condition).collect();
    assert_eq!(left, [Condition::Hotspot, Condition::NodeExceeded]);
}

#[test]
fn what_is_known_is_counted_and_acknowledged() {
    let mut cluster = Cluster::with_acme();
    let twice = vec![raised(ACME, Condition::Hotspot), raised(ACME, Condition::Hotspot)];
    let applied = cluster.apply(None, cluster.reports("n1", twice));
    let expected = Answer::Events {
        acknowledged: ReportSequence(2),
        appended: 1,
        duplicates: 0,
        unknown_tenants: 0,
        superseded: 1,
    };
    assert_eq!(applied.outcome, Ok(expected));
}

#[test]
fn only_the_serving_node_raises_and_clears() {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n2", 1));
    let hot = || vec![raised(ACME, Condition::Hotspot)];
    assert!(cluster.told(cluster.reports("n2", hot())).is_empty());
    assert_eq!(cluster.state.conditions().count(), 0);

    cluster.done(place(ACME, "n2", 1));
    assert!(
        cluster.told(cluster.reports("n1", hot())).is_empty(),
        "it waited in an outbox"
    );
    assert_eq!(cluster.told(cluster.reports("n2", hot())), ["hotspot-raised"]);
    let over = cluster.reports("n1", vec![subsided(ACME, Condition::Hotspot)]);
    assert!(cluster.told(over).is_empty());
    assert!(cluster.state.condition(ACME, Condition::Hotspot).is_some());

    cluster.done(delete(ACME));
    assert!(cluster.told(cluster.reports("n2", hot())).is_empty());
    cluster.done(create(OTHER, "unplaced", &[], None));
    let unplaced = cluster.reports("n1", vec![raised(OTHER, Condition::Spike)]);
    assert!(cluster.told(unplaced).is_empty());
    assert_eq!(cluster.state.conditions().count(), 0);
}

#[test]
fn a_later_start_that_tells_it_again_takes_a_condition_over_without_news() {
    let mut cluster = Cluster::with_acme();
    cluster.done(cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]));
    let before = cluster.state.condition(ACME, Condition::Hotspot).unwrap().clone();
    cluster.now = UnixMillis(1_500);
    cluster.done(register_with_record("n1", 6, 5));
    let again = cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]);
    assert!(cluster.told(again).is_empty());
    let after = cluster.state.condition(ACME, Condition::Hotspot).unwrap();
    assert_eq!((after.event, after.since), (before.event, before.since));
    assert_eq!(after.incarnation, Incarnation(6));
    // So the next start's record, begun by the sixth, knows of it.
    assert_eq!(cluster.told(register_with_record("n1", 7, 6)), ["node-registered"]);
    let over = cluster.reports("n1", vec![subsided(ACME, Condition::Hotspot)]);
    assert_eq!(cluster.told(over), ["hotspot-cleared"]);
}

#[test]
fn a_record_that_was_begun_anew_ends_what_earlier_starts_of_that_node_had_raised() {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n2", 1));
    cluster.done(create(OTHER, "other", &[], Some("n1")));
    cluster.done(create(THIRD, "third", &[], Some("n2")));
    cluster.done(cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]));
    cluster.done(cluster.reports("n2", vec![raised(THIRD, Condition::Hotspot)]));
    // A start that says nothing of its record, and one whose record is older, end nothing.
    assert_eq!(cluster.told(register("n1", 6)), ["node-registered"]);
    assert_eq!(cluster.told(register_with_record("n1", 7, 5)), ["node-registered"]);
    cluster.done(cluster.reports("n1", vec![raised(OTHER, Condition::Spike)]));

    let news = cluster.news(register_with_record("n1", 8, 7));
    assert_eq!(news.last(), Some(&ended(Condition::Hotspot, EndReason::RecordLost)));
    assert_eq!(news.len(), 2, "of the seventh start's own the record knows: {news:?}");
    let left: Vec<_> = cluster.state.conditions().map(|(uid, ..)| uid).collect();
    assert_eq!(left, [OTHER, THIRD]);
    assert!(
        cluster.told(register_with_record("n1", 8, 7)).is_empty(),
        "the same start registers again"
    );
}

#[test]
fn a_lost_record_withdraws_the_moves_that_rested_on_it() {
    let mut cluster = four_on_one_node();
    let hot = cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]);
    cluster.done(proposing(hot, &[(ACME, ACME), (OTHER, ACME)]));
    let told = cluster.told(register_with_record("n1", 6, 6));
    assert_eq!(
        told,
        ["node-registered", "hotspot-cleared", "move-withdrawn", "move-withdrawn"]
    );
    assert_eq!(proposed(&cluster), []);
}

#[test]
fn a_tenant_that_leaves_its_node_ends_all_that_is_raised_of_it_and_withdraws_what_rests_on_it() {
    let leave = [
        (delete(ACME), EndReason::TenantDeleted),
        (place(ACME, "n2", 1), EndReason::TenantMoved),
    ];
    for (command, reason) in leave {
        let mut cluster = four_on_one_node();
        let hot = vec![
            raised(ACME, Condition::Hotspot),
            raised(ACME, Condition::NodeExceeded),
            raised(OTHER, Condition::Hotspot),
        ];
        // One because of itself, one because of it, one because of another, and it because of nothing else.
        let hot = proposing(
            cluster.reports("n1", hot),
            &[(ACME, ACME), (THIRD, ACME), (FOURTH, OTHER)],
        );
        cluster.done(hot);
        let news = cluster.news(command);
        let withdrawn = EventDetail::MoveWithdrawn { node: node("n1") };
        let expected = [
            ended(Condition::Hotspot, reason),
            withdrawn.clone(),
            withdrawn,
            ended(Condition::NodeExceeded, reason),
        ];
        assert_eq!(news, expected);
        let left: Vec<_> = cluster.state.conditions().map(|(uid, ..)| uid).collect();
        assert_eq!((left, proposed(&cluster)), (vec![OTHER], vec![FOURTH]));
    }
}

#[test]
fn a_tenant_that_follows_the_proposal_withdraws_its_own_and_no_other() {
    for command in [delete(THIRD), place(THIRD, "n2", 1)] {
        let mut cluster = four_on_one_node();
        let hot = cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]);
        cluster.done(proposing(hot, &[(THIRD, ACME), (FOURTH, ACME)]));
        assert_eq!(cluster.told(command), ["move-withdrawn"]);
        assert_eq!(proposed(&cluster), [FOURTH]);
        assert!(cluster.state.condition(ACME, Condition::Hotspot).is_some());
    }
}

#[test]
fn to_be_placed_where_it_is_ends_nothing() {
    let mut cluster = four_on_one_node();
    let hot = cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]);
    cluster.done(proposing(hot, &[(ACME, ACME)]));
    assert!(cluster.told(place(ACME, "n1", 1)).is_empty());
    assert_eq!(proposed(&cluster), [ACME]);
}

#[test]
fn a_hotspot_that_is_over_withdraws_what_was_proposed_because_of_it_and_nothing_else() {
    let mut cluster = four_on_one_node();
    let raise = vec![
        raised(ACME, Condition::Hotspot),
        raised(ACME, Condition::Spike),
        raised(OTHER, Condition::Hotspot),
    ];
    let raise = proposing(
        cluster.reports("n1", raise),
        &[(ACME, ACME), (THIRD, ACME), (FOURTH, OTHER)],
    );
    let told = cluster.told(raise);
    assert_eq!(told.iter().filter(|kind| **kind == "move-proposed").count(), 3);

    let spike_over = cluster.reports("n1", vec![subsided(ACME, Condition::Spike)]);
    assert_eq!(cluster.told(spike_over), ["spike-cleared"]);
    let over = cluster.reports("n1", vec![subsided(ACME, Condition::Hotspot)]);
    assert_eq!(
        cluster.told(over),
        ["hotspot-cleared", "move-withdrawn", "move-withdrawn"]
    );
    assert_eq!(proposed(&cluster), [FOURTH]);
    let over = cluster.reports("n1", vec![subsided(OTHER, Condition::Hotspot)]);
    assert_eq!(cluster.told(over), ["hotspot-cleared", "move-withdrawn"]);
    assert_eq!(proposed(&cluster), []);
}

#[test]
fn a_move_is_proposed_only_while_it_makes_sense_and_once() {
    let mut cluster = four_on_one_node();
    cluster.done(create(TenantUid::from_u128(6), "elsewhere", &[], Some("n2")));
    let nothing = || cluster_report(1);
    // Nobody is hot yet.
    assert!(
        cluster
            .told(proposing(nothing(), &[(ACME, ACME), (OTHER, ACME)]))
            .is_empty()
    );
    let hot = cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]);
    let elsewhere = TenantUid::from_u128(6);
    let unknown = TenantUid::from_u128(99);
    let first = proposing(
        hot,
        &[(elsewhere, ACME), (unknown, ACME), (THIRD, OTHER), (THIRD, ACME)],
    );
    assert_eq!(cluster.told(first), ["hotspot-raised", "move-proposed"]);
    let proposal = cluster.state.move_proposal(THIRD).unwrap();
    assert_eq!(proposal.cause, MoveCause::BesideHot { hot: ACME });
    assert_eq!((proposal.node.clone(), proposal.since), (node("n1"), cluster.now));

    // It stands: another cause makes no second one of it.
    let also_hot = cluster.reports("n1", vec![raised(OTHER, Condition::Hotspot)]);
    assert_eq!(cluster.told(proposing(also_hot, &[(THIRD, OTHER)])), ["hotspot-raised"]);
    let proposal = cluster.state.move_proposal(THIRD).unwrap();
    assert_eq!(proposal.cause, MoveCause::BesideHot { hot: ACME });
}

/// A report of `n1` that tells nothing.
fn cluster_report(sequence: u64) -> Command {
    let events = vec![ReportedEvent {
        sequence: ReportSequence(sequence),
        occurred_at: UnixMillis(900),
        tenant: Some(super::testing::NOBODY),
        epoch: None,
        detail: EventDetail::EventsDropped { count: 1 },
    }];
    Command::RecordEvents {
        node: node("n1"),
        incarnation: Incarnation(5),
        events,
        tier_changes: Vec::new(),
        moves: Vec::new(),
    }
}

#[test]
fn hot_tenants_are_counted_by_node() {
    let mut cluster = four_on_one_node();
    let hot = vec![raised(ACME, Condition::Hotspot), raised(OTHER, Condition::Hotspot)];
    cluster.done(cluster.reports("n1", hot));
    cluster.done(cluster.reports("n1", vec![raised(THIRD, Condition::Spike)]));
    assert_eq!(cluster.state.hot_tenants_on(&node("n1")), 2);
    cluster.done(place(ACME, "n2", 1));
    assert_eq!(cluster.state.hot_tenants_on(&node("n1")), 1);
    assert_eq!(cluster.state.hot_tenants_on(&node("n2")), 0, "n2 measures anew");
}
