//! Empties the outbox into the control plane: one batch under way at a time, each forgotten only after it is committed there.

use std::sync::Arc;

use control_client::{CallError, ControlClient, EventReporter, Refusal, ReportPause};
use tenantry_proto::v1;
use tenantry_types::{NodeId, ReportSequence};
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, OutboxError};
use super::store::PendingBatch;

/// Events in one batch.
const BATCH: usize = 200;
/// How long to leave a file alone that cannot be read or written.
const DISK_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Reports until `stop`. What is under way then stays in the outbox and is recognised when it comes again.
pub async fn report(client: ControlClient, node: NodeId, outbox: Arc<Outbox>, stop: CancellationToken) {
    let reporter = EventReporter::new(client);
    stop.run_until_cancelled(drain(reporter, node, &outbox)).await;
}

/// Whoever takes events.
trait Receiver {
    async fn take(&mut self, batch: v1::ReportRequest) -> Result<v1::ReportResponse, CallError>;
}

impl Receiver for EventReporter {
    async fn take(&mut self, batch: v1::ReportRequest) -> Result<v1::ReportResponse, CallError> {
        self.report(batch).await
    }
}

async fn drain(mut receiver: impl Receiver, node: NodeId, outbox: &Outbox) {
    let mut pending = outbox.pending();
    let mut pause = ReportPause::default();
    let mut most = BATCH;
    loop {
        if pending.wait_for(|count| *count > 0).await.is_err() {
            return;
        }
        let batch = match outbox.oldest(most).await {
            Ok(Some(batch)) => batch,
            // Counted and not readable: the next write or start sees to it.
            Ok(None) => {
                tokio::time::sleep(DISK_PAUSE).await;
                continue;
            }
            Err(OutboxError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                tokio::time::sleep(DISK_PAUSE).await;
                continue;
            }
        };
        let (incarnation, size) = (batch.incarnation, batch.events.len());
        let last = batch.events.last().map_or(ReportSequence::ZERO, |event| event.sequence);
        let verdict = Verdict::of(receiver.take(request(&node, batch)).await, size);
        let acknowledged = match verdict {
            Verdict::Taken(sequence) => {
                most = most.saturating_mul(2).min(BATCH);
                sequence.min(last)
            }
            Verdict::Halve => {
                most = size / 2;
                continue;
            }
            Verdict::Drop(refusal) => {
                // It would block all that follow for ever.
                metrics::counter!("tenantry_node_events_refused_total").increment(size as u64);
                tracing::error!(%refusal, %incarnation, %last, events = size, "the control plane refuses events; they are dropped");
                last
            }
            Verdict::Wait(error) => {
                let wait = pause.after(&error, rand::random());
                tracing::debug!(%error, ?wait, "events wait: the control plane does not take them");
                tokio::time::sleep(wait).await;
                continue;
            }
        };
        pause.answered();
        if let Err(error) = outbox.acknowledge(incarnation, acknowledged).await {
            tracing::error!(%error, "the outbox cannot be emptied");
            tokio::time::sleep(DISK_PAUSE).await;
        }
    }
}

/// What an answer means for the batch.
enum Verdict {
    /// Committed up to here.
    Taken(ReportSequence),
    /// One of its events is malformed: half of it may be without.
    Halve,
    /// No later attempt would be taken either.
    Drop(Box<Refusal>),
    /// Nothing is wrong with it.
    Wait(CallError),
}

impl Verdict {
    fn of(answer: Result<v1::ReportResponse, CallError>, size: usize) -> Self {
        let refusal = match answer {
            Ok(response) => return Self::Taken(ReportSequence(response.acknowledged_sequence)),
            Err(CallError::Refused(refusal)) => refusal,
            Err(error) => return Self::Wait(error),
        };
        let malformed = refusal
            .violations
            .iter()
            .any(|violation| violation.field.starts_with("events["));
        match malformed {
            true if size > 1 => Self::Halve,
            true => Self::Drop(refusal),
            // A later start has reported already: what earlier ones say cannot be told from repetitions any more.
            false if refusal.reason == "STALE_INCARNATION" => Self::Drop(refusal),
            // Not registered yet, mostly: the heartbeat sees to that.
            false => Self::Wait(CallError::Refused(refusal)),
        }
    }
}

fn request(node: &NodeId, batch: PendingBatch) -> v1::ReportRequest {
    v1::ReportRequest {
        node_id: node.to_string(),
        incarnation: batch.incarnation.get(),
        events: batch.events.into_iter().map(|event| event.event).collect(),
    }
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
