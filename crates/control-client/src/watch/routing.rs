//! The routing table: a snapshot, then what changes.

use std::time::Duration;

use tenantry_proto::v1;
use tenantry_proto::v1::placement_service_client::PlacementServiceClient;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::routing_progress::{Broken, RoutingProgress};
use super::subscription::{Step, Subscription};
use super::{RoutingPosition, RoutingUpdate, WatchError};
use crate::{CallError, ControlClient};

/// A watch of `PlacementService` that never ends by itself.
pub struct RoutingWatch {
    node_id: String,
    progress: RoutingProgress,
    subscription: Subscription<v1::PlacementServiceWatchResponse>,
}

impl RoutingWatch {
    /// Watches on behalf of `node_id` (empty for others), from `position` on. Must be made inside a tokio runtime.
    #[must_use]
    pub fn new(client: ControlClient, node_id: String, position: RoutingPosition) -> Self {
        Self {
            node_id,
            progress: RoutingProgress::new(position),
            subscription: Subscription::new(client),
        }
    }

    /// The next update; reconnects for as long as it takes. Cancel-safe.
    ///
    /// # Errors
    /// When another cluster answers, or a member refuses the watch. Calling again reconnects.
    pub async fn next(&mut self) -> Result<RoutingUpdate, WatchError> {
        loop {
            let request = self.request();
            match self.subscription.step(|channel| open(channel, request)).await? {
                Step::Opened => self.progress.opened(),
                Step::Lost => {}
                Step::Message(message) => match self.progress.accept(message) {
                    Ok(None) => {}
                    Ok(Some(update)) => {
                        self.subscription.progressed();
                        return Ok(update);
                    }
                    Err(Broken::Abandon(reason)) => self.subscription.abandon(Status::aborted(reason)),
                    Err(Broken::Fatal(error)) => {
                        self.subscription
                            .abandon(Status::failed_precondition(error.to_string()));
                        return Err(error);
                    }
                },
            }
        }
    }

    /// Connects now rather than with the first [`next`](Self::next).
    ///
    /// # Errors
    /// When refused, or unavailable for `limit`.
    pub async fn connect(&mut self, limit: Duration) -> Result<(), CallError> {
        let request = self.request();
        let opening = |channel| open(channel, request.clone());
        self.subscription.connect(limit, opening).await
    }

    /// Where a later watch can resume: the latest revision whose digest is known. It may be before the last update; what
    /// this watch gave out already, it does not give again.
    #[must_use]
    pub fn position(&self) -> RoutingPosition {
        self.progress.position()
    }

    /// Tells the digest of the caller's table at the last update, so that [`position`](Self::position) moves up to it.
    pub fn confirm(&mut self, digest: u64) {
        self.progress.confirm(digest);
    }

    /// Asks for a new snapshot: the caller's table does not have the digest that it should.
    pub fn start_over(&mut self) {
        self.progress.start_over();
        self.subscription.abandon(Status::aborted("the watcher starts over"));
    }

    /// The caller learnt that its table is behind: a lost stream is opened again without a further wait.
    pub fn hurry(&mut self) {
        self.subscription.hurry();
    }

    fn request(&self) -> v1::PlacementServiceWatchRequest {
        let position = self.progress.position();
        v1::PlacementServiceWatchRequest {
            node_id: self.node_id.clone(),
            after_revision: position.revision.get(),
            cluster_uid: position.cluster_uid.map_or_else(String::new, |uid| uid.to_string()),
            digest: position.digest,
            cluster_epoch: position.cluster_epoch.get(),
        }
    }
}

async fn open(
    channel: Channel,
    request: v1::PlacementServiceWatchRequest,
) -> Result<Response<Streaming<v1::PlacementServiceWatchResponse>>, Status> {
    PlacementServiceClient::new(channel).watch(request).await
}
