//! The one retry policy of all calls.
//!
//! An attempt that finds its member unavailable moves on to the leader that the member named, or to the next member, at
//! once; when all were tried, after a jittered wait. `RESOURCE_EXHAUSTED` with a delay is obeyed. Nothing else is tried
//! again. Every call that goes through here is safe to repeat: reads, mutations with a request id, and calls whose
//! repetition changes nothing.
//!
//! A mutation that ran out of time after an attempt which may have got through is not said to have failed: its outcome is
//! unknown. An answer to any later attempt settles it, since the request id ties them together.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::error::{Verdict, may_have_happened};
use crate::itinerary::{Itinerary, Next};
use crate::{CallError, ControlClient, Endpoint, Refusal};

/// How much longer than the caller a member may work on a call, so that the caller's own clock ends it.
const SERVER_GRACE: Duration = Duration::from_millis(500);

/// With less time than this no other round of attempts is begun: a member would hardly answer in time, and a mutation that
/// was refused so far would end with an unknown outcome.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(750);

/// One call's attempts.
pub(crate) struct Retry<'a> {
    client: &'a ControlClient,
    itinerary: Itinerary<'a>,
    deadline: Instant,
    attempts: u32,
    /// The request id of a mutation.
    request_id: Option<String>,
    /// Whether one of the attempts may have got through without an answer.
    may_have_happened: bool,
}

/// Where the next attempt goes, and until when.
pub(crate) struct Attempt {
    pub(crate) endpoint: Endpoint,
    pub(crate) channel: Channel,
    pub(crate) deadline: Instant,
    /// For the `grpc-timeout` header.
    pub(crate) server_timeout: Duration,
}

impl<'a> Retry<'a> {
    /// Starts with the member that answered last; the client's timeout runs from now.
    pub(crate) fn new(client: &'a ControlClient, request_id: Option<String>) -> Self {
        Self {
            client,
            itinerary: Itinerary::new(client.listed(), client.last_worked()),
            deadline: Instant::now() + client.options().timeout,
            attempts: 0,
            request_id,
            may_have_happened: false,
        }
    }

    pub(crate) fn begin(&mut self) -> Attempt {
        self.attempts = self.attempts.saturating_add(1);
        let now = Instant::now();
        let endpoint = self.itinerary.current().clone();
        Attempt {
            channel: self.client.channel(&endpoint),
            endpoint,
            deadline: self.deadline.min(now + self.client.options().attempt_timeout),
            server_timeout: self.deadline.duration_since(now) + SERVER_GRACE,
        }
    }

    /// Judges a failed attempt and waits until the next one is due.
    ///
    /// # Errors
    /// When there shall be no other attempt.
    pub(crate) async fn wait_after(&mut self, status: Status) -> Result<(), CallError> {
        let failed = self.itinerary.current().clone();
        tracing::debug!(endpoint = %failed, code = ?status.code(), message = status.message(), "attempt failed");
        let options = self.client.options();
        let wait = match Verdict::of(&status) {
            Verdict::Refused(refusal) => return Err(CallError::Refused(refusal)),
            Verdict::TryLater(delay) if delay >= self.remaining() && !self.may_have_happened => {
                return Err(CallError::Refused(Box::new(Refusal::from(&status))));
            }
            Verdict::TryLater(delay) => delay,
            Verdict::TryElsewhere { leader } => {
                self.may_have_happened |= may_have_happened(&status);
                match self.itinerary.advance(leader) {
                    Next::AtOnce => Duration::ZERO,
                    Next::AfterBackoff { failed_rounds } => options.backoff.delay(failed_rounds, rand::random()),
                }
            }
        };
        let at_least = if wait.is_zero() { wait } else { wait + SHORTEST_ATTEMPT };
        if at_least >= self.remaining() {
            return Err(self.give_up(failed, status));
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn give_up(&mut self, endpoint: Endpoint, last: Status) -> CallError {
        let (attempts, last) = (self.attempts, Box::new(last));
        match self.request_id.take().filter(|_| self.may_have_happened) {
            Some(request_id) => CallError::OutcomeUnknown {
                request_id,
                attempts,
                endpoint,
                last,
            },
            None => CallError::Unavailable {
                attempts,
                endpoint,
                last,
            },
        }
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
