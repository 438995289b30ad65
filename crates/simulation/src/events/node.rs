//! A node as far as events go: a real detector for each tenant and the real outbox, on a real file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tenant_node::conditions::{Detector, Surroundings};
use tenant_node::events::{Batch, NewEvent, Outbox, PendingBatch};
use tenantry_state::State;
use tenantry_types::{
    ClusterEpoch, Condition, EffectiveQuota, Epoch, EventDetail, GrowthRate, HotspotScore, Incarnation, NodeId,
    ReportSequence, TenantUid, TenantUsage, Tier, TierDefinition, UnixMillis,
};

use super::violation::Breach;

/// Events that an outbox keeps: few, so that it is often full.
pub(super) const CAPACITY: u64 = 9;
/// Processor time of the node, in thousandths of one core.
const NODE_MILLICORES: u64 = 2_000;

/// What a tenant does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Near all of its limits.
    pub(super) hot: bool,
    /// Takes the node's processors.
    pub(super) exceeds: bool,
}

impl Load {
    /// Whether `condition` holds.
    pub(super) const fn is(self, condition: Condition) -> bool {
        match condition {
            Condition::Hotspot => self.hot,
            Condition::NodeExceeded => self.exceeds,
            Condition::Spike => false,
        }
    }
}

/// What is remembered of a tenant.
#[derive(Default)]
struct Watched {
    detector: Detector,
    /// The number of the placement within a life of the cluster; `None` while nothing was raised under it.
    placement: Option<u64>,
}

/// A running node.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) incarnation: Incarnation,
    path: PathBuf,
    outbox: Outbox,
    watched: BTreeMap<TenantUid, Watched>,
    /// Left over from the record until the tenant is sampled.
    resumed: BTreeMap<TenantUid, Watched>,
    cluster_epoch: ClusterEpoch,
}

/// What a round came to, before it is on disk.
pub(super) struct Proposal {
    batch: Batch,
    changes: Vec<(TenantUid, EventDetail)>,
}

impl Proposal {
    /// Whether there is nothing to write.
    pub(super) const fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

impl Node {
    /// Starts on what is in `folder`.
    pub(super) fn start(id: NodeId, folder: &Path, incarnation: Incarnation) -> Result<Self, Breach> {
        let path = folder.join("outbox.db");
        let (outbox, record) =
            Outbox::open(&path, incarnation, CAPACITY).map_err(|error| Breach::Failed(format!("{error:?}")))?;
        let resumed = record.tenants.iter().map(|(uid, kept)| {
            let watched = Watched {
                detector: Detector::resumed(&kept.raised, kept.class),
                placement: kept.epoch.map(Epoch::within_life),
            };
            (*uid, watched)
        });
        Ok(Self {
            id,
            incarnation,
            path,
            resumed: resumed.collect(),
            outbox,
            watched: BTreeMap::new(),
            cluster_epoch: ClusterEpoch::ZERO,
        })
    }

    /// The start that began the record.
    pub(super) const fn record_since(&self) -> Incarnation {
        self.outbox.record_since()
    }

    /// It has registered, and tells everything that is raised again.
    pub(super) fn registered(&self) {
        self.outbox.tell_raised_again();
    }

    /// Ends as after a kill: what was on its way to the disk is not waited for by anybody. Gives back the file.
    pub(super) fn kill(self) -> PathBuf {
        self.outbox.close();
        self.path
    }

    /// Samples every tenant that the routing table places here.
    pub(super) fn round(&mut self, state: &State, loads: &BTreeMap<TenantUid, Load>) -> Proposal {
        let now = UnixMillis(state.clock().0);
        let epoch = state.cluster().map_or(ClusterEpoch::ZERO, |cluster| cluster.epoch);
        if self.cluster_epoch != ClusterEpoch::ZERO && self.cluster_epoch != epoch {
            self.outbox.tell_raised_again();
        }
        self.cluster_epoch = epoch;
        let mut proposal = Proposal {
            batch: Batch::default(),
            changes: Vec::new(),
        };
        for (uid, load) in loads {
            let placement = state.tenant_route(*uid).and_then(|route| route.placement);
            let here = placement.filter(|placement| placement.node == self.id);
            match here {
                None => {
                    let known = self.watched.remove(uid).is_some() || self.resumed.remove(uid).is_some();
                    proposal.batch.gone.extend(known.then_some(*uid));
                }
                Some(placement) => self.sample(*uid, *load, placement.epoch, now, state, &mut proposal),
            }
        }
        proposal
    }

    fn sample(
        &mut self,
        uid: TenantUid,
        load: Load,
        placement: Epoch,
        now: UnixMillis,
        state: &State,
        proposal: &mut Proposal,
    ) {
        let resumed = self.resumed.remove(&uid);
        let watched = self.watched.entry(uid).or_insert_with(|| resumed.unwrap_or_default());
        let before = watched.placement.replace(placement.within_life());
        if before.is_some_and(|before| before != placement.within_life()) && watched.detector.is_anything_raised() {
            watched.detector.forget_conditions();
            proposal.batch.measured_anew.push(uid);
        }
        let tiers: Vec<_> = state.tiers().iter().copied().collect();
        let around = Surroundings {
            tiers: &tiers,
            node_millicores: NODE_MILLICORES,
        };
        for detail in watched.detector.sample(now, &usage(uid, load, now), None, around) {
            if matches!(detail, EventDetail::Raised(_) | EventDetail::Cleared(_)) {
                proposal.batch.events.push(NewEvent {
                    occurred_at: now,
                    tenant: Some(uid),
                    epoch: Some(placement),
                    detail: detail.clone(),
                });
                proposal.changes.push((uid, detail));
            }
        }
    }

    /// Puts a round on disk.
    pub(super) async fn write(&self, proposal: &Proposal) -> Result<(), Breach> {
        let written = self.outbox.append(proposal.batch.clone()).await;
        written.map_err(|error| Breach::Failed(format!("{error:?}")))
    }

    /// Goes on from what is on disk.
    pub(super) fn accept(&mut self, proposal: &Proposal) {
        for (uid, detail) in &proposal.changes {
            if let Some(watched) = self.watched.get_mut(uid) {
                watched.detector.accept(detail);
            }
        }
    }

    /// The next events to report.
    pub(super) async fn oldest(&self, most: usize) -> Result<Option<PendingBatch>, Breach> {
        let oldest = self.outbox.oldest(most).await;
        oldest.map_err(|error| Breach::Failed(format!("{error:?}")))
    }

    /// Forgets what is committed.
    pub(super) async fn forget(&self, incarnation: Incarnation, upto: ReportSequence) -> Result<(), Breach> {
        let forgotten = self.outbox.acknowledge(incarnation, upto).await;
        forgotten.map_err(|error| Breach::Failed(format!("{error:?}")))
    }

    /// How many events wait.
    pub(super) fn pending(&self) -> u64 {
        *self.outbox.pending().borrow()
    }
}

/// A sample of a tenant that does that.
fn usage(uid: TenantUid, load: Load, now: UnixMillis) -> TenantUsage {
    let quota: EffectiveQuota = TierDefinition::built_in(Tier::Small).quota;
    let cpu = if load.exceeds {
        NODE_MILLICORES
    } else if load.hot {
        u64::from(quota.cpu_millicores)
    } else {
        0
    };
    let near = |limit: u64| if load.hot { limit } else { 0 };
    TenantUsage {
        tenant: uid,
        epoch: Epoch(1),
        measured_at: now,
        quota,
        requests_last_day: near(quota.requests_per_day),
        concurrent_requests: 0,
        database_bytes: near(quota.database_bytes),
        wal_bytes: 0,
        free_bytes: 0,
        growth: GrowthRate::NotEnoughData,
        requests_last_minute: 0,
        errors_last_minute: 0,
        peak_requests_per_minute: 0,
        average_response_micros: None,
        error_ratio: None,
        cpu_millicores: cpu,
        memory_bytes: near(quota.memory_bytes),
        rows_read: 0,
        rows_written: 0,
        observed_class: Tier::Small,
        hotspot: HotspotScore::default(),
    }
}
