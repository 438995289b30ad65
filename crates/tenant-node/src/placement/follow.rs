//! Keeps the routing table fresh from the placement watch, and its copy on disk ahead of it.
//!
//! A table is put in force only after it is on disk: whatever this node has served, it can serve again after a crash without
//! a control plane. While one change is written, further ones gather for the next write. Whatever goes wrong here, the last
//! good table stays in force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_client::{ControlClient, RoutingPosition, RoutingUpdate, RoutingWatch, WatchError};
use prost::Message as _;
use service_runtime::readiness::Latch;
use tenantry_proto::v1::RoutingDelta;
use tenantry_types::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::disk::{RoutingFile, RoutingWriter};
use super::table::{RoutingTable, SharedRoutingTable};
use super::update::{self, InvalidRecord};

/// Pause after an error that another attempt will hardly mend.
const ERROR_PAUSE: Duration = Duration::from_secs(5);

/// Records that were refused at once and are logged each; of the others only how many.
const REPORTED_BY_NAME: usize = 10;

/// Lost watches are opened early at most once in this time, however many requests a peer sends that we do not understand.
const HURRY_PAUSE: Duration = Duration::from_millis(500);

/// Changes that wait to be written. When there are more, the watch waits, and the control plane for it.
const MOST_WAITING: usize = 1_024;

/// A table that was received.
struct Received {
    table: Arc<RoutingTable>,
    /// How it differs from the one before, as an encoded [`RoutingDelta`]; `None`: as a whole.
    change: Option<Bytes>,
}

/// Follows until `stop`. `known` is released as soon as there is a table to serve by.
pub async fn follow(
    client: ControlClient,
    node: NodeId,
    table: SharedRoutingTable,
    file: RoutingFile,
    known: Latch,
    stop: CancellationToken,
) {
    let (received, next) = mpsc::channel(MOST_WAITING);
    let putting = put_in_force(table.clone(), file.writer(), next, known);
    let watching = watch(client, node, table, received);
    stop.run_until_cancelled(async { tokio::join!(putting, watching) })
        .await;
}

/// Writes what was received, then routes by it. A table that cannot be written is put in force all the same: serving goes
/// before surviving a crash that may never come.
async fn put_in_force(
    table: SharedRoutingTable,
    mut writer: RoutingWriter,
    mut next: mpsc::Receiver<Received>,
    known: Latch,
) {
    let mut gathered = Vec::new();
    while next.recv_many(&mut gathered, MOST_WAITING).await > 0 {
        let Some(newest) = gathered.last().map(|received| Arc::clone(&received.table)) else {
            continue;
        };
        let changes: Option<Vec<Bytes>> = gathered.drain(..).map(|received| received.change).collect();
        let copy = Arc::clone(&newest);
        let writing = tokio::task::spawn_blocking(move || {
            let written = match &changes {
                Some(changes) => writer.append(changes, &copy),
                None => writer.write(&copy),
            };
            (writer, written)
        });
        let written;
        (writer, written) = match writing.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "writing the routing table panicked; tables are not followed any more");
                return;
            }
        };
        if let Err(error) = written {
            metrics::counter!("tenantry_node_routing_write_failures_total").increment(1);
            tracing::error!(%error, "the routing table's copy on disk could not be written");
        }
        metrics::gauge!("tenantry_node_routing_revision").set(precise(newest.revision.get()));
        metrics::gauge!("tenantry_node_routing_refused_records").set(precise(newest.refused_records() as u64));
        table.replace(newest);
        known.release();
    }
}

/// Hands every new table to `received`. Where a peer knows more than `table`, a lost watch is opened again without a wait.
async fn watch(client: ControlClient, node: NodeId, table: SharedRoutingTable, received: mpsc::Sender<Received>) {
    let mut current = table.current();
    let position = RoutingPosition {
        cluster_uid: current.cluster,
        cluster_epoch: current.cluster_epoch,
        revision: current.revision,
        digest: current.digest(),
    };
    let mut watch = RoutingWatch::new(client, node.to_string(), position);
    let mut digests = Digests::Comparable;
    let mut hurried: Option<Instant> = None;
    loop {
        let next = tokio::select! {
            biased;
            next = watch.next() => next,
            () = table.refresh_asked() => {
                if hurried.is_none_or(|hurried| hurried.elapsed() >= HURRY_PAUSE) {
                    hurried = Some(Instant::now());
                    watch.hurry();
                }
                continue;
            }
        };
        let update = match next {
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
        match take_in(&current, &mut digests, update) {
            Taken::Table { table, change, refused } => {
                report(&refused);
                current = Arc::new(*table);
                if digests == Digests::Comparable {
                    watch.confirm(current.digest());
                }
                let table = Arc::clone(&current);
                if received.send(Received { table, change }).await.is_err() {
                    return;
                }
            }
            Taken::Same => {}
            Taken::Diverged => {
                metrics::counter!("tenantry_node_routing_diverged_total").increment(1);
                tracing::warn!("the routing table differs from the control plane's and is fetched anew");
                watch.start_over();
            }
        }
    }
}

/// Whether the control plane's digests can be compared with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digests {
    /// They can.
    Comparable,
    /// The last snapshot as a whole had another digest than we computed of it: a member of another version knows fields that
    /// we do not. To fetch the table anew would not help.
    OfAnotherVersion,
}

/// What became of an update.
enum Taken {
    /// Another table, how it differs from the one before, unless that is as a whole, and what of it was refused.
    Table {
        table: Box<RoutingTable>,
        change: Option<Bytes>,
        refused: Vec<InvalidRecord>,
    },
    /// The table is what it should be.
    Same,
    /// The table is not what it should be.
    Diverged,
}

/// Counts and reports records that were refused: all of them, and the first few by name, since a faulty control plane may
/// send as many as there are tenants.
fn report(refused: &[InvalidRecord]) {
    if refused.is_empty() {
        return;
    }
    metrics::counter!("tenantry_node_routing_refused_total").increment(refused.len() as u64);
    for error in refused.iter().take(REPORTED_BY_NAME) {
        tracing::error!(%error, "the control plane sent a record that makes no sense; the last good one stays in force");
    }
    if let Some(more) = refused.len().checked_sub(REPORTED_BY_NAME).filter(|more| *more > 0) {
        tracing::error!(more, "further records make no sense");
    }
}

fn take_in(current: &RoutingTable, digests: &mut Digests, update: RoutingUpdate) -> Taken {
    match update {
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
            let records = RoutingDelta {
                revision: revision.get(),
                removed_tenant_uids: Vec::new(),
                tenants,
                nodes,
                token_keys: keys,
                tiers,
            };
            let (table, refused) = update::replace(current, (cluster_uid, cluster_epoch), records);
            *digests = match table.digest() == digest {
                true => Digests::Comparable,
                false => Digests::OfAnotherVersion,
            };
            Taken::Table {
                table: Box::new(table),
                change: None,
                refused,
            }
        }
        RoutingUpdate::Changed(delta) => changed(current, delta),
        RoutingUpdate::Bookmark { digest, .. } if *digests == Digests::Comparable && current.digest() != digest => {
            Taken::Diverged
        }
        RoutingUpdate::Bookmark { revision, .. } if revision <= current.revision => Taken::Same,
        RoutingUpdate::Bookmark { revision, .. } => {
            let nothing = RoutingDelta {
                revision: revision.get(),
                ..RoutingDelta::default()
            };
            changed(current, nothing)
        }
    }
}

fn changed(current: &RoutingTable, delta: RoutingDelta) -> Taken {
    let bytes = Bytes::from(delta.encode_to_vec());
    let mut table = current.clone();
    let refused = update::change(&mut table, delta);
    Taken::Table {
        table: Box::new(table),
        change: Some(bytes),
        refused,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows floats alone; revisions stay far below 2^53"
)]
const fn precise(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use tenantry_proto::convert::digest;
    use tenantry_proto::v1;
    use tenantry_types::{ClusterEpoch, ClusterUid, Revision};

    use super::*;
    use crate::placement::table_tests::route;

    fn replaced(digest: u64) -> RoutingUpdate {
        RoutingUpdate::Replaced {
            revision: Revision(5),
            cluster_uid: ClusterUid::from_u128(1),
            cluster_epoch: ClusterEpoch(1),
            tenants: vec![v1::TenantRoute::from(&route(1, "acme", "node-1"))],
            nodes: Vec::new(),
            keys: Vec::new(),
            tiers: Vec::new(),
            digest,
        }
    }

    fn bookmark(revision: u64, digest: u64) -> RoutingUpdate {
        RoutingUpdate::Bookmark {
            revision: Revision(revision),
            digest,
        }
    }

    fn table(taken: Taken) -> RoutingTable {
        match taken {
            Taken::Table { table, .. } => *table,
            _ => panic!("a table was expected"),
        }
    }

    #[test]
    fn a_refused_record_is_no_reason_to_fetch_the_table_again_and_again() {
        let good = v1::TenantRoute::from(&route(1, "acme", "node-1"));
        let mut bad = good.clone();
        bad.tier = 99;
        let mut digests = Digests::Comparable;
        let first = table(take_in(&RoutingTable::default(), &mut digests, replaced(0)));
        let theirs = first.digest() ^ digest::tenant_route(&good) ^ digest::tenant_route(&bad);
        let mut whole = replaced(theirs);
        if let RoutingUpdate::Replaced { tenants, .. } = &mut whole {
            *tenants = vec![bad.clone()];
        }
        let change = RoutingUpdate::Changed(RoutingDelta {
            revision: 6,
            tenants: vec![bad],
            ..RoutingDelta::default()
        });
        for update in [whole, change] {
            let Taken::Table { table, refused, .. } = take_in(&first, &mut digests, update) else {
                panic!("a table was expected");
            };
            assert_eq!((refused.len(), table.refused_records()), (1, 1));
            assert_eq!((table.digest(), digests), (theirs, Digests::Comparable));
            let known = take_in(&table, &mut digests, bookmark(table.revision.get(), theirs));
            assert!(matches!(known, Taken::Same));
        }
    }

    #[test]
    fn a_digest_that_differs_is_noticed_unless_the_other_side_is_of_another_version() {
        let mut digests = Digests::Comparable;
        let first = table(take_in(&RoutingTable::default(), &mut digests, replaced(0)));
        assert_eq!(digests, Digests::OfAnotherVersion);
        let digest = first.digest();
        assert!(matches!(
            take_in(&first, &mut digests, bookmark(5, digest ^ 1)),
            Taken::Same
        ));
        let same = table(take_in(&first, &mut digests, replaced(digest)));
        assert_eq!(digests, Digests::Comparable);
        assert!(matches!(
            take_in(&same, &mut digests, bookmark(6, digest ^ 1)),
            Taken::Diverged
        ));
        let later = table(take_in(&same, &mut digests, bookmark(6, digest)));
        assert_eq!((later.revision, later.digest()), (Revision(6), digest));
    }
}
