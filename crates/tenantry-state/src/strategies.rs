//! Random commands and states for tests, here and in other crates. Drawn from small sets, so that commands meet: the
//! same names, uids and nodes come again and again.

use proptest::prelude::*;
use tenantry_types::{
    Burst, ByteSize, Cleared, ClusterEpoch, ClusterUid, Condition, ConditionFigures, DeadLetter, DisabledBy,
    DomainName, Durability, EndReason, Epoch, EventDetail, EventFilter, EventSequence, HotspotScore, Incarnation,
    Labels, MemberId, MemberKind, MoveCause, NodeCapacity, NodeEndpoints, NodeId, NodeSpec, QuotaKind, QuotaOverrides,
    Reachability, Reactions, ReportSequence, ReportedEvent, RequestId, Revision, Scheduling, ScoreTerms, Severity,
    Switch, Tenant, TenantName, TenantSpec, TenantState, TenantUid, Tier, TierDefinition, TierPolicy, TokenGeneration,
    UnixMillis, WebhookName, WebhookSecret, WebhookSpec,
};

use crate::{
    AvailabilityChange, Command, Delivery, DeliveryOutcome, Envelope, Fingerprint, MoveDecision, RecordedMembers,
    Request, Rules, SecretKey, SigningKey, State, TierDecision, Tiers, apply,
};

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
        rules: Rules::default(),
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

fn conditions() -> impl Strategy<Value = Condition> {
    proptest::sample::select(Condition::ALL.to_vec())
}

fn ends() -> impl Strategy<Value = EndReason> {
    proptest::sample::select(vec![
        EndReason::TenantDeleted,
        EndReason::TenantMoved,
        EndReason::RecordLost,
    ])
}

fn condition_figures() -> impl Strategy<Value = ConditionFigures> {
    let share = || 0.0..=1.0_f64;
    let hotspot = (share(), share(), share(), share(), share()).prop_map(|(score, database, requests, cpu, memory)| {
        ConditionFigures::Hotspot {
            score: HotspotScore::clamped(score),
            terms: ScoreTerms {
                database,
                requests,
                cpu,
                memory,
            },
        }
    });
    let spike =
        (any::<u64>(), 0.0..1e9_f64).prop_map(|(requests_per_minute, norm_per_minute)| ConditionFigures::Spike {
            requests_per_minute,
            norm_per_minute,
        });
    let exceeded =
        (any::<u64>(), any::<u64>()).prop_map(|(cpu_millicores, node_millicores)| ConditionFigures::NodeExceeded {
            cpu_millicores,
            node_millicores,
        });
    prop_oneof![3 => hotspot, 1 => spike, 1 => exceeded]
}

fn reachabilities() -> impl Strategy<Value = Reachability> {
    proptest::sample::select(vec![Reachability::Up, Reachability::Suspect, Reachability::Down])
}

fn member_kinds() -> impl Strategy<Value = MemberKind> {
    proptest::sample::select(vec![MemberKind::Voter, MemberKind::Learner])
}

fn members() -> impl Strategy<Value = MemberId> {
    (1..4_u64).prop_map(member_id)
}

#[expect(clippy::expect_used, reason = "the texts are fixed")]
fn webhook_names() -> impl Strategy<Value = WebhookName> {
    proptest::sample::select(vec!["pager", "chat", "audit"]).prop_map(|text| WebhookName::new(text).expect("a label"))
}

fn sequences() -> impl Strategy<Value = EventSequence> {
    (0..12_u64).prop_map(EventSequence)
}

/// What an operator may ask of a webhook.
#[expect(clippy::expect_used, reason = "the length is right")]
pub fn webhook_specs() -> impl Strategy<Value = WebhookSpec> {
    let filters = (
        proptest::sample::subsequence(EventDetail::KINDS.to_vec(), 0..4),
        proptest::collection::vec(names(), 0..2),
        proptest::collection::btree_map("[a-c]", "[a-c]", 0..2),
        proptest::option::of(proptest::sample::select(vec![
            Severity::Info,
            Severity::Warning,
            Severity::Critical,
        ])),
    );
    let secrets = proptest::collection::vec(any::<[u8; 32]>(), 1..3);
    ("[a-z]{1,8}", filters, secrets).prop_map(|(host, (kinds, tenants, labels, min_severity), secrets)| WebhookSpec {
        url: format!("https://{host}.example/"),
        filter: EventFilter {
            kinds: kinds.into_iter().map(str::to_owned).collect(),
            tenants,
            labels,
            min_severity,
        },
        secrets: secrets
            .iter()
            .map(|bytes| WebhookSecret::new(bytes).expect("32 bytes"))
            .collect(),
    })
}

/// Any detail of an event.
pub fn event_details() -> impl Strategy<Value = EventDetail> {
    prop_oneof![
        4 => condition_figures().prop_map(EventDetail::Raised),
        3 => condition_figures().prop_map(|figures| EventDetail::Cleared(Cleared::Subsided(figures))),
        1 => (conditions(), ends()).prop_map(|(condition, end)| EventDetail::Cleared(Cleared::Ended(condition, end))),
        2 => (tiers(), tiers(), any::<u64>(), any::<u64>()).prop_map(|(from, to, database_bytes, requests_last_day)| {
            EventDetail::ClassChanged {
                from,
                to,
                database_bytes,
                requests_last_day,
            }
        }),
        1 => (tiers(), tiers()).prop_map(|(from, to)| EventDetail::TierChanged { from, to }),
        2 => (
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
        1 => (1..5_u64).prop_map(|incarnation| EventDetail::NodeRegistered {
            incarnation: Incarnation(incarnation),
        }),
        1 => any::<u64>().prop_map(|count| EventDetail::EventsDropped { count }),
        1 => any::<u64>().prop_map(|generation| EventDetail::TokensRevoked {
            generation: TokenGeneration(generation),
        }),
        1 => (key_ids(), any::<u64>()).prop_map(|(key_id, signs_from)| EventDetail::TokenKeyAdded {
            key_id,
            signs_from: UnixMillis(signs_from),
        }),
        1 => key_ids().prop_map(|key_id| EventDetail::TokenKeyRetired { key_id }),
        4 => facts_of_the_cluster(),
    ]
}

/// What only the control plane reports, since there was more than tiers and tokens.
fn facts_of_the_cluster() -> impl Strategy<Value = EventDetail> {
    let causes = prop_oneof![
        Just(MoveCause::Hot),
        uids().prop_map(|hot| MoveCause::BesideHot { hot })
    ];
    let schedulings = proptest::sample::select(vec![Scheduling::Open, Scheduling::Cordoned]);
    let disabled_by = proptest::sample::select(vec![DisabledBy::Operator, DisabledBy::Receiver]);
    prop_oneof![
        (node_ids(), causes).prop_map(|(node, cause)| EventDetail::MoveProposed { node, cause }),
        node_ids().prop_map(|node| EventDetail::MoveWithdrawn { node }),
        (node_ids(), any::<u64>()).prop_map(|(node, neighbours)| EventDetail::DedicatedNodeWanted { node, neighbours }),
        (node_ids(), proptest::option::of(reachabilities()), reachabilities())
            .prop_map(|(node, from, to)| EventDetail::NodeAvailability { node, from, to }),
        (node_ids(), schedulings).prop_map(|(node, scheduling)| EventDetail::NodeScheduling { node, scheduling }),
        (1..9_u64, "[a-z: ]{0,20}").prop_map(|(records, example)| EventDetail::ConfigRefused { records, example }),
        Just(EventDetail::ConfigAccepted),
        (proptest::option::of(members()), members(), any::<u64>())
            .prop_map(|(from, to, term)| EventDetail::LeaderChanged { from, to, term }),
        (members(), proptest::option::of(member_kinds()), member_kinds())
            .prop_map(|(member, from, to)| EventDetail::MemberChanged { member, from, to }),
        members().prop_map(|member| EventDetail::MemberRemoved { member }),
        (1..9_u64).prop_map(|epoch| EventDetail::ClusterRestored {
            epoch: ClusterEpoch(epoch)
        }),
        (webhook_names(), "[a-z ]{0,20}")
            .prop_map(|(webhook, failure)| EventDetail::WebhookFailing { webhook, failure }),
        webhook_names().prop_map(|webhook| EventDetail::WebhookRecovered { webhook }),
        (webhook_names(), disabled_by).prop_map(|(webhook, by)| EventDetail::WebhookDisabled { webhook, by }),
        (webhook_names(), sequences(), sequences()).prop_map(|(webhook, first, last)| EventDetail::WebhookGaveUp {
            webhook,
            first,
            last
        }),
    ]
}

/// What concerns events, and is no report of a node.
fn event_commands() -> impl Strategy<Value = Command> {
    let change = (node_ids(), proptest::option::of(reachabilities()), reachabilities())
        .prop_map(|(node, from, to)| AvailabilityChange { node, from, to });
    let record_members = (
        members(),
        0..4_u64,
        proptest::collection::btree_map(members(), member_kinds(), 1..4),
    )
        .prop_map(|(leader, term, members)| Command::RecordMembers(RecordedMembers { leader, term, members }));
    let switch = || proptest::sample::select(vec![Switch::On, Switch::On, Switch::Off]);
    let reactions = (switch(), switch(), switch(), switch()).prop_map(
        |(tier_changes, move_proposals, dedicated_nodes, quota_warnings)| Reactions {
            tier_changes,
            move_proposals,
            dedicated_nodes,
            quota_warnings,
        },
    );
    let revisions = || (1..40_u64).prop_map(Revision);
    let letters = (sequences(), any::<u32>(), "[a-z]{0,9}").prop_map(|(first, attempts, failure)| DeadLetter {
        first,
        last: first,
        at: UnixMillis(5),
        attempts,
        failure,
    });
    let outcomes = prop_oneof![
        2 => Just(DeliveryOutcome::Arrived),
        2 => "[a-z]{0,9}".prop_map(|failure| DeliveryOutcome::Failed { failure }),
        1 => Just(DeliveryOutcome::Gone),
    ];
    let advance = (
        (webhook_names(), revisions(), sequences(), sequences()),
        (proptest::collection::vec(letters, 0..3), outcomes),
    )
        .prop_map(
            |((name, expected_revision, expected_done, done), (dead_letters, outcome))| Command::AdvanceWebhook {
                name,
                expected_revision,
                expected_done,
                done,
                dead_letters,
                outcome,
            },
        );
    let deliveries = proptest::sample::select(vec![Delivery::Enabled, Delivery::Disabled]);
    prop_oneof![
        2 => proptest::collection::vec(change, 0..4).prop_map(|changes| Command::RecordAvailability { changes }),
        2 => record_members,
        1 => reactions.prop_map(|reactions| Command::UpdateReactions { reactions }),
        3 => (webhook_names(), webhook_specs()).prop_map(|(name, spec)| Command::CreateWebhook { name, spec }),
        2 => (webhook_names(), proptest::option::weighted(0.3, revisions()), webhook_specs(), deliveries).prop_map(
            |(name, expected, spec, delivery)| Command::UpdateWebhook { name, expected, spec, delivery }
        ),
        1 => webhook_names().prop_map(|name| Command::DeleteWebhook { name }),
        6 => advance,
        1 => (webhook_names(), sequences()).prop_map(|(name, after)| Command::RewindWebhook { name, after }),
    ]
}

fn reported_events() -> impl Strategy<Value = ReportedEvent> {
    (1..20_u64, 0..1_000_u64, proptest::option::of(uids()), event_details()).prop_map(
        |(sequence, occurred_at, tenant, detail)| ReportedEvent {
            sequence: ReportSequence(sequence),
            occurred_at: UnixMillis(occurred_at),
            tenant,
            epoch: None,
            detail,
        },
    )
}

/// Any command, from sets so small that most of them meet something.
pub fn commands() -> impl Strategy<Value = Command> {
    let revisions = || proptest::option::weighted(0.3, (1..9_u64).prop_map(Revision));
    let decisions = (uids(), tiers(), tiers()).prop_map(|(uid, from, to)| TierDecision { uid, from, to });
    let moves = (uids(), uids(), node_ids()).prop_map(|(tenant, hot, node)| MoveDecision { tenant, hot, node });
    let create = (uids(), names(), specs(), proptest::option::of(node_ids()))
        .prop_map(|(uid, name, spec, node)| Command::CreateTenant { uid, name, spec, node });
    let record = (
        node_ids(),
        0..4_u64,
        proptest::collection::vec(reported_events(), 0..6),
        proptest::collection::vec(decisions, 0..3),
        proptest::collection::vec(moves, 0..3),
    )
        .prop_map(
            |(node, incarnation, events, tier_changes, moves)| Command::RecordEvents {
                node,
                incarnation: Incarnation(incarnation),
                events,
                tier_changes,
                moves,
            },
        );
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
        4 => (node_ids(), 1..4_u64, node_specs(), 0..4_u64).prop_map(
            |(id, incarnation, spec, since)| Command::RegisterNode {
                id,
                incarnation: Incarnation(incarnation),
                spec,
                record_since: (since > 0).then_some(Incarnation(since)),
            }
        ),
        2 => (node_ids(), any::<bool>()).prop_map(|(id, open)| Command::SetNodeScheduling {
            id,
            scheduling: if open { Scheduling::Open } else { Scheduling::Cordoned },
        }),
        6 => record,
        6 => event_commands(),
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
            rules: Rules::default(),
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
            rules: Rules::default(),
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
    let hot = TenantUid::from_u128(2);
    let webhook = |text: &str| WebhookName::new(text).expect("a DNS label");
    let webhook_spec = |url: &str| WebhookSpec {
        url: url.to_owned(),
        filter: EventFilter {
            kinds: vec!["hotspot-raised".to_owned()],
            ..EventFilter::default()
        },
        secrets: vec![WebhookSecret::new(&[7; 32]).expect("32 bytes")],
    };
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
        record_since: Some(Incarnation(1)),
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
            spec: spec.clone(),
        },
        Command::RecordEvents {
            node,
            incarnation: Incarnation(1),
            events: vec![ReportedEvent {
                sequence: ReportSequence(1),
                occurred_at: UnixMillis(99),
                tenant: Some(uid),
                epoch: None,
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
            moves: Vec::new(),
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
        // Hot on the node where it stays, so that there is a condition and a proposal in the state.
        Command::CreateTenant {
            uid: hot,
            name: name("hot"),
            spec: TenantSpec {
                domains: Vec::new(),
                ..spec
            },
            node: Some(node_id("n1")),
        },
        Command::RecordEvents {
            node: node_id("n1"),
            incarnation: Incarnation(1),
            events: vec![ReportedEvent {
                sequence: ReportSequence(2),
                occurred_at: UnixMillis(99),
                tenant: Some(hot),
                epoch: None,
                detail: EventDetail::Raised(ConditionFigures::Hotspot {
                    score: HotspotScore::clamped(0.9),
                    terms: ScoreTerms::default(),
                }),
            }],
            tier_changes: Vec::new(),
            moves: vec![MoveDecision {
                tenant: hot,
                hot,
                node: node_id("n1"),
            }],
        },
        Command::RecordAvailability {
            changes: vec![AvailabilityChange {
                node: node_id("n1"),
                from: None,
                to: Reachability::Suspect,
            }],
        },
        Command::RecordMembers(RecordedMembers {
            leader: member_id(1),
            term: 2,
            members: [(member_id(1), MemberKind::Voter), (member_id(2), MemberKind::Learner)].into(),
        }),
        Command::UpdateReactions {
            reactions: Reactions {
                dedicated_nodes: Switch::Off,
                ..Reactions::default()
            },
        },
        Command::CreateWebhook {
            name: webhook("pager"),
            spec: webhook_spec("https://pager.example/"),
        },
        Command::UpdateWebhook {
            name: webhook("pager"),
            expected: None,
            spec: webhook_spec("https://pager.example/hook"),
            delivery: Delivery::Enabled,
        },
        Command::AdvanceWebhook {
            name: webhook("pager"),
            expected_revision: Revision(22),
            expected_done: EventSequence(13),
            done: EventSequence(13),
            dead_letters: vec![DeadLetter {
                first: EventSequence(13),
                last: EventSequence(13),
                at: UnixMillis(200),
                attempts: 10,
                failure: "refused".to_owned(),
            }],
            outcome: DeliveryOutcome::Failed {
                failure: "refused".to_owned(),
            },
        },
        Command::CreateWebhook {
            name: webhook("chat"),
            spec: webhook_spec("https://chat.example/"),
        },
        Command::RewindWebhook {
            name: webhook("chat"),
            after: EventSequence(1),
        },
        Command::CreateWebhook {
            name: webhook("audit"),
            spec: webhook_spec("https://audit.example/"),
        },
        Command::DeleteWebhook { name: webhook("audit") },
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
            | Command::RetireSigningKey { .. }
            | Command::RecordAvailability { .. }
            | Command::RecordMembers(_)
            | Command::UpdateReactions { .. }
            | Command::CreateWebhook { .. }
            | Command::UpdateWebhook { .. }
            | Command::DeleteWebhook { .. }
            | Command::AdvanceWebhook { .. }
            | Command::RewindWebhook { .. } => {}
        }
    }
    (1_u64..)
        .zip(commands)
        .map(|(number, command)| Envelope {
            rules: Rules::default(),
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
