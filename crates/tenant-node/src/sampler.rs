//! Once per sample period: takes every measured tenant's figures, publishes them, and hands what changed to the outbox.

use std::sync::Arc;
use std::time::Duration;

use tenantry_types::NodeId;
use tokio_util::sync::CancellationToken;

use crate::events::Outbox;
use crate::latest_usage::LatestUsage;
use crate::metrics::{Exposition, NodeFigures};
use crate::usage::UsageReader;

/// Quotas of tenants that were quiet for this long are written and forgotten. Nothing is counted any more by then, so that a sample needs
/// no ledger: 24 hours, and a bucket.
const QUOTA_QUIET: Duration = Duration::from_secs(24 * 60 * 60 + 150);

/// What the sampler works with.
pub struct Sampler {
    /// This node.
    pub node: NodeId,
    /// Reads the figures.
    pub reader: UsageReader,
    /// Shows them at `/metrics`.
    pub exposition: Arc<Exposition>,
    /// Takes what changed.
    pub outbox: Arc<Outbox>,
    /// Takes the figures for the heartbeat.
    pub latest: LatestUsage,
    /// How often.
    pub interval: Duration,
}

impl Sampler {
    /// Samples until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        // After a stall the next period starts now; a burst of samples would look like a burst of load.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.round().await;
            self.reader.quotas.forget_idle(QUOTA_QUIET).await;
        }
    }

    async fn round(&self) {
        let table = self.reader.table.current();
        let mut samples = Vec::new();
        for meter in self.reader.meters.metered() {
            let here = |placement: &tenantry_types::Placement| placement.node == self.node;
            let route = table
                .tenant(meter.uid())
                .filter(|route| route.placement.as_ref().is_some_and(here));
            let Some(route) = route else {
                // Deleted or moved: its figures are another node's, or nobody's.
                self.reader.forget(meter.uid());
                continue;
            };
            let Some((sample, events)) = self.reader.sample(route) else {
                tracing::debug!(tenant = %route.name, "a tenant without its ledger is not sampled");
                continue;
            };
            let now = self.reader.clock.now().wall;
            for detail in events {
                self.outbox.append(now, Some(route.uid), detail);
            }
            samples.push(sample);
        }
        samples.sort_by_key(|sample| std::cmp::Reverse((sample.requests_last_hour, sample.usage.tenant)));
        self.latest
            .replace(samples.iter().map(|sample| sample.usage.clone()).collect());
        let open = self.reader.databases.open_tenants().len() as u64;
        let figures = NodeFigures::gather(open, &self.reader.meters, &self.reader.quotas);
        let exposition = Arc::clone(&self.exposition);
        if let Err(error) = tokio::task::spawn_blocking(move || exposition.publish(&figures, &samples)).await {
            tracing::error!(%error, "publishing the figures panicked");
        }
    }
}
