//! Client of the control plane: finds a member that answers, retries what is safe to retry, and resumes watches.
//!
//! One retry policy serves every call ([`ControlClient`]); streams reconnect by the same classification of failures
//! ([`RoutingWatch`], [`EventWatch`], [`EventReporter`]). This crate must not decide anything about tenants or nodes,
//! and keeps no state beyond connections and cursors.
#![forbid(unsafe_code)]

mod backoff;
mod calls;
mod client;
mod endpoint;
mod error;
mod itinerary;
mod report;
mod request_id;
mod retry;
mod watch;

pub use backoff::Backoff;
pub use calls::{AdminCalls, ClusterCalls, NotificationCalls, PlacementCalls, WebhookCalls};
pub use client::{ClientOptions, ControlClient, NoEndpoints};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{CallError, FieldViolation, Refusal};
pub use report::{EventReporter, ReportPause};
pub use watch::{
    EventFilter, EventStart, EventUpdate, EventWatch, RoutingPosition, RoutingUpdate, RoutingWatch, WatchError,
};
