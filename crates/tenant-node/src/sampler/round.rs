//! One round of samples: who is looked at, what is found, and what is to be written of it.
//!
//! Nothing that changes is taken for granted here: a round proposes, and whoever has it on disk says so with
//! [`Rounds::accept`]. Until then every round proposes again what still holds. Blocks: sizes of files are read.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_types::{ClusterEpoch, EventDetail, NodeId, TenantRoute, TenantUid};

use super::attention::{self, Attention};
use super::busiest::Busiest;
use crate::conditions::{HourClock, HourRing, Surroundings, Tick};
use crate::events::{Batch, NewEvent, Record};
use crate::metrics::{Changes, Period, Sample};
use crate::placement::RoutingTable;
use crate::usage::UsageReader;

/// Tenants whose hours are written in one round.
const HOURS_AT_ONCE: usize = 1_000;
/// Microseconds of processor time that weigh as much as a request.
const MICROS_PER_REQUEST: u64 = 100;
/// The busiest that are sampled in every round, for each core, and at least.
const BUSIEST_PER_CORE: u64 = 32;
const BUSIEST_AT_LEAST: u64 = 256;

/// What a round is told.
#[derive(Debug, Clone)]
pub struct RoundOptions {
    /// This node.
    pub node: NodeId,
    /// Its processor time, in thousandths of one core.
    pub node_millicores: u64,
    /// How often rounds come.
    pub interval: Duration,
}

/// What is remembered from round to round.
pub struct Rounds {
    options: RoundOptions,
    reader: UsageReader,
    busiest: Busiest,
    attention: Attention,
    /// Tenants of which an earlier process left something to follow: their ledgers are read before they are sampled.
    resumed: BTreeSet<TenantUid>,
    last_resumed: Option<TenantUid>,
    clock: HourClock,
    served: Option<HourRing>,
    active_this_hour: HashSet<TenantUid>,
    /// Whose finished hours are not on disk yet.
    unwritten: BTreeSet<TenantUid>,
    served_unwritten: bool,
    /// The last hour that was seen as a whole.
    finished: Option<u64>,
    config_refused: bool,
    cluster_epoch: ClusterEpoch,
    /// Tenants that are not here any more, and whose records still are.
    gone: BTreeSet<TenantUid>,
}

/// What a round found.
#[derive(Debug)]
pub struct Round {
    /// Of those that were sampled.
    pub samples: Vec<Sample>,
    /// Tenants that are not served here any more.
    pub gone: Vec<TenantUid>,
    /// What is to be written, and what to accept when it is.
    pub proposal: Proposal,
    /// Whether the control plane began another life, and knows nothing of what is raised.
    pub control_plane_restored: bool,
    /// How long it took.
    pub took: Duration,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Proposal {
    /// All of it at once.
    pub batch: Batch,
    /// What holds then.
    pub then: Accepted,
}

/// What holds once a batch is on disk.
#[derive(Debug, Default)]
pub struct Accepted {
    changes: Vec<(TenantUid, Changes)>,
    hours: Vec<TenantUid>,
    served: bool,
    finished: Option<u64>,
    config_refused: Option<bool>,
    gone: Vec<TenantUid>,
}

impl Rounds {
    /// Goes on from what is on record.
    #[must_use]
    pub fn new(options: RoundOptions, reader: UsageReader, record: Record) -> Self {
        let places = (options.node_millicores / 1000 * BUSIEST_PER_CORE).max(BUSIEST_AT_LEAST);
        let mut attention = Attention::default();
        let mut resumed = BTreeSet::new();
        for (uid, kept) in &record.tenants {
            attention.know(*uid);
            if !kept.raised.is_empty() || kept.class.is_some_and(|record| record.fall.is_some()) {
                resumed.insert(*uid);
            }
        }
        reader.sampled.resume(record.tenants);
        Self {
            options,
            reader,
            busiest: Busiest::new(usize::try_from(places).unwrap_or(usize::MAX)),
            attention,
            resumed,
            last_resumed: None,
            clock: HourClock::default(),
            served: record.served,
            active_this_hour: HashSet::new(),
            unwritten: BTreeSet::new(),
            served_unwritten: false,
            finished: None,
            config_refused: record.config_refused,
            cluster_epoch: ClusterEpoch::ZERO,
            gone: BTreeSet::new(),
        }
    }

    /// Tenants, at most `most` in turn, that are followed from an earlier process on as soon as [`Self::follow`] says that their
    /// ledgers are read.
    #[must_use]
    pub fn to_follow(&mut self, most: usize) -> Vec<Arc<TenantRoute>> {
        let table = self.reader.table.current();
        let next = attention::in_turn(&self.resumed, &mut self.last_resumed, most);
        let here = next.into_iter().filter_map(|uid| self.here(&table, uid));
        here.cloned().collect()
    }

    /// That tenant's ledger is read.
    pub fn follow(&mut self, route: &TenantRoute) {
        self.resumed.remove(&route.uid);
        // From its meter on it is sampled like one that had a request.
        self.reader.meters.meter(route.uid, &route.name);
        self.attention.watch(route.uid, true);
    }

    /// Takes a round of samples.
    pub fn round(&mut self) -> Round {
        let began = Instant::now();
        let table = self.reader.table.current();
        let tick = self.hour();
        let mut gone = self.count_active(&table, tick.hour);
        let turn = attention::turn(
            self.attention.known(),
            self.options.interval,
            self.reader.sampled.growth_window(),
        );
        let chosen = self.attention.choose(self.busiest.tenants(), turn);
        self.busiest.clear();
        let mut proposal = Proposal::default();
        let mut samples = Vec::with_capacity(chosen.len());
        for uid in chosen {
            match self.here(&table, uid).cloned() {
                Some(route) => samples.extend(self.sample(&table, &route, tick, &mut proposal)),
                // Not deleted or moved, as far as anybody knows.
                None if table.is_empty() => {}
                None => {
                    self.forget(uid);
                    gone.push(uid);
                }
            }
        }
        self.propose_the_rest(&table, &mut proposal);
        let known_before = self.cluster_epoch != ClusterEpoch::ZERO;
        let before = std::mem::replace(&mut self.cluster_epoch, table.cluster_epoch);
        Round {
            samples,
            gone,
            proposal,
            control_plane_restored: known_before && before != table.cluster_epoch,
            took: began.elapsed(),
        }
    }

    /// Goes on from what is on disk by now.
    pub fn accept(&mut self, accepted: &Accepted) {
        for (uid, changes) in &accepted.changes {
            self.reader.sampled.tenant(*uid).accept(changes);
        }
        // If another hour is over by now, it is written with the next batch, and these again.
        if accepted.finished == self.finished {
            for uid in &accepted.hours {
                self.unwritten.remove(uid);
            }
            self.served_unwritten &= !accepted.served;
        }
        self.config_refused = accepted.config_refused.unwrap_or(self.config_refused);
        for uid in &accepted.gone {
            self.gone.remove(uid);
        }
    }

    /// Looks at the clock, and closes the hour that is over.
    fn hour(&mut self) -> Tick {
        let tick = self.clock.tick(self.reader.clock.now());
        if let Some(hour) = tick.finished {
            let served = self
                .served
                .get_or_insert_with(|| HourRing::unknown_until(hour.saturating_sub(1)));
            served.record(hour, 0);
            for uid in &self.active_this_hour {
                self.reader.sampled.tenant(*uid).finish_hour(hour, served);
            }
            self.unwritten.extend(&self.active_this_hour);
            self.finished = Some(hour);
            self.served_unwritten = true;
        }
        if tick.changed {
            self.active_this_hour.clear();
        }
        tick
    }

    /// Counts what tenants did since the last round. Those that are not served here are given back.
    fn count_active(&mut self, table: &RoutingTable, hour: u64) -> Vec<TenantUid> {
        let mut gone = Vec::new();
        for meter in self.reader.meters.take_active() {
            let uid = meter.uid();
            if self.here(table, uid).is_none() {
                if !table.is_empty() {
                    self.forget(uid);
                    gone.push(uid);
                }
                continue;
            }
            self.attention.know(uid);
            let cpu = self.reader.databases.cpu_micros(uid);
            let (answers, micros) = self.reader.sampled.tenant(uid).count(meter.answers(), cpu, hour);
            self.busiest.add(uid, answers + micros / MICROS_PER_REQUEST);
            if answers > 0 {
                self.active_this_hour.insert(uid);
            }
        }
        gone
    }

    fn sample(
        &mut self,
        table: &RoutingTable,
        route: &TenantRoute,
        tick: Tick,
        proposal: &mut Proposal,
    ) -> Option<Sample> {
        // One of which there is only a record has nothing to be sampled.
        self.reader.meters.metered_tenant(route.uid)?;
        let period = Period {
            around: Surroundings {
                tiers: table.tiers(),
                node_millicores: self.options.node_millicores,
            },
            hour: tick.hour,
            settled: tick.settled,
            served: self.served.as_ref(),
        };
        let Some((sample, changes)) = self.reader.sample(route, &period) else {
            tracing::debug!(tenant = %route.name, "a tenant without its ledger is not sampled");
            return None;
        };
        let usage = &sample.usage;
        let live = usage.requests_last_minute > 0 || usage.concurrent_requests > 0 || usage.cpu_millicores > 0;
        let needed = live || self.reader.sampled.tenant(route.uid).needs_another_look();
        self.attention.watch(route.uid, needed);
        if !changes.is_empty() {
            let batch = &mut proposal.batch;
            batch.events.extend(changes.events.iter().map(|detail| NewEvent {
                occurred_at: usage.measured_at,
                tenant: Some(route.uid),
                epoch: Some(usage.epoch),
                detail: detail.clone(),
            }));
            batch.classes.extend(changes.class.map(|class| (route.uid, class)));
            if changes.measured_anew {
                batch.measured_anew.push(route.uid);
            }
            proposal.then.changes.push((route.uid, changes));
        }
        Some(sample)
    }

    /// Hours, whether records are refused, and who is gone.
    fn propose_the_rest(&self, table: &RoutingTable, proposal: &mut Proposal) {
        let Proposal { batch, then } = proposal;
        then.finished = self.finished;
        for uid in self.unwritten.iter().take(HOURS_AT_ONCE) {
            let hours = self.reader.sampled.tenant(*uid).hours();
            batch.hours.extend(hours.map(|hours| (*uid, hours)));
            then.hours.push(*uid);
        }
        // After the tenants': an hour that is on record as served, and not on a tenant's, counts as one without requests.
        if self.served_unwritten && then.hours.len() == self.unwritten.len() {
            batch.served.clone_from(&self.served);
            then.served = true;
        }
        let refused = table.refused_records() as u64;
        if self.reader.table.is_followed() && (refused > 0) != self.config_refused {
            batch.events.push(NewEvent {
                occurred_at: self.reader.clock.now().wall,
                tenant: None,
                epoch: None,
                detail: match refused {
                    0 => EventDetail::ConfigAccepted,
                    records => EventDetail::ConfigRefused {
                        records,
                        example: table.refused_example().to_owned(),
                    },
                },
            });
            then.config_refused = Some(refused > 0);
        }
        batch.gone.extend(self.gone.iter().take(HOURS_AT_ONCE));
        then.gone.clone_from(&batch.gone);
    }

    /// Deleted or moved: its figures are another node's, or nobody's.
    fn forget(&mut self, uid: TenantUid) {
        self.reader.forget(uid);
        self.attention.forget(uid);
        self.resumed.remove(&uid);
        self.active_this_hour.remove(&uid);
        self.unwritten.remove(&uid);
        self.gone.insert(uid);
    }

    fn here<'a>(&self, table: &'a RoutingTable, uid: TenantUid) -> Option<&'a Arc<TenantRoute>> {
        let here = |placement: &tenantry_types::Placement| placement.node == self.options.node;
        table
            .tenant(uid)
            .filter(|route| route.placement.as_ref().is_some_and(here))
    }
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;
