//! A whole member in this process for tests: a real log over a folder of its own, and the state behind it. It leads, as there
//! is nobody else; what leaders do by themselves is left to the test.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tenantry_state::strategies::{every_command_once, initialize, member_id, tenant_of};
use tenantry_state::{Command, State};
use tenantry_types::{
    EventDetail, EventSequence, Incarnation, NodeId, ReportSequence, ReportedEvent, TenantName, TenantUid, Tier,
    TierPolicy,
};

use crate::machine::ReplicatedState;
use crate::observations::Patience;
use crate::raft::{InitialMembers, RaftConfig, RaftNode};
use crate::services::ControlPlane;

/// Only bounds a test that would hang.
const BOUND: Duration = Duration::from_secs(60);
/// The tenant that events are about.
const ACME: TenantUid = TenantUid::from_u128(1);

pub(crate) struct SingleMember {
    pub(crate) control_plane: Arc<ControlPlane>,
    _folder: TempDir,
}

impl SingleMember {
    /// Leads a cluster with an identity, the tenant `acme` and no event.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = member_id(1);
        // Nobody connects to it.
        let initial = InitialMembers::new(own, [(own, "127.0.0.1:1".to_owned())].into()).unwrap();
        let mut config = RaftConfig::new(own, folder.path().to_owned(), initial);
        config.tick = Duration::from_millis(20);
        let (machine, published) = ReplicatedState::new();
        let (log, _) = RaftNode::start(config, machine).await.unwrap();
        let patience = Patience::default();
        let control_plane = Arc::new(ControlPlane::new(own, log, published, patience, Duration::ZERO));
        let member = Self {
            control_plane,
            _folder: folder,
        };
        let led = async {
            // The fate of a first try may be unknown, and a second one is refused then.
            while member.state().cluster().is_none() {
                let _ = member.control_plane.propose(None, initialize(1)).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(BOUND, led).await.unwrap();
        member
            .done(Command::CreateTenant {
                uid: ACME,
                name: TenantName::new("acme").unwrap(),
                spec: tenant_of(Tier::Small, TierPolicy::Pinned).spec,
                node: None,
            })
            .await;
        member
    }

    pub(crate) fn state(&self) -> State {
        self.control_plane.published.current().state.clone()
    }

    pub(crate) async fn done(&self, command: Command) {
        self.control_plane.propose(None, command).await.unwrap();
    }

    /// Makes one event about `acme`, and says which.
    pub(crate) async fn happen(&self) -> u64 {
        self.done(Command::RevokeTokens { uid: ACME }).await;
        self.state().last_event().get()
    }

    /// Registers `n1`, which is one event.
    pub(crate) async fn register(&self) {
        self.register_as("n1").await;
    }

    /// Registers a node, which is one event.
    pub(crate) async fn register_as(&self, id: &str) {
        let spec = every_command_once()
            .into_iter()
            .find_map(|envelope| match envelope.command {
                Command::RegisterNode { spec, .. } => Some(spec),
                _ => None,
            });
        self.done(Command::RegisterNode {
            id: NodeId::new(id).unwrap(),
            incarnation: Incarnation(1),
            spec: spec.unwrap(),
            record_since: None,
        })
        .await;
    }

    /// Has `n1` report a thousand events that are about no tenant, after `reported` that it has reported before.
    pub(crate) async fn report_thousand(&self, reported: u64) {
        let event = |sequence| ReportedEvent {
            sequence: ReportSequence(sequence),
            occurred_at: ControlPlane::now(),
            tenant: None,
            epoch: None,
            detail: EventDetail::ConfigAccepted,
        };
        self.done(Command::RecordEvents {
            node: NodeId::new("n1").unwrap(),
            incarnation: Incarnation(1),
            events: (reported + 1..=reported + 1_000).map(event).collect(),
            tier_changes: Vec::new(),
            moves: Vec::new(),
        })
        .await;
    }

    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let mut revisions = self.control_plane.published.revision();
        let reached = async {
            while !holds(&self.state()) {
                revisions.changed().await.unwrap();
            }
        };
        tokio::time::timeout(BOUND, reached)
            .await
            .unwrap_or_else(|_| panic!("waited for {what}"));
    }

    /// The kinds of all events that are kept.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let state = self.state();
        let events = state.events_after(EventSequence::ZERO);
        events.map(|event| event.detail.kind()).collect()
    }
}

/// Waits for what no revision tells.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, held)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"));
}
