//! Tells the leader that this node is there: registers at every start, then sends heartbeats with load and use.
//!
//! Nothing on the data path waits for this. While no leader answers, the node serves by the table that it has.

use std::path::PathBuf;
use std::time::Duration;

use control_client::{CallError, ControlClient};
use service_runtime::disk::disk_space;
use tenantry_proto::v1;
use tenantry_types::{ByteSize, NodeLoad, NodeSpec};
use tokio_util::sync::CancellationToken;

use crate::events::Outbox;
use crate::identity::Identity;
use crate::latest_usage::LatestUsage;
use crate::placement::SharedRoutingTable;
use tenantry_layers::meter::MeterRegistry;

/// Tenants in one heartbeat.
const MOST_USAGE: usize = 1_000;
/// Pause after a refusal.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// One call's patience; the loop goes on anyway.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds on what the leader may ask for.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// What a heartbeat is made from.
pub struct Heartbeat {
    /// How to reach the control plane.
    pub client: ControlClient,
    /// This node.
    pub identity: Identity,
    /// What it says of itself.
    pub spec: NodeSpec,
    /// What its tenants use.
    pub latest: LatestUsage,
    /// What it counted.
    pub meters: std::sync::Arc<MeterRegistry>,
    /// Its open databases.
    pub databases: crate::database::Databases,
    /// What it has to tell, and since when that is on record.
    pub outbox: std::sync::Arc<Outbox>,
    /// What it routes by.
    pub table: SharedRoutingTable,
    /// Where free disk is measured.
    pub data_dir: PathBuf,
}

impl Heartbeat {
    /// Registers and beats until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        self.client = self.client.with_timeout(CALL_TIMEOUT);
        while stop.run_until_cancelled(self.live()).await.is_some() {}
    }

    /// One life: from a registration until the leader asks for another.
    async fn live(&mut self) {
        let mut interval = loop {
            match self.register().await {
                Ok(interval) => break interval,
                Err(error) => {
                    log_failure("this node could not register", &error);
                    if matches!(error, CallError::Refused(_)) {
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                }
            }
        };
        let mut answers = self.meters.answers().total();
        let mut since = tokio::time::Instant::now();
        loop {
            let (total, now) = (self.meters.answers().total(), tokio::time::Instant::now());
            let requests_per_minute = per_minute(total.saturating_sub(answers), now - since);
            (answers, since) = (total, now);
            match self
                .client
                .placement()
                .heartbeat(self.message(requests_per_minute))
                .await
            {
                Ok(response) if response.register_again => return,
                Ok(response) => interval = bounded(response.heartbeat_interval_ms),
                Err(error) => log_failure("a heartbeat was not heard", &error),
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn register(&mut self) -> Result<Duration, CallError> {
        let request = v1::RegisterNodeRequest {
            node_id: self.identity.node.to_string(),
            incarnation: self.identity.incarnation.get(),
            spec: Some(v1::NodeSpec::from(&self.spec)),
            cluster_uid: self.identity.cluster.map(|uid| uid.to_string()).unwrap_or_default(),
            record_since: self.outbox.record_since().get(),
        };
        let response = self.client.placement().register_node(request).await?;
        match response.cluster_uid.parse() {
            Ok(cluster) => {
                let mut identity = self.identity.clone();
                let joined = tokio::task::spawn_blocking(move || identity.join(cluster).map(|()| identity)).await;
                match joined {
                    Ok(Ok(identity)) => self.identity = identity,
                    Ok(Err(error)) => tracing::error!(%error, "the cluster's identity could not be kept"),
                    Err(error) => tracing::error!(%error, "keeping the cluster's identity panicked"),
                }
                tracing::info!(%cluster, node = %self.identity.node, "this node is registered");
            }
            Err(error) => tracing::error!(%error, "the control plane sent no cluster identity"),
        }
        // Whoever does not know this start may not know what it has raised either.
        self.outbox.tell_raised_again();
        Ok(bounded(response.heartbeat_interval_ms))
    }

    fn message(&self, requests_per_minute: u64) -> v1::HeartbeatRequest {
        let (cpu_millicores, bytes) = self.latest.totals();
        let load = NodeLoad {
            open_tenants: self.databases.open_tenants().len() as u64,
            requests_per_minute,
            cpu_millicores,
            disk_used: ByteSize(bytes),
            disk_free: ByteSize(disk_space(&self.data_dir).map_or(0, |space| space.free)),
        };
        v1::HeartbeatRequest {
            node_id: self.identity.node.to_string(),
            incarnation: self.identity.incarnation.get(),
            load: Some(v1::NodeLoad::from(&load)),
            usage: self
                .latest
                .report(MOST_USAGE)
                .iter()
                .map(v1::TenantUsage::from)
                .collect(),
            routing_revision: self.table.current().revision.get(),
        }
    }
}

fn bounded(interval_ms: u64) -> Duration {
    Duration::from_millis(interval_ms).clamp(*INTERVAL.start(), *INTERVAL.end())
}

fn per_minute(count: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(count) * 60_000_000 / micros).unwrap_or(u64::MAX)
}

fn log_failure(what: &'static str, error: &CallError) {
    match error {
        CallError::Unavailable { .. } | CallError::OutcomeUnknown { .. } => tracing::debug!(%error, what),
        CallError::Refused(_) => tracing::warn!(%error, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_per_minute_whatever_the_interval() {
        assert_eq!(per_minute(10, Duration::from_secs(2)), 300);
        assert_eq!(per_minute(0, Duration::ZERO), 0);
        assert_eq!(per_minute(60, Duration::from_secs(60)), 60);
    }

    #[test]
    fn the_leader_cannot_ask_for_a_senseless_interval() {
        assert_eq!(bounded(0), Duration::from_millis(100));
        assert_eq!(bounded(u64::MAX), Duration::from_secs(60));
        assert_eq!(bounded(2_000), Duration::from_secs(2));
    }
}
