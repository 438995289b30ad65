//! A request's body as it arrives: no more than its tenant may send, and no slower than it may come.
//!
//! A client that stops sending is not waited for: it holds a place among its tenant's requests, a connection, and a turn of the large bodies.
//! Must not know whose turn it is to be received.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::problems;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// Taken of one body before others have their turn: some tens of microseconds' work.
pub(super) const BURST_BYTES: usize = 128 << 10;

/// How long a client may take for its body. What the node itself makes it wait does not count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// At a stretch without a byte, and in all without enough of them.
    pub(super) stall: Duration,
    /// Bytes that are enough for another second.
    pub(super) bytes_per_second: u64,
}

/// A body of which so many bytes have arrived.
pub(super) struct Arriving {
    body: Body,
    limit: u64,
    bytes: u64,
    allowance: Allowance,
    /// For the client.
    waited: Duration,
}

/// How a burst ended.
pub(super) enum Burst {
    ToTheEnd,
    /// Nothing more was there.
    Interrupted,
    /// There may be more.
    Full,
}

/// What is there of a body, without waiting.
enum Next {
    Data(Bytes),
    End,
    NotYet,
}

impl Allowance {
    /// How long the next piece may take, after so many bytes for which the client was waited for so long.
    fn left(self, bytes: u64, waited: Duration) -> Duration {
        let earned = Duration::from_millis(bytes.saturating_mul(1_000) / self.bytes_per_second.max(1));
        let in_all = self.stall.saturating_add(earned);
        in_all.saturating_sub(waited).min(self.stall)
    }
}

impl Arriving {
    pub(super) const fn new(body: Body, limit: u64, allowance: Allowance) -> Self {
        Self {
            body,
            limit,
            bytes: 0,
            allowance,
            waited: Duration::ZERO,
        }
    }

    /// Whether nothing more will come.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The next piece, when it comes; `None` at the end.
    pub(super) async fn wait(&mut self) -> Result<Option<Bytes>, Problem> {
        // What is there needs no timer.
        match self.look().await? {
            Next::Data(data) => return Ok(Some(data)),
            Next::End => return Ok(None),
            Next::NotYet => {}
        }
        let (began, left) = (Instant::now(), self.allowance.left(self.bytes, self.waited));
        let Ok(next) = tokio::time::timeout(left, self.next()).await else {
            return Err(problems::slow_body(self.allowance));
        };
        self.waited += began.elapsed();
        next
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| problems::unread_body(&error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                return self.within_limit(data).map(Some);
            }
        }
        Ok(None)
    }

    /// The next piece if it is there. Never waits, since others wait for the end of a burst.
    async fn look(&mut self) -> Result<Next, Problem> {
        loop {
            let frame = poll_fn(|context| match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
                Poll::Pending => Poll::Ready(None),
            });
            match frame.await {
                Some(Some(frame)) => {
                    let frame = frame.map_err(|error| problems::unread_body(&error.to_string()))?;
                    if let Ok(data) = frame.into_data() {
                        return self.within_limit(data).map(Next::Data);
                    }
                }
                Some(None) => return Ok(Next::End),
                None => return Ok(Next::NotYet),
            }
        }
    }

    /// Takes `data` and what is there after it, up to a bound.
    pub(super) async fn burst(&mut self, data: Bytes, into: &mut Vec<u8>) -> Result<Burst, Problem> {
        let before = into.len();
        into.extend_from_slice(&data);
        drop(data);
        while into.len() - before < BURST_BYTES {
            match self.look().await? {
                Next::Data(data) => into.extend_from_slice(&data),
                Next::End => return Ok(Burst::ToTheEnd),
                Next::NotYet => return Ok(Burst::Interrupted),
            }
        }
        Ok(Burst::Full)
    }

    fn within_limit(&mut self, data: Bytes) -> Result<Bytes, Problem> {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        if self.bytes > self.limit {
            return Err(problems::large_body(self.limit));
        }
        Ok(data)
    }

    /// Bytes to make room for at once: for the whole body where its length is known, so that it is never copied again. What has not arrived
    /// takes no memory yet.
    pub(super) fn room_for(&self, begun: usize) -> usize {
        let whole = self
            .body
            .size_hint()
            .lower()
            .saturating_add(begun as u64)
            .min(self.limit);
        usize::try_from(whole).unwrap_or(begun)
    }
}
