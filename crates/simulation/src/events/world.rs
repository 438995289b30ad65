//! Lets tenants grow hot and cool, and breaks things. Everything is drawn from the seed.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tenant_node::events::PendingBatch;
use tenantry_state::strategies::tenant_of;
use tenantry_state::{Answer, Command, MoveDecision, Rejection};
use tenantry_types::{
    ByteSize, Condition, EventDetail, Incarnation, Labels, NodeCapacity, NodeEndpoints, NodeId, NodeSpec,
    ReportedEvent, TenantName, TenantUid, Tier, TierPolicy, UnixMillis,
};
use tokio::runtime::Runtime;

use super::Plan;
use super::control_plane::ControlPlane;
use super::judge::Judge;
use super::node::{CAPACITY, Load, Node};
use super::report::Report;
use super::violation::{Breach, Violation};

const TENANTS: u128 = 7;
/// The last steps that are shown with a violation.
const SHOWN: usize = 40;
/// Rounds at the end, with loads that stay and nothing that fails.
const QUIET_ROUNDS: u32 = 6;
const BATCH: usize = 4;

/// Everything in one seed.
pub(super) struct World {
    rng: StdRng,
    runtime: Runtime,
    folder: TempDir,
    control_plane: ControlPlane,
    node: Option<Node>,
    loads: BTreeMap<TenantUid, Load>,
    judge: Judge,
    report: Report,
    steps: VecDeque<String>,
}

impl World {
    pub(super) fn run(seed: u64, plan: &Plan) -> Result<Report, Violation> {
        let violation = |step, breach, steps: VecDeque<String>| Violation {
            seed,
            step,
            breach,
            steps: steps.into(),
        };
        let mut world = Self::begin(seed).map_err(|breach| violation(0, breach, VecDeque::new()))?;
        for step in 0..plan.steps {
            if let Err(breach) = world.step().and_then(|()| world.check()) {
                return Err(violation(step, breach, world.steps));
            }
        }
        if let Err(breach) = world.settle() {
            return Err(violation(plan.steps, breach, world.steps));
        }
        Ok(world.report)
    }

    fn begin(seed: u64) -> Result<Self, Breach> {
        let failed = |error: std::io::Error| Breach::Failed(error.to_string());
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            runtime: tokio::runtime::Builder::new_current_thread().build().map_err(failed)?,
            folder: tempfile::tempdir().map_err(failed)?,
            control_plane: ControlPlane::new()?,
            node: None,
            loads: (1..=TENANTS)
                .map(|uid| (TenantUid::from_u128(uid), Load::default()))
                .collect(),
            judge: Judge::default(),
            report: Report::default(),
            steps: VecDeque::new(),
        };
        world.register(&node_id("n2")?, Incarnation(1), Incarnation(1))?;
        world.start(Incarnation(1))?;
        for uid in world.loads.keys().copied().collect::<Vec<_>>() {
            world.create(uid)?;
        }
        world.control_plane.save();
        Ok(world)
    }

    fn note(&mut self, step: String) {
        if self.steps.len() == SHOWN {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    fn create(&mut self, uid: TenantUid) -> Result<(), Breach> {
        let spec = tenant_of(Tier::Small, TierPolicy::Pinned).spec;
        let name =
            TenantName::new(&format!("t{}", uid.as_u128())).map_err(|error| Breach::Failed(error.to_string()))?;
        let node = Some(node_id("n1")?);
        self.control_plane
            .commit(Command::CreateTenant { uid, name, spec, node })?;
        Ok(())
    }

    fn register(&mut self, id: &NodeId, incarnation: Incarnation, record_since: Incarnation) -> Result<(), Breach> {
        let address = || "127.0.0.1:9".to_owned();
        self.control_plane.commit(Command::RegisterNode {
            id: id.clone(),
            incarnation,
            spec: NodeSpec {
                endpoints: NodeEndpoints {
                    data: address(),
                    peer: address(),
                    ops: address(),
                },
                capacity: NodeCapacity {
                    max_tenants: 100,
                    disk: ByteSize(1 << 30),
                },
                zone: String::new(),
                labels: Labels::default(),
            },
            record_since: Some(record_since),
        })?;
        Ok(())
    }

    fn start(&mut self, incarnation: Incarnation) -> Result<(), Breach> {
        let node = Node::start(node_id("n1")?, self.folder.path(), incarnation)?;
        self.register(&node.id.clone(), incarnation, node.record_since())?;
        node.registered();
        self.node = Some(node);
        Ok(())
    }

    fn step(&mut self) -> Result<(), Breach> {
        match self.rng.random_range(0..100) {
            0..45 => self.round(),
            45..80 => self.deliver(),
            80..87 => self.kill(),
            87..94 => self.change_a_tenant(),
            94..97 => {
                self.note("a member goes on from a snapshot".to_owned());
                self.report.snapshots_installed += 1;
                self.control_plane.install_snapshot()
            }
            97..99 => {
                self.note("a snapshot is kept".to_owned());
                self.control_plane.save();
                Ok(())
            }
            _ => self.restore(),
        }
    }

    /// Some tenants change what they do, and all are sampled.
    fn round(&mut self) -> Result<(), Breach> {
        for load in self.loads.values_mut() {
            if self.rng.random_bool(0.25) {
                load.hot = !load.hot;
            }
            if self.rng.random_bool(0.1) {
                load.exceeds = !load.exceeds;
            }
        }
        self.sample()
    }

    fn sample(&mut self) -> Result<(), Breach> {
        let Some(node) = &mut self.node else { return Ok(()) };
        self.report.rounds += 1;
        let proposal = node.round(&self.control_plane.state, &self.loads);
        if proposal.is_empty() {
            return Ok(());
        }
        let fate = self.rng.random_range(0..100);
        if fate < 4 {
            self.report.kills_before_a_write += 1;
            self.note("killed with a change that is not on disk".to_owned());
            return self.restart(false);
        }
        let before = node.pending();
        self.runtime.block_on(node.write(&proposal))?;
        self.report.full_outboxes += u64::from(before == CAPACITY);
        if fate < 8 {
            self.report.kills_after_a_write += 1;
            self.note("killed with a change on disk".to_owned());
            return self.restart(false);
        }
        node.accept(&proposal);
        Ok(())
    }

    /// The reporter's turn: one batch, with whatever can happen to it.
    fn deliver(&mut self) -> Result<(), Breach> {
        let Some(node) = &self.node else { return Ok(()) };
        let Some(batch) = self.runtime.block_on(node.oldest(BATCH))? else {
            return Ok(());
        };
        let fate = self.rng.random_range(0..100);
        if fate < 12 {
            self.report.lost_before_commit += 1;
            return Ok(());
        }
        self.commit(&batch)?;
        if fate < 22 {
            self.report.arrived_twice += 1;
            self.commit(&batch)?;
        }
        if fate < 34 {
            self.report.lost_acknowledgements += 1;
            return Ok(());
        }
        if fate < 38 {
            self.report.kills_before_forgetting += 1;
            self.note("killed with an acknowledgement".to_owned());
            return self.restart(false);
        }
        self.forget(&batch)
    }

    fn commit(&mut self, batch: &PendingBatch) -> Result<(), Breach> {
        let events: Result<Vec<ReportedEvent>, _> = batch
            .events
            .iter()
            .map(|pending| pending.event.clone().try_into())
            .collect();
        let events = events.map_err(|error| Breach::Failed(error.to_string()))?;
        let node = node_id("n1")?;
        let hot = events.iter().filter_map(|event| match &event.detail {
            EventDetail::Raised(figures) if figures.condition() == Condition::Hotspot => event.tenant,
            _ => None,
        });
        let moves = hot.map(|uid| MoveDecision {
            tenant: uid,
            hot: uid,
            node: node.clone(),
        });
        let command = Command::RecordEvents {
            node: node.clone(),
            incarnation: batch.incarnation,
            moves: moves.collect(),
            events,
            tier_changes: Vec::new(),
        };
        match self.control_plane.propose(command) {
            Ok(Answer::Events {
                duplicates, superseded, ..
            }) => {
                self.report.committed += 1;
                self.report.duplicates += duplicates;
                self.report.superseded += superseded;
                Ok(())
            }
            // A restored control plane may not know this start yet: it registers again, as after a heartbeat.
            Err(Rejection::IncarnationUnknown { .. } | Rejection::NodeUnknown { .. }) => self.register_again(),
            other => Err(Breach::Failed(format!("a report came to {other:?}"))),
        }
    }

    fn register_again(&mut self) -> Result<(), Breach> {
        let Some(node) = &self.node else { return Ok(()) };
        let (id, incarnation, since) = (node.id.clone(), node.incarnation, node.record_since());
        self.register(&id, incarnation, since)?;
        if let Some(node) = &self.node {
            node.registered();
        }
        Ok(())
    }

    fn forget(&mut self, batch: &PendingBatch) -> Result<(), Breach> {
        let (Some(node), Some(last)) = (&self.node, batch.events.last()) else {
            return Ok(());
        };
        self.runtime.block_on(node.forget(batch.incarnation, last.sequence))
    }

    fn kill(&mut self) -> Result<(), Breach> {
        self.report.kills += 1;
        let disk_lost = self.rng.random_bool(0.15);
        self.note(format!("killed, disk lost: {disk_lost}"));
        self.restart(disk_lost)
    }

    fn restart(&mut self, disk_lost: bool) -> Result<(), Breach> {
        let Some(node) = self.node.take() else { return Ok(()) };
        let next = node.incarnation.get() + 1;
        let path = node.kill();
        if disk_lost {
            self.report.outboxes_lost += 1;
            for end in ["", "-wal", "-shm"] {
                let mut file = path.clone().into_os_string();
                file.push(end);
                match std::fs::remove_file(&file) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Breach::Failed(error.to_string()));
                    }
                    _ => {}
                }
            }
        }
        self.start(Incarnation(next))
    }

    /// An operator deletes a tenant, brings it back, or places it elsewhere and here again.
    fn change_a_tenant(&mut self) -> Result<(), Breach> {
        let uid = TenantUid::from_u128(self.rng.random_range(1..=TENANTS));
        let Some(tenant) = self.control_plane.state.tenant(uid).cloned() else {
            // Not in the snapshot that the control plane was restored from.
            return Ok(());
        };
        if !tenant.is_active() {
            self.note(format!("{uid} comes back"));
            self.report.undeletions += 1;
            self.control_plane.commit(Command::UndeleteTenant { uid })?;
        } else if self.rng.random_bool(0.5) {
            self.note(format!("{uid} is deleted"));
            self.report.deletions += 1;
            let purge_at = UnixMillis(u64::MAX);
            self.control_plane.commit(Command::DeleteTenant {
                uid,
                expected: None,
                purge_at,
            })?;
        } else if let Some(placement) = &tenant.placement {
            let elsewhere = if placement.node.as_str() == "n1" { "n2" } else { "n1" };
            self.note(format!("{uid} is placed on {elsewhere}"));
            self.report.moves += 1;
            self.control_plane.commit(Command::PlaceTenant {
                uid,
                node: node_id(elsewhere)?,
                expected_epoch: placement.epoch,
            })?;
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<(), Breach> {
        self.note("the control plane is restored".to_owned());
        self.report.restores += 1;
        self.control_plane.restore()?;
        self.judge.begin_again(&self.control_plane.state);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Breach> {
        let state = &self.control_plane.state;
        state.check().map_err(Breach::Inconsistent)?;
        self.judge.read(state, &mut self.report)?;
        let held = self.node.as_ref().map_or(0, Node::pending);
        if held > CAPACITY {
            return Err(Breach::BoundExceeded {
                held,
                capacity: CAPACITY,
            });
        }
        Ok(())
    }

    /// Loads stay and nothing fails any more: in the end the control plane must know the truth.
    fn settle(&mut self) -> Result<(), Breach> {
        self.note("quiet from here on".to_owned());
        // What a heartbeat does within seconds, where the control plane does not know this start.
        self.register_again()?;
        for _ in 0..QUIET_ROUNDS {
            let Some(node) = &mut self.node else { return Ok(()) };
            let proposal = node.round(&self.control_plane.state, &self.loads);
            self.runtime.block_on(node.write(&proposal))?;
            node.accept(&proposal);
            while let Some(node) = &self.node
                && let Some(batch) = self.runtime.block_on(node.oldest(BATCH))?
            {
                self.commit(&batch)?;
                self.forget(&batch)?;
                self.check()?;
            }
        }
        let state = &self.control_plane.state;
        let mut truth = BTreeMap::new();
        for (uid, load) in &self.loads {
            let placement = state.tenant_route(*uid).and_then(|route| route.placement);
            let here = placement.is_some_and(|placement| placement.node.as_str() == "n1");
            for condition in Condition::ALL {
                truth.insert((*uid, condition), here && load.is(condition));
            }
        }
        Judge::compare_with_truth(state, &truth)
    }
}

fn node_id(text: &str) -> Result<NodeId, Breach> {
    NodeId::new(text).map_err(|error| Breach::Failed(error.to_string()))
}
