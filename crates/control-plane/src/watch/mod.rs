//! Feeds subscribers: the routing table's recent history, and the streams made from it and from the event log.
//!
//! A slow or late subscriber is told to start over; it never slows the log down, and no change is skipped in silence.

mod event_stream;
mod routing_history;
mod routing_stream;
mod routing_view;

pub use event_stream::{EventFilter, event_stream};
pub use routing_history::{RoutingHistory, Since};
pub use routing_stream::{RoutingCursor, routing_stream};
pub use routing_view::{RoutingChange, RoutingView};
