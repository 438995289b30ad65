//! Streams that outlive their connections: they reconnect to another member and resume where they were.
//!
//! Nothing is delivered twice. What the control plane no longer has is said so: a routing table is replaced as a whole,
//! and a gap in the event log is an update of its own.

mod events;
mod routing;
mod routing_progress;
mod subscription;

pub use events::{EventFilter, EventStart, EventUpdate, EventWatch};
pub use routing::RoutingWatch;
pub use routing_progress::{RoutingPosition, RoutingUpdate};

use tenantry_types::ClusterUid;

use crate::Refusal;

/// What a watch cannot get over by itself.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The addresses lead to another cluster than before. Its data must not be mixed with what is there.
    #[error("the control plane at these addresses is cluster {found}, not {expected}")]
    OtherCluster {
        /// The cluster that the watcher belongs to.
        expected: ClusterUid,
        /// The cluster that answered.
        found: ClusterUid,
    },
    /// A member refused the watch. Asking again connects anew, after a wait.
    #[error(transparent)]
    Refused(Box<Refusal>),
}
