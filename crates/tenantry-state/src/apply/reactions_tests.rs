//! What the control plane does by itself, and what it leaves when it is switched off.

use tenantry_types::{
    Condition, EventDetail, QuotaKind, Reactions, ReportSequence, Switch, TenantSpec, TenantUid, Tier, TierPolicy,
};

use super::testing::{
    ACME, Cluster, OTHER, class_changed, create, node, place, proposing, raised, register, report, spec,
};
use crate::{Answer, Command};

fn with(reactions: Reactions) -> Cluster {
    let mut cluster = Cluster::with_acme();
    cluster.done(create(OTHER, "other", &[], Some("n1")));
    cluster.done(Command::UpdateReactions { reactions });
    cluster
}

/// Up to where the node may forget after the command.
fn acknowledged(cluster: &mut Cluster, command: Command) -> u64 {
    match cluster.apply(None, command).outcome {
        Ok(Answer::Events { acknowledged, .. }) => acknowledged.get(),
        other => panic!("{other:?}"),
    }
}

fn crossed() -> (TenantUid, EventDetail) {
    let detail = EventDetail::QuotaCrossed {
        quota: QuotaKind::RequestsPerDay,
        percent: 80,
        used: 8,
        limit: 10,
    };
    (ACME, detail)
}

fn enterprise() -> TenantSpec {
    TenantSpec {
        tier: Tier::Enterprise,
        tier_policy: TierPolicy::Pinned,
        ..spec(&[])
    }
}

fn create_enterprise(uid: TenantUid, name: &str, on: &str) -> Command {
    let Command::CreateTenant { uid, name, node, .. } = create(uid, name, &[], Some(on)) else {
        panic!("a creation");
    };
    let spec = enterprise();
    Command::CreateTenant { uid, name, spec, node }
}

#[test]
fn without_tier_changes_a_class_is_recorded_and_the_tier_stays() {
    let off = Reactions {
        tier_changes: Switch::Off,
        ..Reactions::default()
    };
    for (reactions, told, tier) in [
        (
            Reactions::default(),
            vec!["class-changed", "tier-changed"],
            Tier::Medium,
        ),
        (off, vec!["class-changed"], Tier::Small),
    ] {
        let mut cluster = with(reactions);
        let medium = |sequence| {
            let events = vec![class_changed(sequence, ACME, Tier::Medium)];
            report(5, events, &[(Tier::Small, Tier::Medium)])
        };
        assert_eq!(cluster.told(medium(1)), told);
        let tenant = cluster.state.tenant(ACME).unwrap();
        assert_eq!((tenant.spec.tier, tenant.observed_class), (tier, Some(Tier::Medium)));
        assert_eq!(acknowledged(&mut cluster, medium(2)), 2);
    }
}

#[test]
fn without_move_proposals_a_hot_tenant_is_recorded_and_nobody_is_to_move() {
    let mut cluster = with(Reactions {
        move_proposals: Switch::Off,
        ..Reactions::default()
    });
    let hot = || raised(ACME, Condition::Hotspot);
    let command = proposing(cluster.reports("n1", vec![hot()]), &[(ACME, ACME), (OTHER, ACME)]);
    assert_eq!(cluster.told(command), ["hotspot-raised"]);
    assert_eq!(cluster.state.move_proposals().count(), 0);
    let again = proposing(cluster.reports("n1", vec![hot()]), &[(ACME, ACME)]);
    assert_eq!(acknowledged(&mut cluster, again), 2);
}

#[test]
fn without_quota_warnings_a_crossing_leaves_no_event_and_may_still_change_a_tier() {
    let mut cluster = with(Reactions {
        quota_warnings: Switch::Off,
        ..Reactions::default()
    });
    assert!(cluster.told(cluster.reports("n1", vec![crossed()])).is_empty());
    let cursor = cluster.state.report_cursor(&node("n1")).unwrap();
    assert_eq!(cursor.sequence, ReportSequence(1));
    // The two switches are apart: what rests on the crossing is done.
    let Command::RecordEvents { events, .. } = cluster.reports("n1", vec![crossed()]) else {
        panic!("a report");
    };
    let lifting = report(5, events, &[(Tier::Small, Tier::Medium)]);
    assert_eq!(cluster.told(lifting), ["tier-changed"]);

    cluster.done(Command::UpdateReactions {
        reactions: Reactions::default(),
    });
    assert_eq!(cluster.told(cluster.reports("n1", vec![crossed()])), ["quota-crossed"]);
}

#[test]
fn without_dedicated_nodes_nobody_asks_for_one() {
    let mut cluster = with(Reactions {
        dedicated_nodes: Switch::Off,
        ..Reactions::default()
    });
    let big = TenantUid::from_u128(7);
    assert!(cluster.told(create_enterprise(big, "big", "n1")).is_empty());
    // Nor is it made up for later: the moment has passed.
    cluster.done(Command::UpdateReactions {
        reactions: Reactions::default(),
    });
    let spec = TenantSpec {
        durability: tenantry_types::Durability::Replicated,
        ..enterprise()
    };
    let expected = None;
    assert!(
        cluster
            .told(Command::UpdateTenant {
                uid: big,
                expected,
                spec
            })
            .is_empty()
    );
}

#[test]
fn an_enterprise_tenant_asks_for_a_node_when_it_comes_to_share_one() {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n2", 1));
    cluster.done(register("n3", 1));
    let big = TenantUid::from_u128(7);
    let wanted = |on: &str, neighbours| EventDetail::DedicatedNodeWanted {
        node: node(on),
        neighbours,
    };
    assert!(
        cluster.told(create_enterprise(big, "big", "n2")).is_empty(),
        "it is alone"
    );
    assert_eq!(cluster.news(place(big, "n1", 1)), [wanted("n1", 1)]);
    assert!(cluster.told(place(big, "n3", 2)).is_empty(), "alone again");
    // One that comes to be an enterprise tenant where it is.
    cluster.done(create(OTHER, "other", &[], Some("n1")));
    let (uid, expected, spec) = (ACME, None, enterprise());
    assert_eq!(
        cluster.news(Command::UpdateTenant { uid, expected, spec }),
        [wanted("n1", 1)]
    );
}

#[test]
fn switches_are_kept_as_they_are_given() {
    let mut cluster = Cluster::with_acme();
    assert_eq!(*cluster.state.reactions(), Reactions::default());
    assert!(Switch::default().is_on());
    let off = Reactions {
        tier_changes: Switch::Off,
        move_proposals: Switch::Off,
        dedicated_nodes: Switch::Off,
        quota_warnings: Switch::Off,
    };
    cluster.done(Command::UpdateReactions { reactions: off });
    assert_eq!(*cluster.state.reactions(), off);
}
