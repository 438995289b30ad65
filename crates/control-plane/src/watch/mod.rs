//! Feeds subscribers: the routing table's recent history, and the streams made from it and from the event log.
//!
//! A slow or late subscriber is told to start over; it never slows the log down, and no change is skipped in silence.

mod event_filter;
mod event_stream;
#[cfg(test)]
mod event_stream_tests;
mod message;
mod outgoing;
mod routing_history;
mod routing_snapshot;
mod routing_stream;
#[cfg(test)]
mod routing_stream_tests;
mod routing_view;

pub use event_filter::EventMatcher;
pub use event_stream::event_stream;
pub use outgoing::{Outbox, Outgoing, outgoing};
pub use routing_history::{RoutingEntry, RoutingHistory, Since};
pub use routing_snapshot::SharedSnapshot;
pub use routing_stream::{RoutingCursor, WatchTiming, routing_stream};
pub use routing_view::{RoutingChange, RoutingView};

pub(crate) use message::encoded;
