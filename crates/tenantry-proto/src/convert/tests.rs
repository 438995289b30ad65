//! Domain values read back from their messages, and a wrong field is named by its path.
//!
//! Random tenants, nodes and events make the same trip in the control plane's codec, which has a source of them.

use tenantry_types::{
    Burst, EffectiveQuota, Epoch, GrowthRate, HotspotScore, NodeId, NodeRoute, NodeSpec, Placement, ReportedEvent,
    Tenant, TenantRoute, TenantSpec, TenantUid, TenantUsage, Tier, TierDefinition, TierPolicy, TokenKey, UnixMillis,
    UsageOrder,
};

use super::{InvalidField, tenant_to_proto};
use crate::v1;

fn quota() -> EffectiveQuota {
    EffectiveQuota {
        burst: Some(Burst {
            requests_per_second: 3,
            size: 4,
        }),
        ..TierDefinition::defaults()[1].quota
    }
}

fn placement() -> Placement {
    Placement {
        node: NodeId::new("n1").unwrap(),
        epoch: Epoch(3),
    }
}

fn tenant_message() -> v1::Tenant {
    v1::Tenant {
        name: "tenants/acme".to_owned(),
        uid: TenantUid::from_u128(1).to_string(),
        spec: Some(v1::TenantSpec {
            domains: vec!["db.acme.example".to_owned()],
            ..Default::default()
        }),
        status: Some(v1::TenantStatus {
            state: v1::TenantState::Deleted.into(),
            placement: Some((&placement()).into()),
            observed_class: v1::Tier::Large.into(),
            effective_quota: None,
            token_generation: 6,
        }),
        etag: "12".to_owned(),
        create_time: Some(super::timestamp(UnixMillis(1))),
        update_time: Some(super::timestamp(UnixMillis(2))),
        delete_time: Some(super::timestamp(UnixMillis(3))),
        purge_time: Some(super::timestamp(UnixMillis(4))),
    }
}

fn node_spec_message() -> v1::NodeSpec {
    v1::NodeSpec {
        data_address: "127.0.0.1:8401".to_owned(),
        peer_address: "[::1]:8421".to_owned(),
        ops_address: "node-1.internal:8411".to_owned(),
        max_tenants: 10,
        ..Default::default()
    }
}

#[test]
fn usage_reads_back() {
    let usage = TenantUsage {
        tenant: TenantUid::from_u128(1),
        epoch: Epoch(2),
        measured_at: UnixMillis(3),
        quota: quota(),
        requests_last_day: 4,
        concurrent_requests: 5,
        database_bytes: 6,
        wal_bytes: 7,
        free_bytes: 8,
        growth: GrowthRate::BytesPerHour(-9.5),
        requests_last_minute: 15,
        errors_last_minute: 16,
        peak_requests_per_minute: 10,
        average_response_micros: Some(1_234_567),
        error_ratio: Some(0.25),
        cpu_millicores: 11,
        memory_bytes: 12,
        rows_read: 13,
        rows_written: 14,
        observed_class: Tier::Medium,
        hotspot: HotspotScore::clamped(0.5),
    };
    let idle = TenantUsage {
        growth: GrowthRate::NotEnoughData,
        average_response_micros: None,
        error_ratio: None,
        ..usage
    };
    for usage in [usage, idle] {
        assert_eq!(TenantUsage::try_from(v1::TenantUsage::from(&usage)), Ok(usage));
    }
}

#[test]
fn an_order_of_usage_is_that_of_requests_unless_it_is_given_and_an_unknown_one_is_refused() {
    let read = |number| super::usage_order_from_wire("order", number);
    assert_eq!(read(0), Ok(UsageOrder::Requests));
    assert_eq!(read(v1::TenantUsageOrder::Errors.into()), Ok(UsageOrder::Errors));
    assert_eq!(read(99).unwrap_err().field, "order");
}

#[test]
fn routes_and_keys_read_back() {
    let route = TenantRoute {
        uid: TenantUid::from_u128(1),
        name: "acme".parse().unwrap(),
        domains: vec![tenantry_types::DomainName::new("db.acme.example").unwrap()],
        placement: Some(placement()),
        tier: Tier::Large,
        quota: quota(),
        durability: tenantry_types::Durability::Replicated,
        token_generation: tenantry_types::TokenGeneration(7),
    };
    let unplaced = TenantRoute {
        placement: None,
        ..route.clone()
    };
    for route in [route, unplaced] {
        assert_eq!(TenantRoute::try_from(v1::TenantRoute::from(&route)), Ok(route));
    }
    let node = NodeRoute {
        id: NodeId::new("n1").unwrap(),
        peer_address: "127.0.0.1:8421".to_owned(),
    };
    assert_eq!(NodeRoute::try_from(v1::NodeRoute::from(&node)), Ok(node));
    let key = TokenKey {
        id: "k1".to_owned(),
        public_key: [7; 32],
    };
    assert_eq!(TokenKey::try_from(v1::TokenKey::from(&key)), Ok(key));
}

#[test]
fn a_tenant_shows_the_limits_of_its_tier_with_its_own_on_top() {
    let mut message = tenant_message();
    message.spec.as_mut().unwrap().quota = Some(v1::QuotaOverrides {
        requests_per_day: Some(7),
        ..Default::default()
    });
    let tenant = Tenant::try_from(message.clone()).unwrap();
    let tier = &TierDefinition::defaults()[1];
    let shown = tenant_to_proto(&tenant, tier);
    let limits = shown.status.as_ref().unwrap().effective_quota.unwrap();
    assert_eq!(
        (limits.requests_per_day, limits.database_bytes),
        (7, tier.quota.database_bytes)
    );
    assert_eq!(Tenant::try_from(shown), Ok(tenant));
}

#[test]
fn what_a_spec_does_not_say_has_a_documented_default() {
    let spec = TenantSpec::try_from(v1::TenantSpec::default()).unwrap();
    assert_eq!((spec.tier, spec.tier_policy), (Tier::Small, TierPolicy::Pinned));
    assert_eq!(spec.durability, tenantry_types::Durability::Local);
    let automatic = v1::TenantSpec {
        tier_mode: v1::TierMode::Auto.into(),
        ..Default::default()
    };
    let spec = TenantSpec::try_from(automatic).unwrap();
    assert_eq!(
        spec.tier_policy,
        TierPolicy::Auto {
            max_tier: Tier::Enterprise
        }
    );
}

#[test]
fn a_wrong_field_of_a_tenant_is_named_by_its_path() {
    type Break = fn(&mut v1::Tenant);
    fn spec(tenant: &mut v1::Tenant) -> &mut v1::TenantSpec {
        tenant.spec.as_mut().unwrap()
    }
    fn status(tenant: &mut v1::Tenant) -> &mut v1::TenantStatus {
        tenant.status.as_mut().unwrap()
    }
    fn limits(tenant: &mut v1::Tenant) -> &mut v1::QuotaOverrides {
        spec(tenant).quota.get_or_insert_default()
    }
    let cases: [(Break, &str); 22] = [
        (|tenant| tenant.name = "acme".to_owned(), "name"),
        (|tenant| tenant.uid.clear(), "uid"),
        (|tenant| tenant.spec = None, "spec"),
        (|tenant| spec(tenant).tier = 99, "spec.tier"),
        (|tenant| spec(tenant).tier_mode = 99, "spec.tier_mode"),
        (|tenant| spec(tenant).max_tier = 1, "spec.max_tier"),
        (
            |tenant| limits(tenant).requests_per_day = Some(0),
            "spec.quota.requests_per_day",
        ),
        (
            |tenant| limits(tenant).burst = Some(v1::Burst::default()),
            "spec.quota.burst",
        ),
        (|tenant| spec(tenant).durability = 99, "spec.durability"),
        (
            |tenant| drop(spec(tenant).labels.insert(String::new(), String::new())),
            "spec.labels",
        ),
        (
            |tenant| spec(tenant).domains.push("localhost".to_owned()),
            "spec.domains[1]",
        ),
        (
            |tenant| spec(tenant).domains.push("db.acme.example".to_owned()),
            "spec.domains[1]",
        ),
        (
            |tenant| spec(tenant).domains = (0..33).map(|number| format!("d{number}.example")).collect(),
            "spec.domains",
        ),
        (|tenant| tenant.status = None, "status"),
        (|tenant| status(tenant).state = 0, "status.state"),
        (|tenant| status(tenant).observed_class = 99, "status.observed_class"),
        (
            |tenant| status(tenant).placement.as_mut().unwrap().epoch = 0,
            "status.placement.epoch",
        ),
        (
            |tenant| status(tenant).placement.as_mut().unwrap().node.clear(),
            "status.placement.node",
        ),
        (|tenant| tenant.etag = "W/12".to_owned(), "etag"),
        (|tenant| tenant.create_time = None, "create_time"),
        (|tenant| tenant.update_time.as_mut().unwrap().nanos = -1, "update_time"),
        (|tenant| tenant.purge_time = None, "purge_time"),
    ];
    assert!(Tenant::try_from(tenant_message()).is_ok());
    for (break_field, path) in cases {
        let mut tenant = tenant_message();
        break_field(&mut tenant);
        assert_eq!(Tenant::try_from(tenant).unwrap_err().field, path);
    }
}

#[test]
fn a_wrong_field_of_a_node_is_named() {
    type Break = fn(&mut v1::NodeSpec);
    let cases: [(Break, &str); 8] = [
        (|spec| spec.data_address.clear(), "data_address"),
        (|spec| spec.peer_address = "127.0.0.1".to_owned(), "peer_address"),
        (|spec| spec.peer_address = "127.0.0.1:0".to_owned(), "peer_address"),
        (|spec| spec.ops_address = ":8411".to_owned(), "ops_address"),
        (|spec| spec.ops_address = "http://node:8411".to_owned(), "ops_address"),
        (|spec| spec.max_tenants = 0, "max_tenants"),
        (|spec| spec.zone = "z".repeat(64), "zone"),
        (|spec| drop(spec.labels.insert("k".repeat(64), String::new())), "labels"),
    ];
    assert!(NodeSpec::try_from(node_spec_message()).is_ok());
    for (break_field, path) in cases {
        let mut spec = node_spec_message();
        break_field(&mut spec);
        assert_eq!(NodeSpec::try_from(spec).unwrap_err().field, path);
    }
}

#[test]
fn figures_that_are_no_numbers_are_refused() {
    let raised = |score, cpu| v1::ReportedEvent {
        sequence: 1,
        occur_time: Some(super::timestamp(UnixMillis(1))),
        tenant_uid: String::new(),
        epoch: 0,
        detail: Some(v1::EventDetail {
            kind: Some(v1::event_detail::Kind::HotspotRaised(v1::HotspotRaised {
                score,
                terms: Some(v1::ScoreTerms {
                    cpu,
                    ..Default::default()
                }),
            })),
        }),
    };
    let read = |score, cpu| ReportedEvent::try_from(raised(score, cpu)).map_err(|InvalidField { field, .. }| field);
    assert!(read(0.9, 1.0).is_ok());
    for bad in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
        assert_eq!(read(bad, 0.0), Err("detail.hotspot_raised.score".to_owned()));
        assert_eq!(read(0.9, bad), Err("detail.hotspot_raised.terms.cpu".to_owned()));
    }
}
