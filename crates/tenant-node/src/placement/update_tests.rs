//! The rules of configuration that arrives: each test is named after its rule.

use proptest::prelude::*;
use tenantry_types::{DomainName, Tier, TierDefinition};

use super::*;
use crate::placement::table_tests::route;

const ACME: u128 = 1;
const OTHER: u128 = 2;

fn uid(number: u128) -> TenantUid {
    TenantUid::from_u128(number)
}

fn message(number: u128, name: &str) -> v1::TenantRoute {
    v1::TenantRoute::from(&route(number, name, "node-1"))
}

fn of_tenants(revision: u64, tenants: Vec<v1::TenantRoute>) -> v1::RoutingDelta {
    v1::RoutingDelta {
        revision,
        tenants,
        ..v1::RoutingDelta::default()
    }
}

/// With `acme` and `other`.
fn table() -> RoutingTable {
    let mut table = RoutingTable::default();
    let tenants = vec![message(ACME, "acme"), message(OTHER, "other")];
    assert_eq!(change(&mut table, of_tenants(1, tenants)), []);
    table
}

fn limits(message: &mut v1::TenantRoute) -> &mut v1::Quota {
    message.quota.get_or_insert_default()
}

/// What a control plane with a fault may make of a record.
fn damages() -> Vec<(&'static str, fn(&mut v1::TenantRoute))> {
    vec![
        ("quota.requests_per_day", |record| limits(record).requests_per_day = 0),
        ("quota.database_bytes", |record| limits(record).database_bytes = 1),
        ("quota.burst", |record| {
            limits(record).burst = Some(v1::Burst::default())
        }),
        ("quota", |record| record.quota = None),
        ("tier", |record| record.tier = 99),
        ("tier", |record| record.tier = 0),
        ("domains[0]", |record| record.domains = vec!["no domain".to_owned()]),
        ("tenant_id", |record| record.tenant_id = "No Name".to_owned()),
        ("durability", |record| record.durability = 99),
        ("epoch", |record| record.epoch = 0),
        ("node_id", |record| record.node_id = "No Node".to_owned()),
    ]
}

#[test]
fn a_bad_record_keeps_the_last_good_one_of_its_tenant_and_the_others_are_applied() {
    for (field, damage) in damages() {
        let mut table = table();
        let good = Arc::clone(table.tenant(uid(ACME)).unwrap());
        let mut bad = message(ACME, "acme");
        damage(&mut bad);
        let mut other = message(OTHER, "other");
        limits(&mut other).requests_per_day = 77;
        let new = message(3, "new");
        let refused = change(&mut table, of_tenants(2, vec![bad.clone(), other.clone(), new.clone()]));
        let named: Vec<_> = refused
            .iter()
            .map(|error| (error.kind, error.reason.field.as_str()))
            .collect();
        assert_eq!(named, [("tenant", field)]);
        assert_eq!(table.tenant(uid(ACME)).unwrap(), &good, "{field}");
        assert_eq!(table.by_name(&good.name).unwrap().uid, uid(ACME), "{field}");
        assert_eq!(table.tenant(uid(OTHER)).unwrap().quota.requests_per_day, 77);
        assert!(table.tenant(uid(3)).is_some());
        assert_eq!((table.revision, table.refused_records()), (Revision(2), 1));

        // A whole table says the same, and leaves the same in force.
        let all = of_tenants(3, vec![bad, other, new]);
        let (replaced, refused) = replace(&table, (ClusterUid::from_u128(1), ClusterEpoch(1)), all);
        assert_eq!((refused.len(), replaced.refused_records()), (1, 1));
        assert_eq!(replaced.tenant(uid(ACME)).unwrap(), &good, "{field}");
        assert_eq!(replaced.digest(), table.digest(), "{field}");

        // Mended, it counts; and nothing of the refusal is left.
        let mut mended = message(ACME, "acme");
        limits(&mut mended).requests_per_day = 5;
        assert_eq!(change(&mut table, of_tenants(4, vec![mended])), []);
        assert_eq!(table.tenant(uid(ACME)).unwrap().quota.requests_per_day, 5);
        assert_eq!(table.refused_records(), 0);
    }
}

#[test]
fn a_bad_record_of_a_tenant_that_was_never_known_leaves_it_unknown() {
    let mut table = table();
    let mut bad = message(9, "nine");
    bad.tier = 99;
    assert_eq!(change(&mut table, of_tenants(2, vec![bad])).len(), 1);
    assert!(table.tenant(uid(9)).is_none());
    let gone = v1::RoutingDelta {
        revision: 3,
        removed_tenant_uids: vec![uid(9).to_string()],
        ..v1::RoutingDelta::default()
    };
    assert_eq!(change(&mut table, gone), []);
    assert_eq!((table.refused_records(), table.digest()), (0, self::table().digest()));
}

#[test]
fn a_bad_record_cannot_hold_a_tenant_where_it_is_served_no_longer_nor_keep_revoked_tokens_good() {
    let mut table = table();
    let mut bad = message(ACME, "acme");
    limits(&mut bad).requests_per_day = 0;
    (bad.node_id, bad.epoch, bad.token_generation) = ("node-2".to_owned(), 2, 7);
    assert_eq!(change(&mut table, of_tenants(2, vec![bad.clone()])).len(), 1);
    let kept = table.tenant(uid(ACME)).unwrap();
    let placement = kept.placement.clone().unwrap();
    assert_eq!((placement.node.as_str(), placement.epoch), ("node-2", Epoch(2)));
    assert_eq!(kept.token_generation, TokenGeneration(7));
    assert_eq!(kept.quota, route(ACME, "acme", "node-1").quota);
    // Served by somebody who cannot be told: then by nobody, as far as this node knows.
    (bad.node_id, bad.epoch) = ("No Node".to_owned(), 3);
    change(&mut table, of_tenants(3, vec![bad]));
    assert_eq!(table.tenant(uid(ACME)).unwrap().placement, None);
}

#[test]
fn what_is_kept_of_a_refused_record_takes_no_name_or_domain_from_a_good_one() {
    let mut table = table();
    let mut bad = message(ACME, "acme");
    limits(&mut bad).requests_per_day = 0;
    // Another tenant has both now: the removal of the first was missed, as by a whole table.
    let heir = message(3, "acme");
    let all = of_tenants(2, vec![bad, heir, message(OTHER, "other")]);
    (table, _) = replace(&table, (ClusterUid::from_u128(1), ClusterEpoch(1)), all);
    assert_eq!(table.by_name(&"acme".parse().unwrap()).unwrap().uid, uid(3));
    let domain = DomainName::new("db.acme.example").unwrap();
    assert_eq!(table.by_domain(&domain).unwrap().uid, uid(3));
}

#[test]
fn a_bad_node_key_or_tier_keeps_its_last_good_one_and_the_others_are_applied() {
    let node = |id: &str, address: &str| v1::NodeRoute {
        node_id: id.to_owned(),
        peer_address: address.to_owned(),
    };
    let key = |id: &str, byte, length| v1::TokenKey {
        key_id: id.to_owned(),
        public_key: vec![byte; length].into(),
    };
    let tiers = |change: fn(&mut v1::TierDefinition)| {
        let mut tiers: Vec<_> = TierDefinition::defaults()
            .iter()
            .map(v1::TierDefinition::from)
            .collect();
        change(&mut tiers[1]);
        tiers[2].weight = 55;
        tiers
    };
    let delta = |revision, nodes, token_keys, tiers| v1::RoutingDelta {
        revision,
        nodes,
        token_keys,
        tiers,
        ..v1::RoutingDelta::default()
    };
    let mut table = table();
    let nodes = vec![node("n1", "127.0.0.1:1"), node("n2", "127.0.0.1:2")];
    let keys = vec![key("k1", 1, 32), key("k2", 2, 32)];
    assert_eq!(
        change(&mut table, delta(2, nodes, keys, tiers(|tier| tier.weight = 44))),
        []
    );

    let nodes = vec![node("n1", "nowhere"), node("n2", "127.0.0.1:3")];
    let keys = vec![key("k1", 9, 31), key("k3", 3, 32)];
    let refused = change(&mut table, delta(3, nodes, keys, tiers(|tier| tier.weight = 0)));
    let kinds: Vec<_> = refused.iter().map(|error| error.kind).collect();
    assert_eq!(kinds, ["node", "token key", "tier"]);
    assert_eq!(table.refused_records(), 3);
    let address = |id: &str| table.node(&NodeId::new(id).unwrap()).unwrap().peer_address.clone();
    assert_eq!(
        (address("n1"), address("n2")),
        ("127.0.0.1:1".to_owned(), "127.0.0.1:3".to_owned())
    );
    let keys: Vec<_> = table
        .token_keys()
        .iter()
        .map(|key| (key.id.as_str(), key.public_key[0]))
        .collect();
    assert_eq!(keys, [("k1", 1), ("k3", 3)]);
    assert_eq!((table.weight(Tier::Small), table.weight(Tier::Medium)), (44, 55));
}

#[test]
fn the_same_config_sent_again_changes_nothing() {
    let mut table = table();
    let before = table.clone();
    let again = of_tenants(2, vec![message(ACME, "acme"), message(OTHER, "other")]);
    assert_eq!(change(&mut table, again), []);
    assert_eq!((table.digest(), table.revision), (before.digest(), Revision(2)));
    for number in [ACME, OTHER] {
        let (now, then) = (table.tenant(uid(number)), before.tenant(uid(number)));
        assert!(
            Arc::ptr_eq(now.unwrap(), then.unwrap()),
            "not even the route is another one"
        );
    }
}

proptest! {
    /// Good and bad records and removals in any order: the digest is that over what was sent last of each, so that the
    /// control plane's is the same, and a whole table at any point has the same one, too.
    #[test]
    fn the_digest_is_the_control_planes_whatever_was_refused(
        steps in proptest::collection::vec((1_u128..5, 0_usize..16, any::<bool>()), 1..40),
    ) {
        let damages = damages();
        let mut sent = std::collections::BTreeMap::<u128, v1::TenantRoute>::new();
        let mut table = RoutingTable::default();
        let tiers = table.digest();
        for (revision, (number, damage, remove)) in (1..).zip(steps) {
            let mut delta = of_tenants(revision, Vec::new());
            if remove {
                sent.remove(&number);
                delta.removed_tenant_uids.push(uid(number).to_string());
            } else {
                let mut record = message(number, &format!("t{number}"));
                limits(&mut record).requests_per_day = revision;
                if let Some((_, damage)) = damages.get(damage) {
                    damage(&mut record);
                }
                sent.insert(number, record.clone());
                delta.tenants.push(record);
            }
            change(&mut table, delta);
            let expected = sent.values().fold(tiers, |all, record| all ^ digest::tenant_route(record));
            prop_assert_eq!(table.digest(), expected);
            let whole = of_tenants(revision, sent.values().cloned().collect());
            let (replaced, _) = replace(&table, (ClusterUid::from_u128(1), ClusterEpoch(1)), whole);
            prop_assert_eq!(replaced.digest(), expected);
            prop_assert_eq!(replaced.refused_records(), table.refused_records());
        }
    }
}
