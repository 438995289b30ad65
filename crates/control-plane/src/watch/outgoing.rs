//! The bounded way of a watch's messages to its connection.
//!
//! A watcher that does not read is waited for here, by its own task alone, and not for ever: then its stream ends with a
//! reason, after what was queued before.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::Status;

/// Messages that wait for a watcher to read. They are shared with all other watchers, so they cost a pointer each.
const QUEUE: usize = 64;

/// The end that a watch's task holds.
#[derive(Debug)]
pub struct Outgoing {
    queue: mpsc::Sender<Bytes>,
    ending: Arc<OnceLock<Result<Bytes, Status>>>,
    patience: Duration,
}

/// The end that the connection holds: encoded messages, and after them the reason why there are no more.
#[derive(Debug)]
pub struct Outbox {
    queue: mpsc::Receiver<Bytes>,
    ending: Arc<OnceLock<Result<Bytes, Status>>>,
    ended: bool,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// The watcher has left.
    Left,
    /// The watcher has not read for too long.
    TooSlow,
}

/// A way for messages. Who does not read any for `patience` is too slow.
#[must_use]
pub fn outgoing(patience: Duration) -> (Outgoing, Outbox) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let ending = Arc::new(OnceLock::new());
    let outgoing = Outgoing {
        queue: sender,
        ending: Arc::clone(&ending),
        patience,
    };
    let outbox = Outbox {
        queue: receiver,
        ending,
        ended: false,
    };
    (outgoing, outbox)
}

impl Outgoing {
    pub(super) async fn send(&self, message: Bytes) -> Result<(), Undelivered> {
        match tokio::time::timeout(self.patience, self.queue.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Undelivered::Left),
            Err(_) => Err(Undelivered::TooSlow),
        }
    }

    /// Returns when the watcher has left.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Ends the stream with `last`, behind all that is queued, however full that is.
    pub(super) fn end_with(self, last: Result<Bytes, Status>) {
        // Nobody else sets it: `self` is the only one and is gone after this.
        let _ = self.ending.set(last);
    }
}

#[cfg(test)]
impl Outbox {
    /// Whether the watch's task has ended; messages may still be queued.
    pub(super) fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }
}

impl Stream for Outbox {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match std::task::ready!(self.queue.poll_recv(cx)) {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None if self.ended => Poll::Ready(None),
            None => {
                self.ended = true;
                Poll::Ready(self.ending.get().cloned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_watcher_that_does_not_read_is_given_up_and_told_after_what_was_queued() {
        let (outgoing, outbox) = outgoing(Duration::from_millis(1));
        for _ in 0..QUEUE {
            outgoing.send(Bytes::from_static(b"change")).await.unwrap();
        }
        assert_eq!(outgoing.send(Bytes::new()).await, Err(Undelivered::TooSlow));
        outgoing.end_with(Ok(Bytes::from_static(b"reason")));
        let read: Vec<Bytes> = outbox.map(Result::unwrap).collect().await;
        assert_eq!(read.len(), QUEUE + 1);
        assert_eq!(read.last().unwrap(), "reason");
    }

    #[tokio::test]
    async fn a_watcher_that_leaves_is_noticed() {
        let (outgoing, outbox) = outgoing(Duration::from_secs(60));
        drop(outbox);
        outgoing.closed().await;
        assert_eq!(outgoing.send(Bytes::new()).await, Err(Undelivered::Left));
    }
}
