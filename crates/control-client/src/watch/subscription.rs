//! One server stream and its successors: opening, noticing silence, moving on to another member.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use super::WatchError;
use crate::client::no_answer;
use crate::itinerary::successor;
use crate::{CallError, ControlClient, Endpoint, Refusal};

pub(super) type OpenOutcome<M> = Result<Response<Streaming<M>>, Status>;

type Opening<M> = Pin<Box<dyn Future<Output = OpenOutcome<M>> + Send>>;

/// A stream of `M` that is opened again whenever it ends. Cancel-safe: a dropped future loses no message.
pub(super) struct Subscription<M> {
    client: ControlClient,
    member: Endpoint,
    opening: Option<Opening<M>>,
    stream: Option<Streaming<M>>,
    heard_at: Instant,
    /// Since the last progress.
    failures: u32,
    retry_at: Option<Instant>,
    /// Where and how the last stream or attempt ended.
    last_failure: Option<(Endpoint, Status)>,
}

/// What one step brought.
pub(super) enum Step<M> {
    /// A new stream begins: what came in pieces before must be forgotten.
    Opened,
    /// The next message.
    Message(M),
    /// The stream or the attempt to open one failed; the next step tries another member.
    Lost,
}

impl<M> Subscription<M> {
    /// Starts at a random member, so that many watchers spread evenly.
    pub(super) fn new(client: ControlClient) -> Self {
        let listed = client.listed();
        let start = rand::random_range(0..listed.len().max(1));
        let member = listed.get(start).cloned().unwrap_or_else(|| client.last_worked());
        Self {
            client,
            member,
            opening: None,
            stream: None,
            heard_at: Instant::now(),
            failures: 0,
            retry_at: None,
            last_failure: None,
        }
    }

    /// Opens the stream by `open` if there is none, else waits for the next message.
    ///
    /// # Errors
    /// When the member refused the watch for good.
    pub(super) async fn step<F>(&mut self, open: impl FnOnce(Channel) -> F) -> Result<Step<M>, WatchError>
    where
        F: Future<Output = OpenOutcome<M>> + Send + 'static,
    {
        let silence = self.client.options().watch_silence;
        let Some(stream) = &mut self.stream else {
            return self.open(open).await;
        };
        let heard = match timeout_at(self.heard_at + silence, stream.message()).await {
            Ok(Ok(Some(message))) => {
                self.heard_at = Instant::now();
                return Ok(Step::Message(message));
            }
            Ok(Ok(None)) => Status::unavailable("the member ended the stream"),
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable(format!("nothing heard for {} ms", silence.as_millis())),
        };
        self.lose(heard)
    }

    async fn open<F>(&mut self, open: impl FnOnce(Channel) -> F) -> Result<Step<M>, WatchError>
    where
        F: Future<Output = OpenOutcome<M>> + Send + 'static,
    {
        if let Some(retry_at) = self.retry_at {
            sleep_until(retry_at).await;
        }
        let limit = self.client.options().attempt_timeout;
        // Kept across calls: a caller that drops its wait again and again would never get a stream opened otherwise.
        let opening = self.opening.get_or_insert_with(|| {
            let opening = timeout(limit, open(self.client.channel(&self.member)));
            Box::pin(async move { opening.await.unwrap_or_else(|_| Err(no_answer(limit))) })
        });
        let outcome = opening.await;
        self.opening = None;
        match outcome {
            Ok(response) => {
                tracing::debug!(member = %self.member, "watch opened");
                self.stream = Some(response.into_inner());
                self.heard_at = Instant::now();
                Ok(Step::Opened)
            }
            Err(status) => self.lose(status),
        }
    }

    /// Opens the stream by `open`, within `limit`.
    ///
    /// # Errors
    /// When refused, or unavailable until then.
    pub(super) async fn connect<F>(&mut self, limit: Duration, open: impl Fn(Channel) -> F) -> Result<(), CallError>
    where
        F: Future<Output = OpenOutcome<M>> + Send + 'static,
    {
        let deadline = Instant::now() + limit;
        let mut attempts = 0_u32;
        while self.stream.is_none() {
            match timeout_at(deadline, self.open(&open)).await {
                Ok(Ok(_)) => attempts = attempts.saturating_add(1),
                Ok(Err(WatchError::Refused(refusal))) => return Err(CallError::Refused(refusal)),
                Ok(Err(WatchError::OtherCluster { .. })) | Err(_) => {
                    let (endpoint, last) = match self.last_failure.take() {
                        Some(failure) => failure,
                        None => (self.member.clone(), no_answer(limit)),
                    };
                    return Err(CallError::Unavailable {
                        attempts: attempts.max(1),
                        endpoint,
                        last: Box::new(last),
                    });
                }
            }
        }
        Ok(())
    }

    /// The stream does what it should: the next failure waits only briefly.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
        self.last_failure = None;
    }

    /// Opens a lost stream without a further wait. An open stream stays as it is.
    pub(super) fn hurry(&mut self) {
        self.retry_at = None;
    }

    /// Gives the stream up and tries another member next.
    pub(super) fn abandon(&mut self, reason: Status) {
        tracing::info!(member = %self.member, code = ?reason.code(), reason = reason.message(), "watch lost");
        self.opening = None;
        self.stream = None;
        let next = successor(self.client.listed(), &self.member);
        let lost = std::mem::replace(&mut self.member, next);
        self.failures = self.failures.saturating_add(1);
        let delay = self.client.options().backoff.delay(self.failures, rand::random());
        self.retry_at = Some(Instant::now() + delay);
        self.last_failure = Some((lost, reason));
    }

    fn lose(&mut self, status: Status) -> Result<Step<M>, WatchError> {
        let refusal = is_final(status.code()).then(|| Refusal::from(&status));
        self.abandon(status);
        match refusal {
            Some(refusal) => Err(WatchError::Refused(Box::new(refusal))),
            None => Ok(Step::Lost),
        }
    }
}

/// Whether every member would refuse the same watch alike. Anything else is a matter of one member or one moment.
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}
