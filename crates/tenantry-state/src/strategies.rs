//! Random commands and states for tests, here and in other crates. Drawn from small sets, so that commands meet: the
//! same names, uids and nodes come again and again.

use proptest::prelude::*;
use tenantry_types::{
    Burst, ByteSize, ClusterUid, DomainName, Durability, Epoch, EventDetail, HotspotScore, Incarnation, Labels,
    MemberId, NodeCapacity, NodeEndpoints, NodeId, NodeSpec, QuotaKind, QuotaOverrides, ReportSequence, ReportedEvent,
    RequestId, Revision, Scheduling, ScoreTerms, Tenant, TenantName, TenantSpec, TenantState, TenantUid, Tier,
    TierDefinition, TierPolicy, TokenGeneration, UnixMillis,
};

use crate::{Command, Envelope, Fingerprint, Request, SecretKey, SigningKey, State, TierDecision, Tiers, apply};

/// An active, unplaced tenant.
#[must_use]
pub fn tenant_of(tier: Tier, tier_policy: TierPolicy) -> Tenant {
    Tenant {
        uid: TenantUid::from_u128(1),
        name: name("acme"),
        spec: TenantSpec {
            tier,
            tier_policy,
            quota: QuotaOverrides::default(),
            durability: Durability::Local,
            labels: Labels::default(),
            domains: Vec::new(),
        },
        state: TenantState::Active,
        placement: None,
        observed_class: None,
        token_generation: TokenGeneration::ZERO,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(1),
        revision: Revision(1),
    }
}

#[expect(clippy::expect_used, reason = "the texts are fixed")]
fn name(text: &str) -> TenantName {
    TenantName::new(text).expect("a DNS label")
}

#[expect(clippy::expect_used, reason = "the texts are fixed")]
fn node_id(text: &str) -> NodeId {
    NodeId::new(text).expect("a DNS label")
}

/// The command that gives a cluster its identity.
#[must_use]
pub fn initialize(uid: u128) -> Command {
    Command::InitializeCluster {
        uid: ClusterUid::from_u128(uid),
        tiers: Box::new(Tiers::default()),
        signing_key: signing_key("k1", 0),
    }
}

/// A signing key that begins to sign at `signs_from`, in milliseconds.
#[must_use]
pub fn signing_key(key_id: &str, signs_from: u64) -> SigningKey {
    SigningKey {
        key_id: key_id.to_owned(),
        public: [7; 32],
        secret: SecretKey::new([9; 32]),
        signs_from: UnixMillis(signs_from),
    }
}

/// A command of member 1 without a request id.
#[must_use]
pub fn at(now: u64, command: Command) -> Envelope {
    Envelope {
        now: UnixMillis(now),
        proposed_by: member_id(1),
        request: None,
        command,
    }
}

fn key_ids() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["k1", "k2", "k3"]).prop_map(str::to_owned)
}

fn tiers() -> impl Strategy<Value = Tier> {
    proptest::sample::select(Tier::ALL.to_vec())
}

fn uids() -> impl Strategy<Value = TenantUid> {
    (1..12_u128).prop_map(TenantUid::from_u128)
}

fn names() -> impl Strategy<Value = TenantName> {
    proptest::sample::select(vec!["acme", "acme-2", "b", "zoo"]).prop_map(name)
}

fn node_ids() -> impl Strategy<Value = NodeId> {
    proptest::sample::select(vec!["n1", "n2", "n3"]).prop_map(node_id)
}

#[expect(clippy::expect_used, reason = "the texts are fixed")]
fn domains() -> impl Strategy<Value = Vec<DomainName>> {
    proptest::sample::subsequence(vec!["db.acme.example", "x.example", "y.example"], 0..=3).prop_map(|texts| {
        let parse = |text| DomainName::new(text).expect("a domain");
        texts.into_iter().map(parse).collect()
    })
}

#[expect(clippy::expect_used, reason = "the pairs are within the bounds")]
fn labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[a-c]{1,3}", "[a-zé ]{0,4}", 0..3)
        .prop_map(|pairs| Labels::new(pairs).expect("short pairs"))
}

fn quota() -> impl Strategy<Value = QuotaOverrides> {
    use proptest::option::of;
    let burst = (1..9_u32, 1..9_u32).prop_map(|(requests_per_second, size)| Burst {
        requests_per_second,
        size,
    });
    (
        of(65_536..u64::MAX),
        of(1..u64::MAX),
        of(burst),
        of(1..u32::MAX),
        of(1..u64::MAX),
        of(1..u64::MAX),
        of(1..u32::MAX),
        of(1..u64::MAX),
        of(1..u64::MAX),
    )
        .prop_map(|limits| QuotaOverrides {
            database_bytes: limits.0,
            requests_per_day: limits.1,
            burst: limits.2,
            concurrent_requests: limits.3,
            query_time_ms: limits.4,
            memory_bytes: limits.5,
            cpu_millicores: limits.6,
            result_bytes: limits.7,
            request_bytes: limits.8,
        })
}

/// Any valid spec.
pub fn specs() -> impl Strategy<Value = TenantSpec> {
    let policies = prop_oneof![
        Just(TierPolicy::Pinned),
        tiers().prop_map(|max_tier| TierPolicy::Auto { max_tier }),
    ];
    let durabilities = proptest::sample::select(vec![Durability::Local, Durability::Replicated]);
    (tiers(), policies, quota(), durabilities, labels(), domains()).prop_map(
        |(tier, tier_policy, quota, durability, labels, domains)| TenantSpec {
            tier,
            tier_policy,
            quota,
            durability,
            labels,
            domains,
        },
    )
}

fn node_specs() -> impl Strategy<Value = NodeSpec> {
    (1..9_u16, 1..9_u64, 0..9_u64, "[a-z]{0,3}", labels()).prop_map(|(port, max_tenants, disk, zone, labels)| {
        NodeSpec {
            endpoints: NodeEndpoints {
                data: format!("127.0.0.1:{port}"),
                peer: format!("127.0.0.1:1{port}"),
                ops: format!("127.0.0.1:2{port}"),
            },
            capacity: NodeCapacity {
                max_tenants,
                disk: ByteSize(disk),
            },
            zone,
            labels,
        }
    })
}

/// Any definition with limits that can be kept.
pub fn tier_definitions() -> impl Strategy<Value = TierDefinition> {
    (tiers(), quota(), 1..99_u32, any::<u64>(), any::<u64>()).prop_map(
        |(tier, overrides, weight, observed_above_bytes, observed_above_requests)| TierDefinition {
            tier,
            quota: Tiers::default().get(tier).quota.overlaid(&overrides),
            weight,
            observed_above_bytes,
            observed_above_requests,
        },
    )
}

/// Any detail of an event.
pub fn event_details() -> impl Strategy<Value = EventDetail> {
    let scores = (0.0..=1.0_f64).prop_map(HotspotScore::clamped);
    let terms =
        (0.0..=1.0_f64, 0.0..=1.0_f64, 0.0..=1.0_f64, 0.0..=1.0_f64).prop_map(|(database, requests, cpu, memory)| {
            ScoreTerms {
                database,
                requests,
                cpu,
                memory,
            }
        });
    prop_oneof![
        (scores.clone(), terms.clone()).prop_map(|(score, terms)| EventDetail::HotspotRaised { score, terms }),
        (scores, terms).prop_map(|(score, terms)| EventDetail::HotspotCleared { score, terms }),
        (tiers(), tiers(), any::<u64>(), any::<u64>()).prop_map(|(from, to, database_bytes, requests_last_day)| {
            EventDetail::ClassChanged {
                from,
                to,
                database_bytes,
                requests_last_day,
            }
        }),
        (tiers(), tiers()).prop_map(|(from, to)| EventDetail::TierChanged { from, to }),
        (
            proptest::sample::select(vec![QuotaKind::Database, QuotaKind::RequestsPerDay]),
            proptest::sample::select(vec![80, 95, 100]),
            any::<u64>(),
            any::<u64>(),
        )
            .prop_map(|(quota, percent, used, limit)| EventDetail::QuotaCrossed {
                quota,
                percent,
                used,
                limit,
            }),
        (1..5_u64).prop_map(|incarnation| EventDetail::NodeRegistered {
            incarnation: Incarnation(incarnation),
        }),
        any::<u64>().prop_map(|count| EventDetail::EventsDropped { count }),
        any::<u64>().prop_map(|generation| EventDetail::TokensRevoked {
            generation: TokenGeneration(generation),
        }),
        (key_ids(), any::<u64>()).prop_map(|(key_id, signs_from)| EventDetail::TokenKeyAdded {
            key_id,
            signs_from: UnixMillis(signs_from),
        }),
        key_ids().prop_map(|key_id| EventDetail::TokenKeyRetired { key_id }),
    ]
}

fn reported_events() -> impl Strategy<Value = ReportedEvent> {
    (1..20_u64, 0..1_000_u64, proptest::option::of(uids()), event_details()).prop_map(
        |(sequence, occurred_at, tenant, detail)| ReportedEvent {
            sequence: ReportSequence(sequence),
            occurred_at: UnixMillis(occurred_at),
            tenant,
            detail,
        },
    )
}

/// Any command, from sets so small that most of them meet something.
pub fn commands() -> impl Strategy<Value = Command> {
    let revisions = || proptest::option::weighted(0.3, (1..9_u64).prop_map(Revision));
    let decisions = (uids(), tiers(), tiers()).prop_map(|(uid, from, to)| TierDecision { uid, from, to });
    let create = (uids(), names(), specs(), proptest::option::of(node_ids()))
        .prop_map(|(uid, name, spec, node)| Command::CreateTenant { uid, name, spec, node });
    let record = (
        node_ids(),
        0..4_u64,
        proptest::collection::vec(reported_events(), 0..6),
        proptest::collection::vec(decisions, 0..3),
    )
        .prop_map(|(node, incarnation, events, tier_changes)| Command::RecordEvents {
            node,
            incarnation: Incarnation(incarnation),
            events,
            tier_changes,
        });
    prop_oneof![
        1 => (1..3_u128).prop_map(initialize),
        6 => create,
        4 => (uids(), revisions(), specs())
            .prop_map(|(uid, expected, spec)| Command::UpdateTenant { uid, expected, spec }),
        2 => (uids(), revisions(), 0..3_000_u64).prop_map(|(uid, expected, purge_at)| Command::DeleteTenant {
            uid,
            expected,
            purge_at: UnixMillis(purge_at),
        }),
        2 => uids().prop_map(|uid| Command::UndeleteTenant { uid }),
        3 => (uids(), node_ids(), 0..3_u64).prop_map(|(uid, node, epoch)| Command::PlaceTenant {
            uid,
            node,
            expected_epoch: Epoch(epoch),
        }),
        2 => tier_definitions().prop_map(|definition| Command::UpdateTier { definition }),
        4 => (node_ids(), 1..4_u64, node_specs()).prop_map(|(id, incarnation, spec)| Command::RegisterNode {
            id,
            incarnation: Incarnation(incarnation),
            spec,
        }),
        2 => (node_ids(), any::<bool>()).prop_map(|(id, open)| Command::SetNodeScheduling {
            id,
            scheduling: if open { Scheduling::Open } else { Scheduling::Cordoned },
        }),
        4 => record,
        2 => uids().prop_map(|uid| Command::RevokeTokens { uid }),
        2 => (key_ids(), 0..2_000_u64).prop_map(|(key_id, signs_from)| Command::AddSigningKey {
            key: signing_key(&key_id, signs_from),
        }),
        2 => key_ids().prop_map(|key_id| Command::RetireSigningKey { key_id }),
    ]
}

/// Any command in its envelope.
pub fn envelopes() -> impl Strategy<Value = Envelope> {
    let requests = (1..30_u128, 0..2_u64).prop_map(|(id, fingerprint)| Request {
        id: RequestId::from_u128(id),
        fingerprint: Fingerprint(fingerprint),
    });
    (0..2_000_u64, 1..4_u64, proptest::option::of(requests), commands()).prop_map(|(now, member, request, command)| {
        Envelope {
            now: UnixMillis(now),
            proposed_by: member_id(member),
            request,
            command,
        }
    })
}

/// The id of a member.
///
/// # Panics
/// When it is zero.
#[must_use]
#[expect(clippy::expect_used, reason = "for tests")]
pub fn member_id(id: u64) -> MemberId {
    MemberId::new(id).expect("not zero")
}

/// Sequences of commands that begin by initializing the cluster.
pub fn histories(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Envelope>> {
    proptest::collection::vec(envelopes(), length).prop_map(|mut rest| {
        let first = Envelope {
            now: UnixMillis(1),
            proposed_by: member_id(1),
            request: None,
            command: initialize(1),
        };
        rest.insert(0, first);
        rest
    })
}

/// The state after a history.
#[must_use]
pub fn replay(history: &[Envelope]) -> State {
    let mut state = State::new();
    for (index, envelope) in (1_u64..).zip(history) {
        apply(&mut state, Revision(index), envelope.clone());
    }
    state
}

/// Commands that all change something, at least one of every kind, each under a request id of its own. A new kind of
/// command does not compile until it is listed here.
#[must_use]
#[expect(clippy::expect_used, reason = "the texts are fixed")]
pub fn every_command_once() -> Vec<Envelope> {
    let tenant = tenant_of(Tier::Small, TierPolicy::Auto { max_tier: Tier::Large });
    let uid = tenant.uid;
    let node = node_id("n1");
    let node_spec = |port: u16| NodeSpec {
        endpoints: NodeEndpoints {
            data: format!("127.0.0.1:{port}"),
            peer: "127.0.0.1:8421".to_owned(),
            ops: "127.0.0.1:8411".to_owned(),
        },
        capacity: NodeCapacity {
            max_tenants: 100,
            disk: ByteSize(1 << 40),
        },
        zone: "a".to_owned(),
        labels: Labels::new([("disk".to_owned(), "nvme".to_owned())].into()).expect("short pairs"),
    };
    let spec = TenantSpec {
        labels: Labels::new([("plan".to_owned(), "gold".to_owned())].into()).expect("short pairs"),
        domains: vec![DomainName::new("db.acme.example").expect("a domain")],
        durability: Durability::Replicated,
        ..tenant.spec
    };
    let register = |name: &str, port| Command::RegisterNode {
        id: node_id(name),
        incarnation: Incarnation(1),
        spec: node_spec(port),
    };
    let commands = vec![
        initialize(1),
        register("n1", 8401),
        register("n2", 8402),
        Command::SetNodeScheduling {
            id: node_id("n2"),
            scheduling: Scheduling::Cordoned,
        },
        Command::UpdateTier {
            definition: TierDefinition {
                weight: 3,
                ..*Tiers::default().get(Tier::Small)
            },
        },
        Command::CreateTenant {
            uid,
            name: tenant.name,
            spec: tenant.spec,
            node: Some(node.clone()),
        },
        Command::UpdateTenant {
            uid,
            expected: Some(Revision(6)),
            spec,
        },
        Command::RecordEvents {
            node,
            incarnation: Incarnation(1),
            events: vec![ReportedEvent {
                sequence: ReportSequence(1),
                occurred_at: UnixMillis(99),
                tenant: Some(uid),
                detail: EventDetail::ClassChanged {
                    from: Tier::Small,
                    to: Tier::Medium,
                    database_bytes: 1 << 30,
                    requests_last_day: 5,
                },
            }],
            tier_changes: vec![TierDecision {
                uid,
                from: Tier::Small,
                to: Tier::Medium,
            }],
        },
        Command::PlaceTenant {
            uid,
            node: node_id("n2"),
            expected_epoch: Epoch(1),
        },
        Command::DeleteTenant {
            uid,
            expected: None,
            purge_at: UnixMillis(1_000_000),
        },
        Command::UndeleteTenant { uid },
        Command::RevokeTokens { uid },
        Command::AddSigningKey {
            key: signing_key("k2", 1_000),
        },
        Command::AddSigningKey {
            key: signing_key("k3", 2_000),
        },
        Command::RetireSigningKey {
            key_id: "k3".to_owned(),
        },
    ];
    for command in &commands {
        match command {
            Command::InitializeCluster { .. }
            | Command::CreateTenant { .. }
            | Command::UpdateTenant { .. }
            | Command::DeleteTenant { .. }
            | Command::UndeleteTenant { .. }
            | Command::PlaceTenant { .. }
            | Command::UpdateTier { .. }
            | Command::RegisterNode { .. }
            | Command::SetNodeScheduling { .. }
            | Command::RecordEvents { .. }
            | Command::RevokeTokens { .. }
            | Command::AddSigningKey { .. }
            | Command::RetireSigningKey { .. } => {}
        }
    }
    (1_u64..)
        .zip(commands)
        .map(|(number, command)| Envelope {
            now: UnixMillis(100 + number),
            proposed_by: member_id(1),
            request: Some(Request {
                id: RequestId::from_u128(number.into()),
                fingerprint: Fingerprint(number),
            }),
            command,
        })
        .collect()
}
