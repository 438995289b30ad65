//! A node's events on their way into the log: one stream, one batch under way at a time.

use tenantry_proto::v1;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::client::no_answer;
use crate::retry::Retry;
use crate::{CallError, ControlClient, Endpoint};

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
                Err(status) => retry.wait_after(status).await?,
            }
        }
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
