//! The gRPC services, and the layer below them that brings each call to the member that may answer it.
//!
//! A service turns messages into commands or reads, and outcomes into messages. What may happen is decided in
//! `tenantry-state`; what an error looks like is decided in `status`.

mod admin;
mod cluster;
mod control_plane;
mod deadline;
mod events;
mod leader_forwarding;
mod members;
mod notification;
mod page;
mod placement;
mod placing;
mod quotas;
mod routing_watch;
mod snapshots;
mod status;
mod tokens;
mod usage;
mod webhooks;

pub use admin::Admin;
pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use leader_forwarding::{ForwardToLeader, LeaderForwardingLayer};
pub use notification::Notification;
pub use placement::Placement;
pub use routing_watch::{RoutingWatch, RoutingWatchService};
pub use snapshots::SnapshotSaves;
pub use webhooks::Webhooks;

pub(crate) use placing::choose as choose_node;
pub(crate) use status::denied;
pub(crate) use tokens::new_key as new_signing_key;
