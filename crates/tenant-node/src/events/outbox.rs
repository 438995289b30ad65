//! The thread that owns `outbox.db`, and the handle that others have on it.
//!
//! Nobody waits for it but who wants to: a batch that finds the inbox full is not taken, and whoever derived it from what still
//! holds derives it again. Repeated deliveries, and what gives way in a full outbox, are the store's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tenantry_types::{Incarnation, ReportSequence};
use tokio::sync::{mpsc, oneshot, watch};

use super::batch::{Batch, Record};
use super::store::{PendingBatch, Store};

/// Requests that wait for the thread, a batch each. The sampler has one under way at most, and so has the reporter.
const INBOX: usize = 16;

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The file cannot be opened, read or written.
    #[error("outbox {path}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The outbox thread cannot be started.
    #[error("cannot start the outbox thread")]
    Thread(#[source] std::io::Error),
    /// The outbox was closed.
    #[error("the outbox is closed")]
    Closed,
}

type Answer<T> = oneshot::Sender<Result<T, rusqlite::Error>>;

enum Request {
    Append(Batch, Answer<()>),
    Oldest(usize, Answer<Option<PendingBatch>>),
    Acknowledge(Incarnation, ReportSequence, Answer<()>),
    /// Only to look what else there is to do.
    Wake,
}

/// A handle on the outbox. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    record_since: Incarnation,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// How many events wait; the reporter sleeps on it.
    pending: watch::Receiver<u64>,
    /// Whether all that is raised is to be told again.
    tell_again: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What becomes of a batch that was handed over.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<(), rusqlite::Error>>);

impl Receipt {
    /// Whether all of it is on disk; otherwise nothing of it is. Cancel-safe.
    pub async fn written(&mut self) -> bool {
        match (&mut self.0).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "what changed could not be written to the outbox");
                false
            }
            Err(_) => false,
        }
    }
}

impl Outbox {
    /// Opens the file, or makes it, and reads what is on record. `capacity` is the most events that it keeps. Blocks.
    ///
    /// # Errors
    /// When the file or the thread cannot be had.
    pub fn open(path: &Path, incarnation: Incarnation, capacity: u64) -> Result<(Self, Record), OutboxError> {
        let storage = |source| OutboxError::Storage {
            path: path.to_owned(),
            source,
        };
        let store = Store::open(path, incarnation, capacity).map_err(storage)?;
        let record = store.record().map_err(storage)?;
        let record_since = store.record_since();
        let (pending_sender, pending) = watch::channel(store.len());
        let (requests, inbox) = mpsc::channel(INBOX);
        let tell_again = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&tell_again);
        let thread = std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || serve(store, inbox, &pending_sender, &asked))
            .map_err(OutboxError::Thread)?;
        let outbox = Self {
            path: path.to_owned(),
            record_since,
            requests: Mutex::new(Some(requests)),
            pending,
            tell_again,
            thread: Mutex::new(Some(thread)),
        };
        Ok((outbox, record))
    }

    /// The start of this node that began the record.
    #[must_use]
    pub const fn record_since(&self) -> Incarnation {
        self.record_since
    }

    /// Hands a batch over without a wait. `None` when too much waits already, or the outbox was closed: nothing of it will be
    /// written.
    pub fn try_append(&self, batch: Batch) -> Option<Receipt> {
        let (answer, answered) = oneshot::channel();
        let handed_over = self.sender()?.try_send(Request::Append(batch, answer));
        handed_over.is_ok().then_some(Receipt(answered))
    }

    /// Writes a batch, all of it in one transaction.
    ///
    /// # Errors
    /// When it could not be written: then nothing of it was.
    pub async fn append(&self, batch: Batch) -> Result<(), OutboxError> {
        self.ask(|answer| Request::Append(batch, answer)).await
    }

    /// Has everything that is raised told once more. Never waits.
    pub fn tell_raised_again(&self) {
        self.tell_again.store(true, Ordering::Release);
        if let Some(requests) = self.sender() {
            // Full or closed: then the thread looks without it, or never again.
            let _ = requests.try_send(Request::Wake);
        }
    }

    /// The oldest events, at most `most`; `None` when there are none.
    ///
    /// # Errors
    /// When the file cannot be read, or the outbox was closed.
    pub async fn oldest(&self, most: usize) -> Result<Option<PendingBatch>, OutboxError> {
        self.ask(|answer| Request::Oldest(most, answer)).await
    }

    /// Forgets the events of `incarnation` up to `sequence`.
    ///
    /// # Errors
    /// When the file cannot be written, or the outbox was closed.
    pub async fn acknowledge(&self, incarnation: Incarnation, sequence: ReportSequence) -> Result<(), OutboxError> {
        self.ask(|answer| Request::Acknowledge(incarnation, sequence, answer))
            .await
    }

    /// How many events wait; changes wake the reporter.
    #[must_use]
    pub fn pending(&self) -> watch::Receiver<u64> {
        self.pending.clone()
    }

    /// Lets the thread finish what it was given and waits for it. Blocks; not for async workers.
    pub fn close(&self) {
        self.requests.lock().take();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the outbox thread panicked");
        }
    }

    fn sender(&self) -> Option<mpsc::Sender<Request>> {
        self.requests.lock().clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, OutboxError> {
        let requests = self.sender().ok_or(OutboxError::Closed)?;
        let (answer, answered) = oneshot::channel();
        requests.send(request(answer)).await.map_err(|_| OutboxError::Closed)?;
        drop(requests);
        let result = answered.await.map_err(|_| OutboxError::Closed)?;
        result.map_err(|source| OutboxError::Storage {
            path: self.path.clone(),
            source,
        })
    }
}

fn serve(mut store: Store, mut inbox: mpsc::Receiver<Request>, pending: &watch::Sender<u64>, tell_again: &AtomicBool) {
    // Before the answer: who has it finds the count to be of after it.
    let count = |store: &Store| {
        let count = store.len();
        pending.send_if_modified(|known| std::mem::replace(known, count) != count);
    };
    while let Some(request) = inbox.blocking_recv() {
        match request {
            Request::Append(batch, answer) => {
                let written = store.append(&batch);
                count(&store);
                drop(answer.send(written));
            }
            Request::Oldest(most, answer) => drop(answer.send(store.oldest(most))),
            Request::Acknowledge(incarnation, sequence, answer) => {
                let forgotten = store.acknowledge(incarnation, sequence);
                count(&store);
                drop(answer.send(forgotten));
            }
            Request::Wake => {}
        }
        if tell_again.swap(false, Ordering::AcqRel) {
            if let Err(error) = store.tell_raised_again() {
                tracing::error!(%error, "what is raised cannot be told again yet");
                tell_again.store(true, Ordering::Release);
            }
            count(&store);
        }
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
