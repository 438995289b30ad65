//! Keeps the routing table fresh from the placement watch, and its copy on disk ahead of it.
//!
//! A table is put in force only after its copy is on disk: whatever this node has served, it can serve again after a crash
//! without a control plane. While one copy is written, further changes gather for the next. Whatever goes wrong here, the
//! last good table stays in force.

use std::sync::Arc;
use std::time::Duration;

use control_client::{ControlClient, RoutingPosition, RoutingUpdate, RoutingWatch, WatchError};
use service_runtime::readiness::Latch;
use tenantry_types::NodeId;
use tokio::sync::watch as latest;
use tokio_util::sync::CancellationToken;

use super::disk::RoutingFile;
use super::table::{RoutingTable, SharedRoutingTable};
use super::update;

/// Pause after an error that another attempt will hardly mend.
const ERROR_PAUSE: Duration = Duration::from_secs(5);

/// Follows until `stop`. `known` is released as soon as there is a table to serve by.
pub async fn follow(
    client: ControlClient,
    node: NodeId,
    table: SharedRoutingTable,
    file: RoutingFile,
    known: Latch,
    stop: CancellationToken,
) {
    let (received, next) = latest::channel(table.current());
    let putting = put_in_force(table, file, next, known);
    let watching = watch(client, node, received);
    stop.run_until_cancelled(async { tokio::join!(putting, watching) })
        .await;
}

/// Writes each received table, then routes by it. A table that cannot be written is put in force all the same: serving
/// goes before surviving a crash that may never come.
async fn put_in_force(
    table: SharedRoutingTable,
    file: RoutingFile,
    mut next: latest::Receiver<Arc<RoutingTable>>,
    known: Latch,
) {
    while next.changed().await.is_ok() {
        let received = Arc::clone(&next.borrow_and_update());
        let (file, copy) = (file.clone(), Arc::clone(&received));
        match tokio::task::spawn_blocking(move || file.write(&copy)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                metrics::counter!("tenantry_node_routing_write_failures_total").increment(1);
                tracing::error!(%error, "the routing table's copy on disk could not be written");
            }
            Err(error) => tracing::error!(%error, "writing the routing table panicked"),
        }
        metrics::gauge!("tenantry_node_routing_revision").set(precise(received.revision.get()));
        table.replace(received);
        known.release();
    }
}

/// Hands every new table to `received`.
async fn watch(client: ControlClient, node: NodeId, received: latest::Sender<Arc<RoutingTable>>) {
    let current = Arc::clone(&received.borrow());
    let position = RoutingPosition {
        cluster_uid: current.cluster,
        cluster_epoch: current.cluster_epoch,
        revision: current.revision,
        digest: current.digest(),
    };
    drop(current);
    let mut watch = RoutingWatch::new(client, node.to_string(), position);
    loop {
        let update = match watch.next().await {
            Ok(update) => update,
            Err(error @ WatchError::OtherCluster { .. }) => {
                tracing::error!(%error, "the control plane is not this node's; its placements are not followed");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
            Err(WatchError::Refused(refusal)) => {
                tracing::warn!(%refusal, "the placement watch was refused");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let current = Arc::clone(&received.borrow());
        match take_in(&current, update) {
            Taken::Table { table: next, digest } => {
                watch.confirm(digest);
                received.send_replace(Arc::new(*next));
            }
            Taken::Same => {}
            Taken::Diverged => {
                tracing::warn!("the routing table differs from the control plane's and is fetched anew");
                watch.start_over();
            }
            Taken::Refused(error) => {
                metrics::counter!("tenantry_node_routing_refused_total").increment(1);
                tracing::error!(%error, "the control plane sent a record that makes no sense; the last good table stays");
                watch.start_over();
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// What became of an update.
enum Taken {
    /// Another table, and its digest.
    Table { table: Box<RoutingTable>, digest: u64 },
    /// The table is what it should be.
    Same,
    /// The table is not what it should be.
    Diverged,
    /// The update cannot be used.
    Refused(update::InvalidRecord),
}

fn take_in(current: &RoutingTable, update: RoutingUpdate) -> Taken {
    let next = match update {
        RoutingUpdate::Replaced {
            revision,
            cluster_uid,
            cluster_epoch,
            tenants,
            nodes,
            keys,
            tiers,
            digest,
        } => {
            if cluster_epoch > current.cluster_epoch && !current.is_empty() {
                tracing::warn!(
                    from = %current.cluster_epoch,
                    to = %cluster_epoch,
                    "the control plane was restored from a snapshot; its table replaces this node's"
                );
            }
            let cluster = (cluster_uid, cluster_epoch);
            let replaced = update::replace(revision, cluster, tenants, nodes, keys, tiers);
            if let Ok(table) = &replaced
                && table.digest() != digest
            {
                // A member of another version may know fields that we do not. The table is right as far as we can tell.
                tracing::debug!("the snapshot's digest is not ours");
            }
            replaced
        }
        RoutingUpdate::Changed(delta) => {
            let mut next = current.clone();
            update::change(&mut next, delta).map(|()| next)
        }
        RoutingUpdate::Bookmark { revision, digest } => {
            if current.digest() != digest {
                return Taken::Diverged;
            }
            let mut next = current.clone();
            next.revision = revision.max(current.revision);
            return if next.revision == current.revision {
                Taken::Same
            } else {
                Taken::Table {
                    table: Box::new(next),
                    digest,
                }
            };
        }
    };
    match next {
        Ok(table) => {
            let digest = table.digest();
            Taken::Table {
                table: Box::new(table),
                digest,
            }
        }
        Err(error) => Taken::Refused(error),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows floats alone; revisions stay far below 2^53"
)]
const fn precise(value: u64) -> f64 {
    value as f64
}
