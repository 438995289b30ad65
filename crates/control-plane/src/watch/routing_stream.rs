//! One watcher's stream of the routing table: a snapshot if it needs one, then changes, and bookmarks while it is quiet.

use std::sync::Arc;
use std::time::Duration;

use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_proto::v1::{self, PlacementServiceWatchResponse};
use tenantry_types::{ClusterEpoch, ClusterUid, Revision};
use tokio::sync::mpsc;
use tonic::Status;

use super::Since;
use crate::machine::{Published, PublishedState};

/// A quiet stream says every so often how far it has come.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);
/// Tenants in one message of a snapshot; well below gRPC's usual limit of 4 MiB.
const TENANTS_PER_MESSAGE: usize = 2_000;
/// Changes taken from the history at once.
const DELTAS_AT_ONCE: usize = 256;

/// Where a watcher stands.
#[derive(Debug, Clone, Copy)]
pub struct RoutingCursor {
    /// The revision of its table; zero for none.
    pub revision: Revision,
    /// The cluster that the table came from.
    pub cluster: Option<ClusterUid>,
    /// The newest epoch of the cluster that it has seen.
    pub epoch: ClusterEpoch,
    /// The digest of the table.
    pub digest: u64,
}

type Sender = mpsc::Sender<Result<PlacementServiceWatchResponse, Status>>;

/// Feeds `out` until the watcher leaves. `out` is bounded: a watcher that does not read is waited for, here alone, and
/// starts over when the history has moved on meanwhile.
pub async fn routing_stream(published: PublishedState, cursor: RoutingCursor, out: Sender) {
    let mut applied = published.revision();
    // A watcher that is ahead of this member (it talked to another before) waits for it to catch up, and never gets
    // older changes than it has. A cluster without an identity has nothing to show.
    loop {
        let seen = *applied.borrow_and_update();
        if let Some(cluster) = published.current().state.cluster() {
            if cursor.epoch > cluster.epoch {
                // This member will never catch up: the watcher follows the restored cluster, and we are what was before it.
                let message = format!("this member is of cluster epoch {}, before a restore", cluster.epoch);
                let _ = out.send(Err(Status::unavailable(message))).await;
                return;
            }
            if seen >= cursor.revision || cursor.epoch < cluster.epoch {
                break;
            }
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
    let mut reached = cursor.revision;
    if !can_resume(&published, &cursor) {
        match send_snapshot(&published, &out).await {
            Some(revision) => reached = revision,
            None => return,
        }
    }
    loop {
        let seen = *applied.borrow_and_update();
        match published.history().since(reached, DELTAS_AT_ONCE) {
            Since::Forgotten => {
                let reason = "the changes since your revision are no longer kept".to_owned();
                send(&out, Part::Resync(v1::RoutingResync { reason })).await;
                return;
            }
            Since::Deltas(deltas) if !deltas.is_empty() => {
                for delta in deltas {
                    reached = Revision(delta.revision);
                    if !send(&out, Part::Delta(Arc::unwrap_or_clone(delta))).await {
                        return;
                    }
                }
            }
            Since::Deltas(_) => {
                reached = reached.max(seen);
                let quiet = tokio::time::timeout(BOOKMARK_INTERVAL, applied.changed());
                let quiet = tokio::select! {
                    quiet = quiet => quiet,
                    () = out.closed() => return,
                };
                match quiet {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => {
                        if !send_bookmark(&published, reached, &out).await {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// Whether the watcher's table is one that this member's history goes on from.
fn can_resume(published: &PublishedState, cursor: &RoutingCursor) -> bool {
    let current = published.current();
    let same_cluster = current
        .state
        .cluster()
        .is_some_and(|cluster| cursor.cluster == Some(cluster.uid) && cursor.epoch == cluster.epoch);
    let fits = match published.history().since(cursor.revision, 1) {
        Since::Forgotten => false,
        // With nothing changed since, the digests must agree; otherwise the next bookmark will tell.
        Since::Deltas(deltas) => !deltas.is_empty() || cursor.digest == current.routing_digest,
    };
    cursor.revision > Revision::ZERO && same_cluster && fits
}

async fn send(out: &Sender, part: Part) -> bool {
    out.send(Ok(PlacementServiceWatchResponse { part: Some(part) }))
        .await
        .is_ok()
}

/// Only when no change lies between the stream and the published state do they have the same digest.
async fn send_bookmark(published: &PublishedState, reached: Revision, out: &Sender) -> bool {
    let current = published.current();
    match published.history().since(reached, 1) {
        Since::Deltas(deltas) if deltas.is_empty() && current.revision >= reached => {
            let bookmark = v1::RoutingBookmark {
                revision: current.revision.get(),
                digest: current.routing_digest,
            };
            send(out, Part::Bookmark(bookmark)).await
        }
        _ => true,
    }
}

/// Sends the whole table at one revision; `None` when the watcher left.
async fn send_snapshot(published: &PublishedState, out: &Sender) -> Option<Revision> {
    let current = published.current();
    let Published {
        state,
        revision,
        routing_digest,
    } = &*current;
    let first = v1::RoutingSnapshot {
        revision: revision.get(),
        cluster_uid: state
            .cluster()
            .map(|cluster| cluster.uid.to_string())
            .unwrap_or_default(),
        cluster_epoch: state.cluster().map_or(0, |cluster| cluster.epoch.get()),
        nodes: state.node_routes().map(|node| (&node).into()).collect(),
        token_keys: state.token_keys().map(|key| (&key).into()).collect(),
        tiers: state.tiers().iter().map(Into::into).collect(),
        ..v1::RoutingSnapshot::default()
    };
    let mut piece = first.clone();
    for route in state.tenant_routes() {
        if piece.tenants.len() == TENANTS_PER_MESSAGE {
            let next = v1::RoutingSnapshot {
                revision: first.revision,
                cluster_uid: first.cluster_uid.clone(),
                cluster_epoch: first.cluster_epoch,
                ..v1::RoutingSnapshot::default()
            };
            if !send(out, Part::Snapshot(std::mem::replace(&mut piece, next))).await {
                return None;
            }
        }
        piece.tenants.push((&route).into());
    }
    piece.last = true;
    piece.digest = *routing_digest;
    send(out, Part::Snapshot(piece)).await.then_some(*revision)
}
