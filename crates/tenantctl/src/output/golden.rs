//! The whole output for fixed messages, against the files in `golden/`. `TENANTRY_GOLDEN=write cargo test -p tenantctl`
//! rewrites them; read the difference before you keep it.

use std::path::Path;

use serde::Serialize;
use tenantry_proto::v1::{self, event_detail::Kind, event_origin::Origin};

use super::explained_quota::ExplainedQuota;
use super::top::Round;
use super::{json, table};

fn check(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/output/golden")
        .join(file);
    if std::env::var_os("TENANTRY_GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(actual, expected, "{file}");
}

fn check_json(file: &str, value: &impl Serialize) {
    check(file, &(serde_json::to_string_pretty(value).unwrap() + "\n"));
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn quota() -> v1::Quota {
    v1::Quota {
        database_bytes: 1 << 20,
        requests_per_day: 10_000,
        burst: Some(v1::Burst {
            requests_per_second: 5,
            size: 10,
        }),
        concurrent_requests: 20,
        query_time_ms: 5_000,
        memory_bytes: 200 << 20,
        cpu_millicores: 100,
        result_bytes: 64 << 20,
        request_bytes: 16 << 20,
    }
}

fn acme() -> v1::Tenant {
    v1::Tenant {
        name: "tenants/acme".into(),
        uid: "0123456789abcdef0123456789abcdef".into(),
        spec: Some(v1::TenantSpec {
            tier: v1::Tier::Small.into(),
            tier_mode: v1::TierMode::Auto.into(),
            max_tier: v1::Tier::Large.into(),
            quota: Some(v1::QuotaOverrides {
                database_bytes: Some(1 << 20),
                ..Default::default()
            }),
            durability: v1::Durability::Local.into(),
            labels: [("team".to_owned(), "blue".to_owned())].into(),
            domains: vec!["db.acme.example".into()],
        }),
        status: Some(v1::TenantStatus {
            state: v1::TenantState::Active.into(),
            placement: Some(v1::Placement {
                node: "nodes/node-1".into(),
                epoch: 3,
            }),
            observed_class: v1::Tier::Micro.into(),
            effective_quota: Some(quota()),
            token_generation: 4,
        }),
        etag: "42".into(),
        create_time: at(1_700_000_000),
        update_time: at(1_700_000_060),
        delete_time: None,
        purge_time: None,
    }
}

/// Deleted, never placed, of a tier that this program does not know, and with a name that would colour a terminal.
fn odd() -> v1::Tenant {
    v1::Tenant {
        name: "tenants/odd\u{1b}[31m".into(),
        uid: "f".repeat(32),
        spec: Some(v1::TenantSpec {
            tier: 99,
            ..Default::default()
        }),
        status: Some(v1::TenantStatus {
            state: v1::TenantState::Deleted.into(),
            ..Default::default()
        }),
        delete_time: at(1_700_000_100),
        purge_time: at(1_700_086_500),
        ..Default::default()
    }
}

fn usage(full: bool) -> v1::GetTenantUsageResponse {
    let later = |value| full.then_some(value);
    v1::GetTenantUsageResponse {
        usage: Some(v1::TenantUsage {
            tenant_uid: "0123456789abcdef0123456789abcdef".into(),
            epoch: 3,
            measure_time: at(1_700_000_200),
            quota: Some(quota()),
            requests_last_day: 1_234,
            concurrent_requests: 3,
            database_bytes: 786_432,
            wal_bytes: 32_768,
            free_bytes: 4_096,
            growth_bytes_per_hour: later(-1_536.0),
            requests_last_minute: 31,
            errors_last_minute: 2,
            peak_requests_per_minute: 77,
            average_response_seconds: later(0.0021),
            error_ratio: later(0.015),
            cpu_millicores: 12,
            memory_bytes: 3 << 20,
            rows_read: 1_000_000,
            rows_written: 5,
            observed_class: v1::Tier::Small.into(),
            hotspot_score: 0.42,
        }),
        node: "nodes/node-1".into(),
    }
}

fn node() -> v1::Node {
    v1::Node {
        name: "nodes/node-1".into(),
        spec: Some(v1::NodeSpec {
            data_address: "127.0.0.1:8401".into(),
            peer_address: "127.0.0.1:8421".into(),
            ops_address: "127.0.0.1:8411".into(),
            max_tenants: 1_000,
            disk_bytes: 10 << 30,
            zone: "a".into(),
            labels: Default::default(),
        }),
        scheduling: v1::NodeScheduling::Cordoned.into(),
        incarnation: 1_700_000_000_000,
        etag: "7".into(),
        register_time: at(1_700_000_000),
        availability: v1::NodeAvailability::Up.into(),
        load: Some(v1::NodeLoad {
            open_tenants: 12,
            requests_per_minute: 3_400,
            cpu_millicores: 250,
            disk_used_bytes: 1 << 30,
            disk_free_bytes: 9 << 30,
        }),
        placed_tenants: 57,
    }
}

fn cluster() -> v1::GetClusterStatusResponse {
    let member = |member_id, role: v1::MemberRole| v1::MemberStatus {
        member_id,
        address: format!("127.0.0.1:740{member_id}"),
        role: role.into(),
        term: 4,
        commit_index: 120,
        applied_index: 119,
        first_log_index: 90,
        last_log_index: 121,
        snapshot_index: 89,
        state_digest: 0xdead_beef,
        storage_error: String::new(),
    };
    v1::GetClusterStatusResponse {
        cluster_uid: "00000000000000000000000000000007".into(),
        cluster_epoch: 2,
        leader_id: 2,
        members: vec![
            member(1, v1::MemberRole::Follower),
            member(2, v1::MemberRole::Leader),
            member(3, v1::MemberRole::Unspecified),
        ],
        answered_by: 1,
        tenants: 1_500,
        nodes: 2,
    }
}

fn events() -> Vec<v1::Event> {
    let terms = Some(v1::ScoreTerms {
        database: 1.0,
        requests: 0.5,
        cpu: 0.75,
        memory: 0.1,
    });
    let spike = v1::SpikeFigures {
        requests_per_minute: 1_200,
        norm_per_minute: 99.7,
    };
    let node_share = v1::NodeShare {
        cpu_millicores: 1_900,
        node_millicores: 2_000,
    };
    let (node, webhook) = (|| "nodes/node-1".to_owned(), || "webhooks/pager".to_owned());
    let (small, medium) = (v1::Tier::Small.into(), v1::Tier::Medium.into());
    let kinds = [
        (
            "hotspot-raised",
            Kind::HotspotRaised(v1::HotspotRaised { score: 0.81, terms }),
        ),
        (
            "hotspot-cleared",
            Kind::HotspotCleared(v1::HotspotCleared {
                score: 0.3,
                terms,
                end: 0,
            }),
        ),
        (
            "hotspot-cleared",
            Kind::HotspotCleared(v1::HotspotCleared {
                score: 0.0,
                terms: None,
                end: v1::ConditionEnd::TenantDeleted.into(),
            }),
        ),
        (
            "spike-raised",
            Kind::SpikeRaised(v1::SpikeRaised { figures: Some(spike) }),
        ),
        (
            "spike-cleared",
            Kind::SpikeCleared(v1::SpikeCleared {
                figures: Some(spike),
                end: 0,
            }),
        ),
        (
            "node-exceeded-raised",
            Kind::NodeExceededRaised(v1::NodeExceededRaised {
                figures: Some(node_share),
            }),
        ),
        (
            "node-exceeded-cleared",
            Kind::NodeExceededCleared(v1::NodeExceededCleared {
                figures: None,
                end: v1::ConditionEnd::RecordLost.into(),
            }),
        ),
        (
            "class-changed",
            Kind::ClassChanged(v1::ClassChanged {
                from: small,
                to: medium,
                database_bytes: 200 << 20,
                requests_last_day: 12_000,
            }),
        ),
        (
            "tier-changed",
            Kind::TierChanged(v1::TierChanged {
                from: small,
                to: medium,
            }),
        ),
        (
            "quota-crossed",
            Kind::QuotaCrossed(v1::QuotaCrossed {
                quota: v1::QuotaKind::Database.into(),
                percent: 95,
                used: 1_000_000,
                limit: 1 << 20,
            }),
        ),
        (
            "node-registered",
            Kind::NodeRegistered(v1::NodeRegistered { incarnation: 9 }),
        ),
        (
            "events-dropped",
            Kind::EventsDropped(v1::EventsDropped { count: 1_234 }),
        ),
        (
            "tokens-revoked",
            Kind::TokensRevoked(v1::TokensRevoked { generation: 3 }),
        ),
        (
            "token-key-added",
            Kind::TokenKeyAdded(v1::TokenKeyAdded {
                key_id: "k2".into(),
                sign_time: at(1_700_000_060),
            }),
        ),
        (
            "token-key-retired",
            Kind::TokenKeyRetired(v1::TokenKeyRetired { key_id: "k1".into() }),
        ),
        (
            "move-proposed",
            Kind::MoveProposed(v1::MoveProposed {
                node: node(),
                hot_tenant_uid: String::new(),
            }),
        ),
        (
            "move-proposed",
            Kind::MoveProposed(v1::MoveProposed {
                node: node(),
                hot_tenant_uid: "0".repeat(31) + "7",
            }),
        ),
        (
            "move-withdrawn",
            Kind::MoveWithdrawn(v1::MoveWithdrawn { node: node() }),
        ),
        (
            "dedicated-node-wanted",
            Kind::DedicatedNodeWanted(v1::DedicatedNodeWanted {
                node: node(),
                neighbours: 12,
            }),
        ),
        (
            "node-down",
            Kind::NodeAvailabilityChanged(v1::NodeAvailabilityChanged {
                node: node(),
                from: v1::NodeAvailability::Suspect.into(),
                to: v1::NodeAvailability::Down.into(),
            }),
        ),
        (
            "node-cordoned",
            Kind::NodeSchedulingChanged(v1::NodeSchedulingChanged {
                node: node(),
                scheduling: v1::NodeScheduling::Cordoned.into(),
            }),
        ),
        (
            "config-refused",
            Kind::ConfigRefused(v1::ConfigRefused {
                records: 2,
                example: "tenants/acme: no uid".into(),
            }),
        ),
        ("config-accepted", Kind::ConfigAccepted(v1::ConfigAccepted {})),
        (
            "leader-changed",
            Kind::LeaderChanged(v1::LeaderChanged {
                from_member_id: 0,
                to_member_id: 1,
                term: 2,
            }),
        ),
        (
            "leader-changed",
            Kind::LeaderChanged(v1::LeaderChanged {
                from_member_id: 1,
                to_member_id: 3,
                term: 4,
            }),
        ),
        (
            "member-changed",
            Kind::MemberChanged(v1::MemberChanged {
                member_id: 4,
                from: v1::MemberKind::Unspecified.into(),
                to: v1::MemberKind::Learner.into(),
            }),
        ),
        (
            "member-removed",
            Kind::MemberRemoved(v1::MemberRemoved { member_id: 4 }),
        ),
        (
            "cluster-restored",
            Kind::ClusterRestored(v1::ClusterRestored { cluster_epoch: 2 }),
        ),
        (
            "webhook-failing",
            Kind::WebhookFailing(v1::WebhookFailing {
                webhook: webhook(),
                failure: "no answer within 15s".into(),
            }),
        ),
        (
            "webhook-recovered",
            Kind::WebhookRecovered(v1::WebhookRecovered { webhook: webhook() }),
        ),
        (
            "webhook-disabled",
            Kind::WebhookDisabled(v1::WebhookDisabled {
                webhook: webhook(),
                by: v1::WebhookDisabledBy::Receiver.into(),
            }),
        ),
        (
            "webhook-gave-up",
            Kind::WebhookGaveUp(v1::WebhookGaveUp {
                webhook: webhook(),
                first_sequence: 3,
                last_sequence: 9,
            }),
        ),
    ];
    let by_nodes = [
        "hotspot",
        "spike",
        "node-exceeded",
        "class",
        "quota",
        "node-registered",
        "events-dropped",
        "config",
    ];
    let of_control_plane = |kind: &str| !by_nodes.iter().any(|begin| kind.starts_with(begin));
    let tenants = [
        "hotspot",
        "spike",
        "node-exceeded",
        "class",
        "tier",
        "quota",
        "tokens",
        "move",
        "dedicated",
    ];
    let about_no_tenant = |kind: &str| !tenants.iter().any(|begin| kind.starts_with(begin));
    let event = |(index, (kind, detail)): (u64, (&str, Kind))| v1::Event {
        sequence: index + 1,
        occur_time: at(1_700_000_000),
        severity: v1::EventSeverity::Warning.into(),
        origin: Some(v1::EventOrigin {
            origin: Some(if of_control_plane(kind) {
                Origin::ControlPlane(v1::ControlPlaneOrigin { member_id: 2 })
            } else {
                Origin::Node(v1::NodeOrigin {
                    node: "nodes/node-1".into(),
                    incarnation: 9,
                    sequence: 5,
                })
            }),
        }),
        tenant: if about_no_tenant(kind) {
            String::new()
        } else {
            "tenants/acme".into()
        },
        tenant_uid: String::new(),
        kind: kind.into(),
        detail: Some(v1::EventDetail { kind: Some(detail) }),
    };
    (0_u64..).zip(kinds).map(event).collect()
}

#[test]
fn tenants_print_as_agreed() {
    check("tenant.txt", &table::tenant(&acme()));
    check("tenants.txt", &table::tenants(&[acme(), odd()], true));
    let rows = [json::Tenant::from(&acme()), json::Tenant::from(&odd())];
    check_json("tenants.json", &rows);
}

#[test]
fn token_keys_and_a_revocation_print_as_agreed() {
    let key = |key_id: &str, phase: v1::TokenKeyPhase, sign_time, retire_time| v1::TokenKeyInfo {
        key_id: key_id.into(),
        phase: phase.into(),
        sign_time,
        retire_time,
    };
    let keys = [
        key("k1", v1::TokenKeyPhase::Superseded, None, at(1_731_700_000)),
        key("k2", v1::TokenKeyPhase::Signing, at(1_700_000_000), None),
        key("k3", v1::TokenKeyPhase::Waiting, at(1_700_000_060), None),
    ];
    check("token_keys.txt", &table::token_keys(&keys));
    check_json("token_keys.json", &keys.each_ref().map(json::TokenKey::from));
    assert_eq!(
        table::revoked(&acme()),
        "all tokens of acme before generation 4 are revoked"
    );
}

#[test]
fn usage_prints_as_agreed_with_and_without_enough_data() {
    check("usage.txt", &table::usage(&usage(true)));
    check("usage_early.txt", &table::usage(&usage(false)));
    check_json("usage.json", &json::Usage::from(&usage(true)));
    let none = v1::GetTenantUsageResponse {
        usage: None,
        node: "nodes/node-1".into(),
    };
    assert_eq!(
        table::usage(&none),
        "not enough data yet: node-1 has not reported the tenant"
    );
    check_json("usage_none.json", &json::Usage::from(&none));
}

#[test]
fn the_busiest_tenants_print_as_agreed() {
    let ranked = |name: &str, node: &str, full: bool| v1::RankedTenant {
        name: format!("tenants/{name}"),
        node: format!("nodes/{node}"),
        usage: usage(full).usage,
    };
    let answer = v1::ListTenantUsageResponse {
        tenants: vec![
            ranked("acme", "node-1", true),
            ranked("idle-until-now", "node-2", false),
        ],
        measured_tenants: 1_234,
    };
    let now = jiff::Timestamp::new(1_700_000_300, 400_000_000).unwrap();
    let round = Round::new(now, v1::TenantUsageOrder::DatabaseBytes, &answer);
    check("top.txt", &round.to_string());
    check("top.jsonl", &(serde_json::to_string(&round).unwrap() + "\n"));
}

/// Own rate and daily limit, an edited tier, and a node that is behind by one change.
fn explained_quota(reported: bool) -> v1::ExplainTenantQuotaResponse {
    let (tier, tenant) = (v1::LimitOrigin::Tier.into(), v1::LimitOrigin::Tenant.into());
    let of_tier = |value| {
        Some(v1::ExplainedLimit {
            in_force: value,
            origin: tier,
            of_tier: value,
            built_in: value,
        })
    };
    let reported = reported.then(|| usage(true));
    v1::ExplainTenantQuotaResponse {
        name: "tenants/acme".into(),
        uid: "0123456789abcdef0123456789abcdef".into(),
        tier: v1::Tier::Small.into(),
        quota: Some(v1::ExplainedQuota {
            database_bytes: of_tier(1 << 20),
            requests_per_day: Some(v1::ExplainedLimit {
                in_force: 2_000,
                origin: tenant,
                of_tier: 10_000,
                built_in: 10_000,
            }),
            burst: Some(v1::ExplainedBurst {
                in_force: quota().burst,
                origin: tenant,
                of_tier: None,
                built_in: None,
            }),
            concurrent_requests: Some(v1::ExplainedLimit {
                in_force: 40,
                origin: tier,
                of_tier: 40,
                built_in: 20,
            }),
            query_time_ms: of_tier(5_000),
            memory_bytes: of_tier(200 << 20),
            cpu_millicores: of_tier(100),
            result_bytes: of_tier(64 << 20),
            request_bytes: of_tier(16 << 20),
        }),
        weight: of_tier(2),
        node: reported.as_ref().map_or_else(String::new, |usage| usage.node.clone()),
        usage: reported.and_then(|usage| usage.usage),
        revision: 42,
    }
}

#[test]
fn an_explained_quota_prints_as_agreed_with_and_without_use() {
    let explained = ExplainedQuota::new(&explained_quota(true)).unwrap();
    check("explained_quota.txt", &explained.to_string());
    check_json("explained_quota.json", &explained);
    let unplaced = ExplainedQuota::new(&explained_quota(false)).unwrap();
    check("explained_quota_early.txt", &unplaced.to_string());
    let mut incomplete = explained_quota(true);
    incomplete.quota.as_mut().unwrap().memory_bytes = None;
    assert!(ExplainedQuota::new(&incomplete).is_none());
}

#[test]
fn tiers_and_nodes_print_as_agreed() {
    let tier = v1::TierDefinition {
        tier: v1::Tier::Small.into(),
        quota: Some(quota()),
        weight: 2,
        observed_above_bytes: 10 << 20,
        observed_above_requests: 1_000,
    };
    check("tiers.txt", &table::tiers(&[tier]));
    check_json("tiers.json", &[json::Tier::from(&tier)]);
    let silent = v1::Node {
        name: "nodes/node-2".into(),
        availability: v1::NodeAvailability::Unknown.into(),
        ..Default::default()
    };
    check("nodes.txt", &table::nodes(&[node(), silent.clone()]));
    check("node.txt", &table::node(&node()));
    check_json("nodes.json", &[json::Node::from(&node()), json::Node::from(&silent)]);
}

#[test]
fn the_cluster_prints_as_agreed() {
    check("cluster.txt", &table::cluster(&cluster()));
    check_json("cluster.json", &json::ClusterStatus::from(&cluster()));
}

#[test]
fn the_members_print_as_agreed() {
    let member = |member_id, kind: v1::MemberKind, active| v1::Member {
        member_id,
        address: format!("127.0.0.1:740{member_id}"),
        kind: kind.into(),
        matched_index: 120,
        active,
    };
    let list = v1::ListMembersResponse {
        members: vec![
            member(1, v1::MemberKind::Voter, true),
            member(3, v1::MemberKind::Voter, false),
            member(4, v1::MemberKind::Learner, true),
        ],
        leader_id: 1,
        removed_ids: vec![2],
        join_token: "0123456789abcdef".into(),
    };
    check("members.txt", &table::members(&list));
    check_json("members.json", &json::MemberList::from(&list));
}

#[test]
fn an_explanation_prints_as_agreed() {
    let candidate = |node: &str, rejection: &str, load| v1::PlacementCandidate {
        node: node.into(),
        rejection: rejection.into(),
        load,
    };
    let answer = v1::ExplainPlacementResponse {
        node: "nodes/node-1".into(),
        candidates: vec![
            candidate("nodes/node-1", "", 0.25),
            candidate("nodes/node-2", "", 0.5),
            candidate("nodes/node-3", "cordoned", 0.0),
        ],
    };
    check("explanation.txt", &table::explanation(&answer));
    check_json("explanation.json", &json::Explanation::from(&answer));
}

#[test]
fn every_kind_of_event_prints_as_agreed() {
    let events = events();
    check(
        "events.txt",
        &events
            .iter()
            .map(|event| super::events::event_line(event) + "\n")
            .collect::<String>(),
    );
    let line = |value: super::events::EventLine| serde_json::to_string(&value).unwrap() + "\n";
    let mut lines: String = events
        .iter()
        .map(|event| line(super::events::EventLine::event(event)))
        .collect();
    lines += &line(super::events::EventLine::gap(20));
    check("events.jsonl", &lines);
}

/// Rows of the table of kinds: kind, severity, fields of its detail.
fn documented_kinds() -> Vec<(String, String, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let text = std::fs::read_to_string(page).unwrap();
    let table = text.split("\n## Kinds").nth(1).unwrap().split("\n## ").next().unwrap();
    let words = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        (words(cells[1]).concat(), cells[2].to_owned(), words(cells[4]))
    })
    .collect()
}

#[test]
fn the_page_of_events_lists_every_kind_with_its_fields() {
    let documented = documented_kinds();
    let kinds: Vec<_> = documented.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, tenantry_types::EventDetail::KINDS);
    for event in events() {
        let (_, _, fields) = documented.iter().find(|(kind, ..)| *kind == event.kind).unwrap();
        let json = tenantry_proto::event_json::event(&event);
        let detail = json["detail"].as_object().unwrap();
        let mut printed: Vec<_> = detail.keys().cloned().collect();
        let mut fields = fields.clone();
        fields.sort();
        printed.sort();
        assert_eq!(printed, fields, "{}", event.kind);
        let parsed = tenantry_types::EventDetail::try_from(event.detail.unwrap()).unwrap();
        assert_eq!(parsed.kind(), event.kind);
        let (_, severity, _) = documented.iter().find(|(kind, ..)| *kind == event.kind).unwrap();
        let stated = format!("{:?}", parsed.severity()).to_lowercase();
        assert!(severity.contains(&stated), "{}: {severity}, not {stated}", event.kind);
    }
}
