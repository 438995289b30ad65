//! The way of an answer's pieces from a database thread to the client: bounded, so that a slow client costs little memory.
//!
//! The thread waits while the client has not taken enough of what is ready. It gives up on a client that takes nothing for
//! too long, and at once on one that has left. Nothing here knows what the pieces hold.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::{Condvar, Mutex};

use crate::database::{Cancellation, Settlement, while_waiting};
use crate::http::body::BoxError;

/// A piece is sent when it has this many bytes.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// Bytes that may wait for the client. A single larger piece waits alone.
pub(super) const QUEUED_BYTES: usize = 4 * CHUNK_BYTES;

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Between two pieces that it takes.
    pub(super) stall: Duration,
    /// For one answer in all.
    pub(super) total: Duration,
}

/// Why no further pieces can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the client has left")]
    ReaderLeft,
    #[error("the client did not read its answer")]
    Stalled,
    #[error("what the answer shows may be lost: the node's disk failed")]
    NotDurable,
}

/// An answer ended before it was complete.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
struct BrokenOff(String);

/// Where the pieces are put in. For a database thread.
pub(super) struct ChunkSender {
    shared: Arc<Shared>,
    patience: Patience,
    settlement: Settlement,
    waited: Duration,
}

/// Where the last piece is put in. Dropped without it, the answer breaks off.
pub(super) struct ChunkEnd {
    shared: Arc<Shared>,
}

/// The body that the client reads. Dropping it stops what writes to it.
pub(super) struct ChunkReader {
    shared: Arc<Shared>,
    cancellation: Cancellation,
}

struct Shared {
    state: Mutex<State>,
    taken: Condvar,
    /// Bytes that wait for clients in all answers together.
    queued: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Counts the pieces that were taken.
    taken: u64,
    end: End,
    reader: Option<Waker>,
    reader_left: bool,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    Complete,
    BrokenOff(String),
}

/// A new way. What waits in it is added to `queued`; `cancellation` is what the reader's leaving cancels; no piece is sent before
/// `settlement`.
pub(super) fn chunks(
    patience: Patience,
    queued: Arc<AtomicUsize>,
    cancellation: Cancellation,
    settlement: Settlement,
) -> (ChunkSender, ChunkEnd, ChunkReader) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        taken: Condvar::new(),
        queued,
    });
    let sender = ChunkSender {
        shared: Arc::clone(&shared),
        patience,
        settlement,
        waited: Duration::ZERO,
    };
    let end = ChunkEnd {
        shared: Arc::clone(&shared),
    };
    (sender, end, ChunkReader { shared, cancellation })
}

impl ChunkSender {
    /// Sends a piece. Blocks while the client has too much to take already.
    pub(super) fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        self.settlement.wait().map_err(|_never| Broken::NotDurable)?;
        {
            let mut state = self.shared.state.lock();
            if state.reader_left {
                return Err(Broken::ReaderLeft);
            }
            if state.has_room(chunk.len()) {
                self.shared.push(&mut state, chunk);
                return Ok(());
            }
        }
        let began = Instant::now();
        let most = self.patience.total.saturating_sub(self.waited);
        let outcome = while_waiting(|| self.shared.send_waiting(chunk, self.patience.stall, began + most));
        self.waited += began.elapsed();
        outcome
    }

    /// Sends a piece without waiting, whatever is queued: for the one that an answer begins with.
    pub(super) fn send_first(&mut self, chunk: Bytes) {
        self.shared.push(&mut self.shared.state.lock(), chunk);
    }
}

impl ChunkEnd {
    /// Whether nobody reads any more.
    pub(super) fn reader_left(&self) -> bool {
        self.shared.state.lock().reader_left
    }

    /// Sends the last piece, without waiting.
    pub(super) fn complete(self, last: Vec<u8>) {
        let mut state = self.shared.state.lock();
        if !last.is_empty() && !state.reader_left {
            self.shared.push(&mut state, Bytes::from(last));
        }
        state.finish(End::Complete);
    }

    /// Lets the answer end with an error after what was sent.
    pub(super) fn break_off(self, reason: String) {
        self.shared.state.lock().finish(End::BrokenOff(reason));
    }
}

impl Drop for ChunkEnd {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if matches!(state.end, End::Open) {
            state.finish(End::BrokenOff("the request failed inside the node".to_owned()));
        }
    }
}

impl ChunkReader {
    /// Ready as soon as there is a piece to take.
    pub(super) fn poll_begun(&self, context: &Context<'_>) -> Poll<()> {
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

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.shared.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.bytes -= chunk.len();
            state.taken += 1;
            drop(state);
            self.shared.queued.fetch_sub(chunk.len(), Relaxed);
            self.shared.taken.notify_all();
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
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
        let state = self.shared.state.lock();
        state.chunks.is_empty() && matches!(state.end, End::Complete)
    }
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.reader_left = true;
        state.chunks.clear();
        let dropped = std::mem::take(&mut state.bytes);
        drop(state);
        self.shared.queued.fetch_sub(dropped, Relaxed);
        self.cancellation.cancel();
        self.shared.taken.notify_all();
    }
}

impl Shared {
    fn push(&self, state: &mut State, chunk: Bytes) {
        self.queued.fetch_add(chunk.len(), Relaxed);
        state.bytes += chunk.len();
        state.chunks.push_back(chunk);
        state.wake();
    }

    /// Waits for room, then sends. The client is given up when it takes nothing for `stall`, and at the deadline.
    fn send_waiting(&self, chunk: Bytes, stall: Duration, deadline: Instant) -> Result<(), Broken> {
        let mut state = self.state.lock();
        loop {
            if state.reader_left {
                return Err(Broken::ReaderLeft);
            }
            if state.has_room(chunk.len()) {
                self.push(&mut state, chunk);
                return Ok(());
            }
            let before = state.taken;
            let until = deadline.min(Instant::now() + stall);
            let waiting = |state: &mut State| state.taken == before && !state.reader_left;
            let timed_out = self.taken.wait_while_until(&mut state, waiting, until).timed_out();
            if timed_out && !state.reader_left {
                return Err(Broken::Stalled);
            }
        }
    }
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        self.chunks.is_empty() || self.bytes + bytes <= QUEUED_BYTES
    }

    fn finish(&mut self, end: End) {
        self.end = end;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_later(&mut self, context: &Context<'_>) {
        if !self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.will_wake(context.waker()))
        {
            self.reader = Some(context.waker().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const PATIENT: Patience = Patience {
        stall: Duration::from_secs(60),
        total: Duration::from_secs(60),
    };

    fn way(patience: Patience) -> (ChunkSender, ChunkEnd, ChunkReader) {
        chunks(patience, Arc::default(), Cancellation::default(), Settlement::default())
    }

    fn piece(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn however_much_is_sent_little_is_queued() {
        let queued = Arc::<AtomicUsize>::default();
        let (mut sender, end, mut reader) = chunks(
            PATIENT,
            Arc::clone(&queued),
            Cancellation::default(),
            Settlement::default(),
        );
        let sending = std::thread::spawn(move || {
            for _ in 0..500 {
                sender.send(piece(CHUNK_BYTES)).unwrap();
            }
            end.complete(b"end".to_vec());
        });
        let mut received = 0;
        while let Some(frame) = reader.frame().await {
            received += frame.unwrap().into_data().unwrap().len();
            assert!(queued.load(Relaxed) <= QUEUED_BYTES + 3);
        }
        assert_eq!(received, 500 * CHUNK_BYTES + 3);
        assert_eq!(queued.load(Relaxed), 0);
        sending.join().unwrap();
    }

    #[tokio::test]
    async fn a_piece_larger_than_the_queue_waits_alone_and_arrives() {
        let (mut sender, end, mut reader) = way(PATIENT);
        let sending = std::thread::spawn(move || {
            sender.send(piece(1)).unwrap();
            sender.send(piece(10 * QUEUED_BYTES)).unwrap();
            end.complete(Vec::new());
        });
        assert_eq!(reader.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
        assert_eq!(reader.collect().await.unwrap().to_bytes().len(), 10 * QUEUED_BYTES);
        sending.join().unwrap();
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up_and_reads_an_error() {
        let hasty = Patience {
            stall: Duration::from_millis(5),
            ..PATIENT
        };
        let (mut sender, end, mut reader) = way(hasty);
        let broken = (0..=QUEUED_BYTES / CHUNK_BYTES).find_map(|_| sender.send(piece(CHUNK_BYTES)).err());
        assert_eq!(broken, Some(Broken::Stalled));
        end.break_off(Broken::Stalled.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(async {
            loop {
                if let Err(error) = reader.frame().await.unwrap() {
                    break error;
                }
            }
        });
        assert!(error.to_string().contains("did not read"), "{error}");
    }

    #[test]
    fn a_client_that_reads_drop_by_drop_is_given_up_in_the_end() {
        let hurried = Patience {
            stall: Duration::from_secs(60),
            total: Duration::ZERO,
        };
        let (mut sender, _end, _reader) = way(hurried);
        let broken = (0..=QUEUED_BYTES / CHUNK_BYTES).find_map(|_| sender.send(piece(CHUNK_BYTES)).err());
        assert_eq!(broken, Some(Broken::Stalled));
    }

    #[test]
    fn a_client_that_leaves_ends_the_wait_and_cancels_the_statement() {
        let cancellation = Cancellation::default();
        let queued = Arc::<AtomicUsize>::default();
        let (mut sender, _end, reader) = chunks(
            PATIENT,
            Arc::clone(&queued),
            cancellation.clone(),
            Settlement::default(),
        );
        let sending = std::thread::spawn(move || {
            (0..=QUEUED_BYTES / CHUNK_BYTES).find_map(|_| sender.send(piece(CHUNK_BYTES)).err())
        });
        drop(reader);
        assert_eq!(sending.join().unwrap(), Some(Broken::ReaderLeft));
        assert!(cancellation.is_cancelled());
        assert_eq!(queued.load(Relaxed), 0, "nothing waits for a client that has left");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_ends_breaks_off() {
        let (mut sender, end, reader) = way(PATIENT);
        sender.send(piece(1)).unwrap();
        drop(end);
        assert!(reader.collect().await.is_err());
    }
}
