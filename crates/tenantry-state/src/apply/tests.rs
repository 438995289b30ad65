//! The rules of apply, as tables: what was done before, the command, and what comes of it.

use std::sync::Arc;

use tenantry_types::{
    DomainName, Epoch, EventOrigin, EventSequence, Incarnation, ReportSequence, RequestId, Revision, TenantName,
    TenantSpec, TenantUid, Tier, TierDefinition, TierPolicy, UnixMillis,
};

use super::testing::{
    ACME, Cluster, NOBODY, OTHER, class_changed, create, crossed, delete, node, place, register, report, spec, update,
};
use crate::state::{MAX_EVENTS, MAX_REQUESTS, REQUEST_LIFETIME};
use crate::strategies::{every_command_once, initialize, member_id, replay};
use crate::{Answer, Change, Command, Envelope, Fingerprint, Rejection, Request, Rules, State, apply};

fn request(id: u128, fingerprint: u64) -> Option<Request> {
    Some(Request {
        id: RequestId::from_u128(id),
        fingerprint: Fingerprint(fingerprint),
    })
}

#[test]
fn nothing_happens_before_a_cluster_has_an_identity_and_it_gets_one_only_once() {
    let mut state = State::new();
    let first = Envelope {
        rules: Rules::default(),
        now: UnixMillis(1),
        proposed_by: member_id(1),
        request: None,
        command: create(ACME, "acme", &[], None),
    };
    assert_eq!(
        apply(&mut state, Revision(1), first).outcome,
        Err(Rejection::NotInitialized)
    );
    let mut cluster = Cluster::new();
    let uid = cluster.state.cluster().unwrap().uid;
    let again = cluster.apply(None, initialize(2));
    assert_eq!(again.outcome, Err(Rejection::AlreadyInitialized { uid }));
    assert_eq!(cluster.state.cluster().unwrap().uid, uid);
}

#[test]
fn preconditions_that_do_not_hold_are_rejected_by_name() {
    let acme = || TenantName::new("acme").unwrap();
    let domain = || DomainName::new("db.acme.example").unwrap();
    let epochs = |expected, actual| Rejection::EpochMismatch {
        expected: Epoch(expected),
        actual: Epoch(actual),
    };
    let starts = |given| (node("n1"), Incarnation(given), Incarnation(5));
    let (stale_node, stale, known) = starts(4);
    let (early_node, early, _) = starts(6);
    let cases = vec![
        (
            vec![],
            create(ACME, "new", &[], None),
            Rejection::UidTaken { uid: ACME },
        ),
        (
            vec![],
            create(OTHER, "acme", &[], None),
            Rejection::NameTaken { name: acme(), by: ACME },
        ),
        (
            vec![],
            create(OTHER, "new", &["db.acme.example"], None),
            Rejection::DomainTaken {
                domain: domain(),
                by: ACME,
            },
        ),
        (
            vec![create(OTHER, "new", &[], None)],
            update(OTHER, None, &["db.acme.example"]),
            Rejection::DomainTaken {
                domain: domain(),
                by: ACME,
            },
        ),
        (
            vec![],
            create(OTHER, "new", &[], Some("n9")),
            Rejection::NodeUnknown { node: node("n9") },
        ),
        (
            vec![],
            update(NOBODY, None, &[]),
            Rejection::TenantNotFound { uid: NOBODY },
        ),
        (
            vec![],
            update(ACME, Some(1), &[]),
            Rejection::EtagMismatch {
                expected: Revision(1),
                actual: Revision(3),
            },
        ),
        (
            vec![delete(ACME)],
            update(ACME, None, &[]),
            Rejection::TenantDeleted { uid: ACME },
        ),
        (vec![delete(ACME)], delete(ACME), Rejection::TenantDeleted { uid: ACME }),
        (
            vec![delete(ACME)],
            place(ACME, "n1", 1),
            Rejection::TenantDeleted { uid: ACME },
        ),
        (
            vec![],
            Command::UndeleteTenant { uid: ACME },
            Rejection::TenantNotDeleted { uid: ACME },
        ),
        (
            vec![delete(ACME), create(OTHER, "acme", &[], None)],
            Command::UndeleteTenant { uid: ACME },
            Rejection::UndeleteNameTaken {
                name: acme(),
                by: OTHER,
            },
        ),
        (
            vec![delete(ACME), create(OTHER, "new", &["db.acme.example"], None)],
            Command::UndeleteTenant { uid: ACME },
            Rejection::DomainTaken {
                domain: domain(),
                by: OTHER,
            },
        ),
        (vec![], place(ACME, "n1", 0), epochs(0, 1)),
        (
            vec![],
            place(ACME, "n9", 1),
            Rejection::NodeUnknown { node: node("n9") },
        ),
        (
            vec![],
            register("n1", 4),
            Rejection::StaleIncarnation {
                node: stale_node,
                given: stale,
                known,
            },
        ),
        (
            vec![],
            report(6, vec![], &[]),
            Rejection::IncarnationUnknown {
                node: early_node,
                given: early,
                known,
            },
        ),
    ];
    for (before, command, rejection) in cases {
        let mut cluster = Cluster::with_acme();
        before.into_iter().for_each(|command| drop(cluster.done(command)));
        let shown = format!("{command:?}");
        let applied = cluster.apply(None, command);
        assert_eq!((applied.outcome, applied.changes), (Err(rejection), vec![]), "{shown}");
    }
}

#[test]
fn a_deleted_tenant_frees_its_name_and_can_return_until_its_purge_time() {
    let mut cluster = Cluster::with_acme();
    let acme = TenantName::new("acme").unwrap();
    assert_eq!(cluster.done(delete(ACME)), [Change::RouteRemoved { uid: ACME }]);
    assert_eq!(cluster.state.tenant_by_name(&acme), None);
    assert_eq!(cluster.state.tenants_on(&node("n1")), None);
    let mut late = Cluster {
        state: cluster.state.clone(),
        now: UnixMillis(2_000),
    };
    let purge_at = UnixMillis(2_000);
    assert_eq!(
        late.apply(None, Command::UndeleteTenant { uid: ACME }).outcome,
        Err(Rejection::PurgeTimePassed { uid: ACME, purge_at })
    );
    let changes = cluster.done(Command::UndeleteTenant { uid: ACME });
    assert_eq!(changes, [Change::RouteUpserted { uid: ACME }]);
    let tenant = cluster.state.tenant_by_name(&acme).unwrap();
    let placement = tenant.placement.as_ref().unwrap();
    assert_eq!(placement.node, node("n1"));
    assert_eq!(placement.epoch, Epoch(2), "what was told of it before it left is over");
}

#[test]
fn the_epoch_grows_with_every_change_of_the_node_and_only_then() {
    let mut cluster = Cluster::new();
    cluster.done(register("n2", 1));
    cluster.done(create(ACME, "acme", &[], None));
    for (on, expected, epoch) in [("n1", 0, 1), ("n1", 1, 1), ("n2", 1, 2), ("n1", 2, 3)] {
        cluster.done(place(ACME, on, expected));
        let placement = cluster.state.tenant(ACME).unwrap().placement.clone().unwrap();
        assert_eq!((placement.node, placement.epoch), (node(on), Epoch(epoch)));
    }
}

#[test]
fn the_same_spec_sent_again_changes_nothing() {
    let mut cluster = Cluster::with_acme();
    let before = cluster.revision_of(ACME);
    assert_eq!(cluster.done(update(ACME, None, &["db.acme.example"])), []);
    assert_eq!(cluster.revision_of(ACME), before);
    assert_eq!(
        cluster.done(update(ACME, Some(before.get()), &[])),
        [Change::RouteUpserted { uid: ACME }]
    );
    assert!(cluster.revision_of(ACME) > before);
}

#[test]
fn the_same_config_sent_again_leaves_no_trace_but_its_place_in_the_log() {
    let mut cluster = Cluster::with_acme();
    let own = |requests_per_day| {
        let mut spec = spec(&["db.acme.example"]);
        spec.quota.requests_per_day = requests_per_day;
        let (uid, expected) = (ACME, None);
        Command::UpdateTenant { uid, expected, spec }
    };
    assert_eq!(cluster.done(own(Some(20))), [Change::RouteUpserted { uid: ACME }]);
    let tenant = Arc::clone(cluster.state.tenant(ACME).unwrap());
    let (events, tiers) = (cluster.kinds(), cluster.state.tiers().clone());
    cluster.now = UnixMillis(9_000);
    let definition = *tiers.get(Tier::Small);
    for command in [own(Some(20)), Command::UpdateTier { definition }, own(Some(20))] {
        assert_eq!(cluster.done(command), []);
        // The same tenant, with its etag and its time of change.
        assert!(Arc::ptr_eq(cluster.state.tenant(ACME).unwrap(), &tenant));
        assert_eq!((cluster.kinds(), cluster.state.tiers()), (events.clone(), &tiers));
    }
    // To make the tier's limit the tenant's own is a change of its spec, and none for the node that keeps the limit.
    cluster.done(own(None));
    let before = cluster.revision_of(ACME);
    assert_eq!(cluster.done(own(Some(definition.quota.requests_per_day))), []);
    assert!(cluster.revision_of(ACME) > before);
}

#[test]
fn a_changed_tier_changes_the_routes_of_its_tenants_that_do_not_override_it() {
    let mut cluster = Cluster::with_acme();
    let mut definition = *cluster.state.tiers().get(Tier::Small);
    definition.quota.requests_per_day += 1;
    let update = |definition: TierDefinition| Command::UpdateTier { definition };
    assert_eq!(
        cluster.done(update(definition)),
        [Change::TiersChanged, Change::RouteUpserted { uid: ACME }]
    );
    assert_eq!(cluster.done(update(definition)), []);
    assert_eq!(cluster.state.tenant_route(ACME).unwrap().quota, definition.quota);
    definition.tier = Tier::Micro;
    assert_eq!(cluster.done(update(definition)), [Change::TiersChanged]);
}

#[test]
fn a_start_is_one_event_however_often_it_registers() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.done(register("n1", 5)), []);
    assert_eq!(cluster.kinds(), ["node-registered"]);
    assert_eq!(cluster.done(register("n1", 6)).len(), 2);
    assert_eq!(cluster.kinds(), ["node-registered", "node-registered"]);
}

#[test]
fn events_are_applied_once_and_what_an_older_start_left_is_taken_before_the_newer_one_reports() {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n1", 6));
    let events = |sequences: &[u64]| {
        let event = |sequence: &u64| crossed(*sequence, ACME);
        sequences.iter().map(event).collect::<Vec<_>>()
    };
    // incarnation, sequences, (acknowledged, appended, duplicates)
    let cases = [
        (5, vec![1, 2], (2, 2, 0)),
        (5, vec![1, 2], (2, 0, 2)),
        (5, vec![2, 3, 7], (7, 2, 1)),
        (5, vec![], (7, 0, 0)),
        (6, vec![1], (1, 1, 0)),
        (6, vec![1, 2], (2, 1, 1)),
    ];
    for (incarnation, sequences, (acknowledged, appended, duplicates)) in cases {
        let applied = cluster.apply(None, report(incarnation, events(&sequences), &[]));
        let expected = Answer::Events {
            acknowledged: ReportSequence(acknowledged),
            appended,
            duplicates,
            unknown_tenants: 0,
            superseded: 0,
        };
        assert_eq!(applied.outcome, Ok(expected), "{incarnation} {sequences:?}");
    }
    let late = cluster.apply(None, report(5, events(&[8]), &[]));
    assert!(matches!(late.outcome, Err(Rejection::StaleIncarnation { .. })));
}

#[test]
fn an_event_about_an_unknown_tenant_is_counted_and_acknowledged() {
    let mut cluster = Cluster::with_acme();
    let before = cluster.state.last_event();
    let applied = cluster.apply(None, report(5, vec![class_changed(1, NOBODY, Tier::Small)], &[]));
    let expected = Answer::Events {
        acknowledged: ReportSequence(1),
        appended: 0,
        duplicates: 0,
        unknown_tenants: 1,
        superseded: 0,
    };
    assert_eq!(applied.outcome, Ok(expected));
    assert_eq!(cluster.state.last_event(), before);
}

#[test]
fn a_tier_decision_is_carried_out_once_and_only_while_it_fits() {
    use Tier::{Enterprise, Large, Medium, Small};
    let report_to = |to, tiers: &[(Tier, Tier)]| report(5, vec![class_changed(1, ACME, to)], tiers);
    let pinned = || Command::UpdateTenant {
        uid: ACME,
        expected: None,
        spec: TenantSpec {
            tier_policy: TierPolicy::Pinned,
            ..spec(&[])
        },
    };
    // before, report, the tier after it
    let cases = vec![
        (vec![], report_to(Medium, &[(Small, Medium)]), Medium),
        (vec![], report_to(Medium, &[]), Small),
        (vec![], report_to(Medium, &[(Medium, Large)]), Small),
        (vec![], report_to(Enterprise, &[(Small, Enterprise)]), Small),
        (vec![pinned()], report_to(Medium, &[(Small, Medium)]), Small),
        (
            vec![report_to(Medium, &[])],
            report_to(Medium, &[(Small, Medium)]),
            Small,
        ),
        (vec![], report(5, vec![], &[(Small, Medium)]), Small),
    ];
    for (before, command, tier) in cases {
        let mut cluster = Cluster::with_acme();
        before.into_iter().for_each(|command| drop(cluster.done(command)));
        let shown = format!("{command:?}");
        cluster.done(command);
        assert_eq!(cluster.state.tenant(ACME).unwrap().spec.tier, tier, "{shown}");
        let last = cluster.state.events_after(EventSequence::ZERO).last().unwrap();
        let is_decision = matches!(last.origin, EventOrigin::ControlPlane { .. });
        assert_eq!(is_decision, tier != Small, "{shown}");
    }
}

#[test]
fn only_the_serving_nodes_word_on_a_class_counts() {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n2", 1));
    cluster.done(place(ACME, "n2", 1));
    let tiers = [(Tier::Small, Tier::Medium)];
    cluster.done(report(5, vec![class_changed(1, ACME, Tier::Medium)], &tiers));
    let tenant = cluster.state.tenant(ACME).unwrap();
    assert_eq!((tenant.observed_class, tenant.spec.tier), (None, Tier::Small));
}

#[test]
fn a_request_id_stands_for_one_request() {
    let mut cluster = Cluster::new();
    let first = cluster.apply(request(1, 7), create(ACME, "acme", &[], None));
    // Through another leader the retry carries another uid.
    let retry = cluster.apply(request(1, 7), create(OTHER, "acme", &[], None));
    assert_eq!(retry.outcome, first.outcome);
    assert_eq!(retry.changes, []);
    assert_eq!(cluster.state.tenant(OTHER), None);
    let other = cluster.apply(request(1, 8), create(OTHER, "other", &[], None));
    let id = RequestId::from_u128(1);
    assert_eq!(other.outcome, Err(Rejection::RequestIdReused { id }));
    cluster.now = cluster.now.plus(REQUEST_LIFETIME);
    let expired = cluster.apply(request(1, 8), create(OTHER, "other", &[], None));
    assert!(expired.outcome.is_ok());
}

#[test]
fn a_request_that_came_before_the_cluster_had_an_identity_is_heard_when_it_comes_again() {
    let mut cluster = Cluster {
        state: State::new(),
        now: UnixMillis(1_000),
    };
    let early = cluster.apply(request(1, 7), create(ACME, "acme", &[], None));
    assert_eq!(early.outcome, Err(Rejection::NotInitialized));
    cluster.done(initialize(1));
    let again = cluster.apply(request(1, 7), create(ACME, "acme", &[], None));
    assert!(again.outcome.is_ok(), "{:?}", again.outcome);
}

#[test]
fn kept_answers_are_bounded_and_the_oldest_go_first() {
    let mut state = replay(&every_command_once());
    let scheduling = every_command_once()[3].clone();
    let start = state.revision().get() + 1;
    let count = u64::try_from(MAX_REQUESTS).unwrap();
    let before = u64::try_from(state.kept_answers()).unwrap();
    let mut evicted = 0;
    for revision in start..start + count + 1 {
        let envelope = Envelope {
            request: request(u128::from(revision), 0),
            ..scheduling.clone()
        };
        evicted += apply(&mut state, Revision(revision), envelope).evicted_answers;
    }
    assert_eq!(evicted, before + 1, "what goes before its time is counted");
    assert_eq!(state.check(), Ok(()));
    let is_kept = |revision: u64| state.answered(&request(revision.into(), 0).unwrap()).is_some();
    assert!(!is_kept(start) && is_kept(start + 1) && is_kept(start + count));
}

#[test]
fn answers_past_their_time_are_forgotten_at_once_and_dropped_little_by_little() {
    let mut cluster = Cluster::new();
    for id in 1..=100_u128 {
        cluster.apply(
            request(id, 7),
            create(TenantUid::from_u128(id), &format!("t{id}"), &[], None),
        );
    }
    assert_eq!(cluster.state.kept_answers(), 100);
    cluster.now = cluster.now.plus(REQUEST_LIFETIME);
    // One command does not pay for all of them, and none of them answers any more.
    let reused = cluster.apply(request(100, 8), create(TenantUid::from_u128(200), "other", &[], None));
    assert!(reused.outcome.is_ok());
    assert_eq!(reused.evicted_answers, 0);
    assert!(cluster.state.kept_answers() > 50);
    assert_eq!(cluster.state.answered(&request(99, 9).unwrap()), None);
    for _ in 0..10 {
        cluster.apply(None, create(TenantUid::from_u128(201), "again", &[], None));
        assert_eq!(cluster.state.check(), Ok(()));
    }
    assert_eq!(cluster.state.kept_answers(), 1);
}

#[test]
fn the_event_log_is_bounded_and_keeps_its_numbers() {
    let mut cluster = Cluster::with_acme();
    let count = u64::try_from(MAX_EVENTS).unwrap();
    for first in (1..=count).step_by(1_000) {
        let events = (first..first + 1_000).map(|sequence| crossed(sequence, ACME));
        cluster.done(report(5, events.collect(), &[]));
    }
    assert_eq!(cluster.state.last_event(), EventSequence(count + 1));
    assert_eq!(cluster.state.oldest_event(), EventSequence(2));
}

#[test]
fn an_entry_that_was_applied_is_not_applied_again() {
    let history = every_command_once();
    let mut state = replay(&history);
    let before = state.clone();
    let applied = state.revision();
    let again = apply(&mut state, applied, history[1].clone());
    assert_eq!(again.outcome, Err(Rejection::RevisionNotNew { applied }));
    assert_eq!(state, before);
}
