//! The end of the way that the connection reads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::yield_now;

use super::{End, Shared};
use crate::database::Cancellation;
use crate::http::body::BoxError;
use crate::http::pieces::PIECE_BYTES;

/// The body that the client reads. Dropping it stops what writes to it.
pub(in crate::hrana) struct ChunkReader {
    shared: Arc<Shared>,
    cancellation: Cancellation,
    is_of_known_length: bool,
    /// After a full piece, until others have had their turn: the connection would write megabytes in one go.
    others: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

/// An answer ended before it was complete.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
struct BrokenOff(String);

impl ChunkReader {
    pub(super) fn new(shared: Arc<Shared>, cancellation: Cancellation) -> Self {
        Self {
            shared,
            cancellation,
            is_of_known_length: false,
            others: None,
        }
    }

    /// The same, where everything has been sent.
    pub(super) fn of_known_length(mut self) -> Self {
        self.is_of_known_length = true;
        self
    }

    /// Ready as soon as there is a piece to take.
    pub(in crate::hrana) fn poll_begun(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.shared.state.lock();
        if state.chunks.is_empty() {
            state.wake_later(context);
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl http_body::Body for ChunkReader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(others) = &mut self.others {
            ready!(others.as_mut().poll(context));
            self.others = None;
        }
        let mut state = self.shared.state.lock();
        if let Some(piece) = state.take_piece() {
            if state.is_over() {
                self.shared.over.notify_one();
            }
            drop(state);
            self.shared.queued.fetch_sub(piece.len(), Relaxed);
            self.shared.taken.notify_all();
            if piece.len() == PIECE_BYTES {
                self.others = Some(Box::pin(yield_now()));
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &state.end {
            End::Open => {
                state.wake_later(context);
                Poll::Pending
            }
            End::Complete => Poll::Ready(None),
            End::BrokenOff(reason) => {
                let error = BrokenOff(reason.clone());
                state.end = End::Complete;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.shared.state.lock().is_over()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.is_of_known_length {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.shared.state.lock().bytes as u64)
    }
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.reader_left = true;
        self.shared.let_go(&mut state);
        drop(state);
        self.cancellation.cancel();
        self.shared.taken.notify_all();
        self.shared.over.notify_one();
    }
}
