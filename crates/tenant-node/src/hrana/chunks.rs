//! The way of an answer's pieces from a database thread to the client: bounded, so that a slow client costs little memory.
//!
//! The thread waits while the client has not taken enough of what is ready. It gives up on a client that takes nothing for
//! too long, and at once on one that has left. When it has no more to send, and much is left, somebody waits in its place: the connection
//! cannot, since it asks for nothing while its client reads nothing. Nothing here knows what the pieces hold.

mod reader;
mod untaken;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

pub(super) use self::reader::ChunkReader;
pub(super) use self::untaken::Untaken;
use crate::database::{Cancellation, Settlement, while_waiting};
use crate::http::pieces::PIECE_BYTES;

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

/// Where the pieces are put in. For a database thread.
pub(super) struct ChunkSender {
    shared: Arc<Shared>,
    patience: Patience,
    settlement: Settlement,
}

/// Where the last piece is put in. Dropped without it, the answer breaks off.
pub(super) struct ChunkEnd {
    shared: Arc<Shared>,
    patience: Patience,
}

struct Shared {
    state: Mutex<State>,
    taken: Condvar,
    /// Told when the client has everything, or has left.
    over: Notify,
    /// Bytes that wait for clients in all answers together.
    queued: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Counts the pieces that were taken.
    taken: u64,
    /// How long the client was waited for.
    waited: Duration,
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
        over: Notify::new(),
        queued,
    });
    let sender = ChunkSender {
        shared: Arc::clone(&shared),
        patience,
        settlement,
    };
    let end = ChunkEnd {
        shared: Arc::clone(&shared),
        patience,
    };
    (sender, end, ChunkReader::new(shared, cancellation))
}

/// The way of an answer that is here already, with its length.
pub(super) fn whole(answer: Vec<u8>, patience: Patience, queued: Arc<AtomicUsize>) -> (ChunkReader, Option<Untaken>) {
    let (_, end, reader) = chunks(patience, queued, Cancellation::default(), Settlement::default());
    let untaken = end.complete(answer);
    (reader.of_known_length(), untaken)
}

impl ChunkSender {
    /// Sends a piece. Blocks while the client has too much to take already.
    pub(super) fn send(&mut self, chunk: Bytes) -> Result<(), Broken> {
        self.settlement.wait().map_err(|_never| Broken::NotDurable)?;
        let waited = {
            let mut state = self.shared.state.lock();
            if state.reader_left {
                return Err(Broken::ReaderLeft);
            }
            if state.has_room(chunk.len()) {
                self.shared.push(&mut state, chunk);
                return Ok(());
            }
            state.waited
        };
        let began = Instant::now();
        let most = self.patience.total.saturating_sub(waited);
        let outcome = while_waiting(|| self.shared.send_waiting(chunk, self.patience.stall, began + most));
        self.shared.state.lock().waited += began.elapsed();
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

    /// Sends the last piece, without waiting. What is left then, where it is much: its client is to be waited for.
    #[must_use = "a client that reads nothing would keep it for as long as it likes"]
    pub(super) fn complete(self, last: Vec<u8>) -> Option<Untaken> {
        let mut state = self.shared.state.lock();
        if !last.is_empty() && !state.reader_left {
            self.shared.push(&mut state, Bytes::from(last));
        }
        state.finish(End::Complete);
        let much_is_left = state.bytes > QUEUED_BYTES;
        let patience = Patience {
            total: self.patience.total.saturating_sub(state.waited),
            ..self.patience
        };
        drop(state);
        much_is_left.then(|| Untaken::new(Arc::clone(&self.shared), patience))
    }

    /// Lets the answer end with an error after what was sent.
    pub(super) fn break_off(self, reason: String) {
        self.shared.break_off(reason);
    }
}

impl Drop for ChunkEnd {
    fn drop(&mut self) {
        let is_open = matches!(self.shared.state.lock().end, End::Open);
        if is_open {
            self.shared.break_off("the request failed inside the node".to_owned());
        }
    }
}

impl Shared {
    fn push(&self, state: &mut State, chunk: Bytes) {
        self.queued.fetch_add(chunk.len(), Relaxed);
        state.bytes += chunk.len();
        state.chunks.push_back(chunk);
        state.wake();
    }

    /// What waits is read yet if it is little, and let go if it is much.
    fn break_off(&self, reason: String) {
        let mut state = self.state.lock();
        if state.bytes > QUEUED_BYTES {
            self.let_go(&mut state);
        }
        state.finish(End::BrokenOff(reason));
    }

    fn let_go(&self, state: &mut State) {
        state.chunks.clear();
        self.queued.fetch_sub(std::mem::take(&mut state.bytes), Relaxed);
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
    /// Whether the client has all that there ever was.
    fn is_over(&self) -> bool {
        self.chunks.is_empty() && matches!(self.end, End::Complete)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.chunks.is_empty() || self.bytes + bytes <= QUEUED_BYTES
    }

    /// The next piece. Those of a large chunk are copies: a part would keep the whole for as long as the connection cannot write it.
    fn take_piece(&mut self) -> Option<Bytes> {
        let first = self.chunks.front_mut()?;
        let piece = if first.len() > PIECE_BYTES {
            let piece = Bytes::copy_from_slice(&first.split_to(PIECE_BYTES));
            if first.len() <= PIECE_BYTES {
                *first = Bytes::copy_from_slice(first);
            }
            piece
        } else {
            self.chunks.pop_front()?
        };
        self.bytes -= piece.len();
        self.taken += 1;
        Some(piece)
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
mod tests;
