//! Empties the outbox into the control plane: batch by batch, each forgotten only after it is committed there.

use std::sync::Arc;
use std::time::Duration;

use control_client::{CallError, ControlClient, EventReporter};
use tenantry_proto::v1;
use tenantry_types::{NodeId, ReportSequence};
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;

/// Events in one batch.
const BATCH: usize = 200;
/// Pause after a failure that the client's own retries did not get over.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Reports until `stop`. What is under way then stays in the outbox and is recognised when it comes again.
pub async fn report(client: ControlClient, node: NodeId, outbox: Arc<Outbox>, stop: CancellationToken) {
    stop.run_until_cancelled(drain(client, node, &outbox)).await;
}

async fn drain(client: ControlClient, node: NodeId, outbox: &Outbox) {
    let mut reporter = EventReporter::new(client);
    let mut pending = outbox.pending();
    loop {
        if pending.wait_for(|count| *count > 0).await.is_err() {
            return;
        }
        let batch = match outbox.oldest(BATCH).await {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                // Counted and not readable: wait for the outbox to say something else.
                tokio::time::sleep(FAILURE_PAUSE).await;
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                tokio::time::sleep(FAILURE_PAUSE).await;
                continue;
            }
        };
        let last = batch.events.last().map_or(ReportSequence::ZERO, |event| event.sequence);
        let request = v1::ReportRequest {
            node_id: node.to_string(),
            incarnation: batch.incarnation.get(),
            events: batch.events.into_iter().map(|event| event.event).collect(),
        };
        let acknowledged = match reporter.report(request).await {
            Ok(response) => ReportSequence(response.acknowledged_sequence).min(last),
            Err(CallError::Refused(refusal)) if refusal.violations.is_empty() => {
                // Not registered yet, mostly: the heartbeat sees to that.
                tracing::debug!(%refusal, "events were not taken");
                tokio::time::sleep(FAILURE_PAUSE).await;
                continue;
            }
            Err(CallError::Refused(refusal)) => {
                // A malformed event would block all that follow for ever.
                metrics::counter!("tenantry_node_events_refused_total").increment(1);
                tracing::error!(%refusal, "the control plane refuses a batch of events as malformed; it is dropped");
                last
            }
            Err(error) => {
                tracing::debug!(%error, "events wait: the control plane does not answer");
                tokio::time::sleep(FAILURE_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = outbox.acknowledge(batch.incarnation, acknowledged).await {
            tracing::error!(%error, "the outbox cannot be emptied");
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    }
}
