//! Entries from before there were conditions come to what they came to then.

use tenantry_types::{Condition, EventSequence, Scheduling, TenantSpec, TenantUid, Tier, UnixMillis};

use super::testing::{ACME, Cluster, OTHER, create, node, raised, spec, subsided};
use crate::state::EVENT_LIFETIME_MS;
use crate::strategies::at;
use crate::{Command, Envelope, Rules, apply};

/// The kinds of events that the command appended by the first rules.
fn told_then(cluster: &mut Cluster, command: Command) -> Vec<&'static str> {
    let before = cluster.state.last_event();
    let envelope = Envelope {
        rules: Rules::First,
        ..at(cluster.now.0, command)
    };
    let revision = cluster.state.revision().next();
    apply(&mut cluster.state, revision, envelope).outcome.unwrap();
    assert_eq!(cluster.state.check(), Ok(()));
    let appended = cluster.state.events_after(before);
    appended.map(|event| event.detail.kind()).collect()
}

#[test]
fn what_a_node_reported_was_appended_as_it_came() {
    let mut cluster = Cluster::with_acme();
    let reports = vec![
        subsided(ACME, Condition::Hotspot),
        raised(ACME, Condition::Hotspot),
        raised(ACME, Condition::Hotspot),
    ];
    let command = cluster.reports("n1", reports);
    let told = told_then(&mut cluster, command);
    assert_eq!(told, ["hotspot-cleared", "hotspot-raised", "hotspot-raised"]);
    assert_eq!(cluster.state.conditions().count(), 0);
    // By today's rules the same node raises it now, once.
    let command = cluster.reports("n1", vec![raised(ACME, Condition::Hotspot)]);
    assert_eq!(cluster.told(command), ["hotspot-raised"]);
}

#[test]
fn a_node_was_closed_without_an_event() {
    let mut cluster = Cluster::new();
    let (id, scheduling) = (node("n1"), Scheduling::Cordoned);
    assert!(told_then(&mut cluster, Command::SetNodeScheduling { id, scheduling }).is_empty());
    let (id, scheduling) = (node("n1"), Scheduling::Open);
    let told = cluster.told(Command::SetNodeScheduling {
        id: id.clone(),
        scheduling,
    });
    assert_eq!(told, ["node-uncordoned"]);
    assert!(cluster.told(Command::SetNodeScheduling { id, scheduling }).is_empty());
}

#[test]
fn nobody_asked_for_a_node_of_their_own() {
    let enterprise = |uid, name| {
        let Command::CreateTenant { uid, name, node, .. } = create(uid, name, &[], Some("n1")) else {
            panic!("a creation");
        };
        let spec = TenantSpec {
            tier: Tier::Enterprise,
            ..spec(&[])
        };
        Command::CreateTenant { uid, name, spec, node }
    };
    let mut cluster = Cluster::with_acme();
    assert!(told_then(&mut cluster, enterprise(OTHER, "other")).is_empty());
    let told = cluster.told(enterprise(TenantUid::from_u128(7), "big"));
    assert_eq!(told, ["dedicated-node-wanted"]);
}

#[test]
fn events_did_not_grow_old() {
    let mut cluster = Cluster::with_acme();
    cluster.now = UnixMillis(cluster.now.0 + EVENT_LIFETIME_MS + 1);
    told_then(&mut cluster, Command::RevokeTokens { uid: ACME });
    assert_eq!(cluster.state.oldest_event(), EventSequence(1));
    cluster.done(Command::RevokeTokens { uid: ACME });
    assert_eq!(cluster.state.oldest_event(), EventSequence(2), "they do now");
}
