//! A cluster for the tests of apply: commands are applied to it one after the other, and it tells what they appended.

use tenantry_types::{
    Cleared, Condition, ConditionFigures, DomainName, Epoch, EventDetail, EventSequence, HotspotScore, Incarnation,
    NodeId, QuotaKind, ReportSequence, ReportedEvent, Revision, ScoreTerms, TenantName, TenantSpec, TenantUid, Tier,
    TierPolicy, UnixMillis,
};

use crate::strategies::{every_command_once, initialize, member_id, tenant_of};
use crate::{Applied, Change, Command, Envelope, MoveDecision, Request, Rules, State, TierDecision, apply};

pub(super) const ACME: TenantUid = TenantUid::from_u128(1);
pub(super) const OTHER: TenantUid = TenantUid::from_u128(2);
pub(super) const NOBODY: TenantUid = TenantUid::from_u128(3);

/// A state that commands are applied to one after the other.
pub(super) struct Cluster {
    pub(super) state: State,
    pub(super) now: UnixMillis,
}

impl Cluster {
    /// Has an identity and the node `n1`, at incarnation 5.
    pub(super) fn new() -> Self {
        let mut cluster = Self {
            state: State::new(),
            now: UnixMillis(1_000),
        };
        cluster.done(initialize(1));
        cluster.done(register("n1", 5));
        cluster
    }

    /// With `acme` on `n1`, which has the domain `db.acme.example` and follows its class up to `large`.
    pub(super) fn with_acme() -> Self {
        let mut cluster = Self::new();
        cluster.done(create(ACME, "acme", &["db.acme.example"], Some("n1")));
        cluster
    }

    pub(super) fn apply(&mut self, request: Option<Request>, command: Command) -> Applied {
        let revision = self.state.revision().next();
        let envelope = Envelope {
            rules: Rules::default(),
            now: self.now,
            proposed_by: member_id(1),
            request,
            command,
        };
        let applied = apply(&mut self.state, revision, envelope);
        assert_eq!(self.state.check(), Ok(()));
        applied
    }

    pub(super) fn done(&mut self, command: Command) -> Vec<Change> {
        let applied = self.apply(None, command);
        assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
        applied.changes
    }

    /// The events that the command appended.
    pub(super) fn news(&mut self, command: Command) -> Vec<EventDetail> {
        let before = self.state.last_event();
        self.done(command);
        let appended = self.state.events_after(before);
        appended.map(|event| event.detail.clone()).collect()
    }

    /// The kinds of events that the command appended.
    pub(super) fn told(&mut self, command: Command) -> Vec<&'static str> {
        self.news(command).iter().map(EventDetail::kind).collect()
    }

    /// What `node` reports next at its registered start: each event under a sequence that was not used before.
    pub(super) fn reports(&self, id: &str, about: Vec<(TenantUid, EventDetail)>) -> Command {
        let incarnation = self.state.node(&node(id)).unwrap().incarnation;
        let cursor = self.state.report_cursor(&node(id));
        let used = cursor.filter(|cursor| cursor.incarnation == incarnation);
        let first = used.map_or(1, |cursor| cursor.sequence.get() + 1);
        let events = (first..).zip(about).map(|(sequence, (tenant, detail))| ReportedEvent {
            sequence: ReportSequence(sequence),
            occurred_at: self.now,
            tenant: Some(tenant),
            epoch: None,
            detail,
        });
        Command::RecordEvents {
            node: node(id),
            incarnation,
            events: events.collect(),
            tier_changes: Vec::new(),
            moves: Vec::new(),
        }
    }

    pub(super) fn revision_of(&self, uid: TenantUid) -> Revision {
        self.state.tenant(uid).unwrap().revision
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let events = self.state.events_after(EventSequence::ZERO);
        events.map(|event| event.detail.kind()).collect()
    }
}

pub(super) fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(super) fn spec(domains: &[&str]) -> TenantSpec {
    let policy = TierPolicy::Auto { max_tier: Tier::Large };
    TenantSpec {
        domains: domains.iter().map(|domain| DomainName::new(domain).unwrap()).collect(),
        ..tenant_of(Tier::Small, policy).spec
    }
}

pub(super) fn create(uid: TenantUid, name: &str, domains: &[&str], on: Option<&str>) -> Command {
    Command::CreateTenant {
        uid,
        name: TenantName::new(name).unwrap(),
        spec: spec(domains),
        node: on.map(node),
    }
}

pub(super) fn update(uid: TenantUid, expected: Option<u64>, domains: &[&str]) -> Command {
    Command::UpdateTenant {
        uid,
        expected: expected.map(Revision),
        spec: spec(domains),
    }
}

pub(super) fn delete(uid: TenantUid) -> Command {
    Command::DeleteTenant {
        uid,
        expected: None,
        purge_at: UnixMillis(2_000),
    }
}

pub(super) fn place(uid: TenantUid, on: &str, expected_epoch: u64) -> Command {
    Command::PlaceTenant {
        uid,
        node: node(on),
        expected_epoch: Epoch(expected_epoch),
    }
}

/// The registration of a node as `every_command_once` makes it, at another start.
pub(super) fn register(id: &str, incarnation: u64) -> Command {
    let spec = every_command_once()
        .into_iter()
        .find_map(|envelope| match envelope.command {
            Command::RegisterNode { spec, .. } => Some(spec),
            _ => None,
        });
    Command::RegisterNode {
        id: node(id),
        incarnation: Incarnation(incarnation),
        spec: spec.unwrap(),
        record_since: None,
    }
}

/// An event that is news whenever it is told.
pub(super) fn crossed(sequence: u64, tenant: TenantUid) -> ReportedEvent {
    ReportedEvent {
        detail: EventDetail::QuotaCrossed {
            quota: QuotaKind::Database,
            percent: 80,
            used: sequence,
            limit: 100,
        },
        ..class_changed(sequence, tenant, Tier::Small)
    }
}

pub(super) fn class_changed(sequence: u64, tenant: TenantUid, to: Tier) -> ReportedEvent {
    ReportedEvent {
        sequence: ReportSequence(sequence),
        occurred_at: UnixMillis(900),
        tenant: Some(tenant),
        epoch: None,
        detail: EventDetail::ClassChanged {
            from: Tier::Small,
            to,
            database_bytes: 1,
            requests_last_day: 2,
        },
    }
}

pub(super) fn report(incarnation: u64, events: Vec<ReportedEvent>, tiers: &[(Tier, Tier)]) -> Command {
    Command::RecordEvents {
        node: node("n1"),
        incarnation: Incarnation(incarnation),
        events,
        tier_changes: tiers
            .iter()
            .map(|&(from, to)| TierDecision { uid: ACME, from, to })
            .collect(),
        moves: Vec::new(),
    }
}

/// The command with moves to propose, each of a tenant because of a hot one, all on `n1`.
pub(super) fn proposing(command: Command, pairs: &[(TenantUid, TenantUid)]) -> Command {
    let Command::RecordEvents {
        node: reporter,
        incarnation,
        events,
        tier_changes,
        ..
    } = command
    else {
        panic!("moves are proposed with reports");
    };
    let decision = |&(tenant, hot): &(TenantUid, TenantUid)| MoveDecision {
        tenant,
        hot,
        node: node("n1"),
    };
    Command::RecordEvents {
        node: reporter,
        incarnation,
        events,
        tier_changes,
        moves: pairs.iter().map(decision).collect(),
    }
}

/// Figures that a node could tell a condition by.
pub(super) fn figures(condition: Condition) -> ConditionFigures {
    match condition {
        Condition::Hotspot => ConditionFigures::Hotspot {
            score: HotspotScore::clamped(0.9),
            terms: ScoreTerms::default(),
        },
        Condition::Spike => ConditionFigures::Spike {
            requests_per_minute: 400,
            norm_per_minute: 100.0,
        },
        Condition::NodeExceeded => ConditionFigures::NodeExceeded {
            cpu_millicores: 1_900,
            node_millicores: 2_000,
        },
    }
}

pub(super) fn raised(tenant: TenantUid, condition: Condition) -> (TenantUid, EventDetail) {
    (tenant, EventDetail::Raised(figures(condition)))
}

pub(super) fn subsided(tenant: TenantUid, condition: Condition) -> (TenantUid, EventDetail) {
    (tenant, EventDetail::Cleared(Cleared::Subsided(figures(condition))))
}

/// The registration of a start that says which start began its record of what it has raised.
pub(super) fn register_with_record(id: &str, start: u64, since: u64) -> Command {
    let Command::RegisterNode {
        id, incarnation, spec, ..
    } = register(id, start)
    else {
        panic!("a registration");
    };
    Command::RegisterNode {
        id,
        incarnation,
        spec,
        record_since: Some(Incarnation(since)),
    }
}
