//! What this node tells the control plane, and the record of it that outlives the process.
//!
//! `batch` is what changes at once; `store` is the file, in which a change of state and the event that tells of it are written
//! together; `pending` decides which events give way in a full outbox, `plan` is one transaction; `outbox` is the thread in front of it and `reporter`
//! what empties it. Must not decide what is worth an event (that is `conditions` and `quota`), and must never hold up a
//! request.

mod batch;
mod outbox;
mod pending;
mod plan;
mod reporter;
mod schema;
mod store;
mod subject;
#[cfg(test)]
mod test_events;

pub use batch::{Batch, KeptTenant, NewEvent, Record};
pub use outbox::{Outbox, OutboxError, Receipt};
pub use reporter::report;
pub use store::{PendingBatch, PendingEvent};
