//! The whole routing table as messages, made once for all watchers that need it at about the same time.
//!
//! When all nodes come back at once, the first one has the table cut and encoded, off the async workers, and the others are
//! sent the same bytes and go on from its revision. It is dropped when nobody sends it any more.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tenantry_proto::v1;
use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_types::Revision;
use tokio::sync::OnceCell;

use super::Since;
use super::message::encoded;
use crate::machine::{Published, PublishedState};

/// About how many bytes one message of a snapshot has; well below gRPC's usual limit of 4 MiB, and small, since each
/// connection copies the one that it sends.
const MESSAGE_BYTES: usize = 128 << 10;
/// A snapshot that is further behind than this many changes is not given to another watcher.
const MOST_BEHIND: usize = 1_000;

/// The snapshot that watchers are being sent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedSnapshot {
    latest: Arc<Mutex<Weak<RoutingSnapshot>>>,
}

/// The routing table at one revision.
#[derive(Debug)]
pub(crate) struct RoutingSnapshot {
    published: Arc<Published>,
    messages: OnceCell<Vec<Bytes>>,
}

impl SharedSnapshot {
    /// The one that is being sent, if it is as new as `at_least` and the history goes on from it; else one of now.
    pub(crate) fn get(&self, published: &PublishedState, at_least: Revision) -> Arc<RoutingSnapshot> {
        let current = published.current();
        let mut latest = self.latest.lock();
        let usable = latest.upgrade().filter(|shared| {
            let near = match published.history().since(shared.revision(), MOST_BEHIND) {
                Since::Changes(changes) => changes.len() < MOST_BEHIND,
                Since::Forgotten => false,
            };
            near && shared.revision() >= at_least && shared.published.state.cluster() == current.state.cluster()
        });
        usable.unwrap_or_else(|| {
            let new = Arc::new(RoutingSnapshot {
                published: current,
                messages: OnceCell::new(),
            });
            *latest = Arc::downgrade(&new);
            new
        })
    }
}

impl RoutingSnapshot {
    /// The revision that it shows.
    pub(crate) fn revision(&self) -> Revision {
        self.published.revision
    }

    /// The messages, made by whoever asks first. `None` when that panicked.
    pub(crate) async fn messages(&self) -> Option<&[Bytes]> {
        let make = || async {
            let published = Arc::clone(&self.published);
            tokio::task::spawn_blocking(move || messages(&published)).await
        };
        match self.messages.get_or_try_init(make).await {
            Ok(messages) => Some(messages),
            Err(error) => {
                tracing::error!(%error, "a snapshot of the routing table could not be made");
                None
            }
        }
    }
}

/// Cuts the table into messages.
pub(super) fn messages(published: &Published) -> Vec<Bytes> {
    let Published {
        state,
        revision,
        routing_digest,
    } = published;
    let piece = v1::RoutingSnapshot {
        revision: revision.get(),
        cluster_uid: state
            .cluster()
            .map(|cluster| cluster.uid.to_string())
            .unwrap_or_default(),
        cluster_epoch: state.cluster().map_or(0, |cluster| cluster.epoch.get()),
        ..v1::RoutingSnapshot::default()
    };
    let mut next = v1::RoutingSnapshot {
        nodes: state.node_routes().map(|node| (&node).into()).collect(),
        token_keys: state.token_keys().map(|key| (&key).into()).collect(),
        tiers: state.tiers().iter().map(Into::into).collect(),
        ..piece.clone()
    };
    let mut messages = Vec::new();
    let mut bytes = next.encoded_len();
    for route in state.tenant_routes() {
        let route = v1::TenantRoute::from(&route);
        let length = route.encoded_len();
        if bytes + length > MESSAGE_BYTES && bytes > 0 {
            let full = std::mem::replace(&mut next, piece.clone());
            messages.push(encoded(Part::Snapshot(full)));
            bytes = 0;
        }
        bytes += length;
        next.tenants.push(route);
    }
    next.last = true;
    next.digest = *routing_digest;
    messages.push(encoded(Part::Snapshot(next)));
    messages
}
