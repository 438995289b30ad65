//! One watcher's stream of the routing table: a snapshot if it needs one, then changes, bookmarks while it is quiet, and
//! every so often the digest of the whole table, so that the watcher can compare.
//!
//! Never sends anything older than what the watcher has, and never skips a change in silence.

use std::time::Duration;

use tenantry_proto::v1;
use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_types::{ClusterEpoch, ClusterUid, Revision};
use tokio::time::Instant;
use tonic::Status;

use super::Since;
use super::message::encoded;
use super::outgoing::{Outgoing, Undelivered};
use crate::machine::PublishedState;

/// Changes taken from the history at once.
const CHANGES_AT_ONCE: usize = 256;

/// When a watcher is told what.
#[derive(Debug, Clone, Copy)]
pub struct WatchTiming {
    /// A quiet stream says this often how far it has come.
    pub bookmark: Duration,
    /// A busy stream says this often what the digest of the whole table is.
    pub digest: Duration,
    /// A watcher that takes no message for this long is given up.
    pub patience: Duration,
}

impl Default for WatchTiming {
    fn default() -> Self {
        Self {
            bookmark: Duration::from_secs(10),
            digest: Duration::from_secs(60),
            patience: Duration::from_secs(30),
        }
    }
}

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

/// Why a stream ends.
enum End {
    /// The watcher has left, or this member stops.
    Gone,
    /// The watcher must start over.
    Resync(&'static str),
    /// The watcher has seen a later epoch of the cluster than this member is of.
    Superseded(ClusterEpoch),
}

impl From<Undelivered> for End {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::Left => Self::Gone,
            Undelivered::TooSlow => Self::Resync("no message was taken for too long"),
        }
    }
}

/// Feeds `out` until the watcher leaves, or must start over. Both are its own affair: nobody else waits for it.
pub async fn routing_stream(published: PublishedState, cursor: RoutingCursor, timing: WatchTiming, out: Outgoing) {
    let Err(end) = feed(&published, cursor, timing, &out).await;
    match end {
        End::Gone => {}
        End::Resync(reason) => {
            metrics::counter!("tenantry_control_watch_resyncs_total").increment(1);
            let resync = v1::RoutingResync {
                reason: reason.to_owned(),
            };
            out.end_with(Ok(encoded(Part::Resync(resync))));
        }
        End::Superseded(epoch) => {
            let message = format!("this member is of cluster epoch {epoch}, before a restore");
            out.end_with(Err(Status::unavailable(message)));
        }
    }
}

async fn feed(
    published: &PublishedState,
    cursor: RoutingCursor,
    timing: WatchTiming,
    out: &Outgoing,
) -> Result<std::convert::Infallible, End> {
    let mut applied = published.revision();
    // A watcher that is ahead of this member (it talked to another before) waits for it to catch up, and never gets
    // older changes than it has. A cluster without an identity has nothing to show.
    loop {
        let seen = *applied.borrow_and_update();
        if let Some(cluster) = published.current().state.cluster() {
            let same = cursor.cluster == Some(cluster.uid);
            if same && cursor.epoch > cluster.epoch {
                // This member will never catch up: the watcher follows the restored cluster, and we are what was before it.
                return Err(End::Superseded(cluster.epoch));
            }
            if seen >= cursor.revision || !same || cursor.epoch < cluster.epoch {
                break;
            }
        }
        tokio::select! {
            changed = applied.changed() => changed.map_err(|_| End::Gone)?,
            () = out.closed() => return Err(End::Gone),
        }
    }
    let mut reached = match resumes_at(published, &cursor) {
        Some(revision) => revision,
        None => send_snapshot(published, &cursor, out).await?,
    };
    let mut digest_due = Instant::now() + timing.digest;
    loop {
        let seen = *applied.borrow_and_update();
        let Since::Changes(changes) = published.history().since(reached, CHANGES_AT_ONCE) else {
            return Err(End::Resync("the changes since your revision are no longer kept"));
        };
        let Some(last) = changes.last().map(|last| (last.revision, last.digest)) else {
            reached = reached.max(seen);
            tokio::select! {
                quiet = tokio::time::timeout(timing.bookmark, applied.changed()) => match quiet {
                    Ok(changed) => changed.map_err(|_| End::Gone)?,
                    // Without a digest the history was forgotten: the next round says so.
                    Err(_) => if let Some(digest) = published.history().digest_at(reached) {
                        out.send(bookmark(reached, digest)).await?;
                        digest_due = Instant::now() + timing.digest;
                    },
                },
                () = out.closed() => return Err(End::Gone),
            }
            continue;
        };
        for change in changes {
            out.send(change.message).await?;
        }
        let digest;
        (reached, digest) = last;
        if Instant::now() >= digest_due {
            out.send(bookmark(reached, digest)).await?;
            digest_due = Instant::now() + timing.digest;
        }
    }
}

/// The watcher's revision, if this member's history goes on from the watcher's table.
fn resumes_at(published: &PublishedState, cursor: &RoutingCursor) -> Option<Revision> {
    let same_table = published.history().digest_at(cursor.revision) == Some(cursor.digest);
    (cursor.revision > Revision::ZERO && is_of_our_cluster(published, cursor) && same_table).then_some(cursor.revision)
}

/// Of this cluster, and of the same epoch.
fn is_of_our_cluster(published: &PublishedState, cursor: &RoutingCursor) -> bool {
    let current = published.current();
    let cluster = current.state.cluster();
    cluster.is_some_and(|cluster| cursor.cluster == Some(cluster.uid) && cursor.epoch == cluster.epoch)
}

fn bookmark(revision: Revision, digest: u64) -> bytes::Bytes {
    encoded(Part::Bookmark(v1::RoutingBookmark {
        revision: revision.get(),
        digest,
    }))
}

/// Sends the whole table, and says at which revision it is.
async fn send_snapshot(published: &PublishedState, cursor: &RoutingCursor, out: &Outgoing) -> Result<Revision, End> {
    let at_least = if is_of_our_cluster(published, cursor) {
        cursor.revision
    } else {
        Revision::ZERO
    };
    let snapshot = published.snapshot().get(published, at_least);
    metrics::counter!("tenantry_control_watch_snapshots_total").increment(1);
    for message in snapshot.messages().await.ok_or(End::Gone)? {
        out.send(message.clone()).await?;
    }
    Ok(snapshot.revision())
}
