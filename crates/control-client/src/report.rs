//! A node's events on their way into the log: one stream, one batch under way at a time.

use std::time::Duration;

use tenantry_proto::v1;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::client::no_answer;
use crate::retry::Retry;
use crate::{Backoff, CallError, ControlClient, Endpoint};

/// Waits after batches that were not taken, beyond what a call waits by itself.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(30),
};

/// Reports batches over one stream to one member, and over a new one where that fails. A batch may arrive more than once;
/// the control plane recognises the sequences of one incarnation and applies each once.
#[derive(Debug)]
pub struct EventReporter {
    client: ControlClient,
    stream: Option<ReportStream>,
}

#[derive(Debug)]
struct ReportStream {
    member: Endpoint,
    requests: mpsc::Sender<v1::ReportRequest>,
    responses: Streaming<v1::ReportResponse>,
}

impl EventReporter {
    /// Opens no stream yet.
    #[must_use]
    pub const fn new(client: ControlClient) -> Self {
        Self { client, stream: None }
    }

    /// Hands a batch over and waits until it is committed. If the future is dropped, the batch may or may not have been;
    /// report it again.
    ///
    /// # Errors
    /// When refused, or unavailable until the client's timeout. The next call opens a new stream.
    pub async fn report(&mut self, batch: v1::ReportRequest) -> Result<v1::ReportResponse, CallError> {
        let client = self.client.clone();
        let mut retry = Retry::new(&client, None);
        loop {
            let attempt = retry.begin();
            // Out of `self` while a batch is under way: neither a failure nor a dropped future leaves a stream behind
            // whose next answer would belong to an older batch.
            let usable = self.stream.take().filter(|stream| stream.member == attempt.endpoint);
            let exchange = exchange(usable, &attempt.endpoint, attempt.channel, batch.clone());
            let outcome = tokio::time::timeout_at(attempt.deadline, exchange).await;
            match outcome.unwrap_or_else(|_| Err(no_answer(client.options().attempt_timeout))) {
                Ok((stream, response)) => {
                    client.remember(attempt.endpoint);
                    self.stream = Some(stream);
                    return Ok(response);
                }
                Err(status) => {
                    // Other calls ask the next member at once. Events can wait, and one that has none to lead it knows how long.
                    let asked = unavailable_for(&status);
                    retry.wait_after(status).await?;
                    tokio::time::sleep(asked.min(PAUSES.max)).await;
                }
            }
        }
    }
}

fn unavailable_for(status: &Status) -> Duration {
    let details = status.get_error_details();
    let asked = details.retry_info().and_then(|info| info.retry_delay);
    asked.filter(|_| status.code() == Code::Unavailable).unwrap_or_default()
}

/// How long to wait before the next batch, after calls that failed with all their attempts.
#[derive(Debug, Default)]
pub struct ReportPause {
    failures: u32,
}

impl ReportPause {
    /// After another failure: at least as long as the member asked for, and longer each time, up to 30 s beyond that.
    /// `random` is drawn evenly from 0..1, so that nodes that failed together do not come back together.
    #[must_use]
    pub fn after(&mut self, error: &CallError, random: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // At least half of the bound: a wait of nothing would be none.
        let own = PAUSES.delay(self.failures, f64::midpoint(1.0, random));
        error.retry_after().unwrap_or_default().saturating_add(own)
    }

    /// A batch was answered: the next failure is the first again.
    pub const fn answered(&mut self) {
        self.failures = 0;
    }
}

async fn exchange(
    usable: Option<ReportStream>,
    member: &Endpoint,
    channel: Channel,
    batch: v1::ReportRequest,
) -> Result<(ReportStream, v1::ReportResponse), Status> {
    let ended = || Status::unavailable("the member ended the stream");
    let mut stream = match usable {
        Some(stream) => {
            stream.requests.send(batch).await.map_err(|_| ended())?;
            stream
        }
        None => {
            let (requests, queue) = mpsc::channel(1);
            // Queued before the stream opens: a member may wait for the first batch before it answers at all.
            requests.send(batch).await.map_err(|_| ended())?;
            let responses = NotificationServiceClient::new(channel)
                .report(ReceiverStream::new(queue))
                .await?
                .into_inner();
            ReportStream {
                member: member.clone(),
                requests,
                responses,
            }
        }
    };
    let response = stream.responses.message().await?.ok_or_else(ended)?;
    Ok((stream, response))
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::Refusal;

    fn unavailable(status: Status) -> CallError {
        CallError::Unavailable {
            attempts: 1,
            endpoint: "127.0.0.1:1".parse().unwrap(),
            last: Box::new(status),
        }
    }

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_anew_after_an_answer() {
        let silent = unavailable(Status::unavailable("gone"));
        let mut pause = ReportPause::default();
        let millis = |pause: &mut ReportPause, random| pause.after(&silent, random).as_millis();
        let grown: Vec<_> = (0..9).map(|_| millis(&mut pause, 1.0)).collect();
        assert_eq!(grown, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(millis(&mut pause, 0.0), 15_000);
        pause.answered();
        assert_eq!(millis(&mut pause, 0.5), 375);
    }

    #[test]
    fn a_member_that_asks_for_time_gets_at_least_that() {
        let asked = Duration::from_secs(40);
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            let details = ErrorDetails::with_retry_info(Some(asked));
            let status = Status::with_error_details(code, "busy", details);
            assert_eq!(unavailable_for(&status).is_zero(), code == Code::ResourceExhausted);
            let refused = CallError::Refused(Box::new(Refusal::from(&status)));
            for error in [refused, unavailable(status)] {
                assert_eq!(
                    ReportPause::default().after(&error, 0.0),
                    asked + Duration::from_millis(250)
                );
            }
        }
    }
}
