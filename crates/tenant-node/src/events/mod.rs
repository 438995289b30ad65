//! What this node tells the control plane: an outbox on disk, and the reporter that empties it.
//!
//! Must not decide what is worth an event (that is `hotspot` and `quota`), and must never hold up a request.

mod outbox;
mod reporter;

pub use outbox::{Outbox, OutboxError, PendingBatch, PendingEvent};
pub use reporter::report;
