//! Events that the control plane has not acknowledged yet, on disk, bounded, in order.
//!
//! One thread owns the file. An event keeps the incarnation and sequence that it was first numbered with, so that a
//! repeated delivery is recognised, also across a restart of this node. When the outbox is full the oldest event gives
//! way, and what was dropped is counted and reported as an event of its own.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use tenantry_proto::v1;
use tenantry_types::{EventDetail, Incarnation, ReportSequence, ReportedEvent, TenantUid, UnixMillis};
use tokio::sync::{mpsc, oneshot, watch};

/// Events that wait for the outbox thread. When full, further ones are dropped and counted.
const INBOX: usize = 1_024;

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

/// An event that waits for its acknowledgement.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingEvent {
    /// Its place in the outbox of its incarnation.
    pub sequence: ReportSequence,
    /// As it goes over the wire.
    pub event: v1::ReportedEvent,
}

/// The oldest events of one incarnation, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingBatch {
    /// The start of this node that numbered them.
    pub incarnation: Incarnation,
    /// Never empty.
    pub events: Vec<PendingEvent>,
}

enum Request {
    Append(UnixMillis, Option<TenantUid>, EventDetail),
    Oldest(usize, oneshot::Sender<Result<Option<PendingBatch>, rusqlite::Error>>),
    Acknowledge(
        Incarnation,
        ReportSequence,
        oneshot::Sender<Result<(), rusqlite::Error>>,
    ),
}

/// A handle on the outbox. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// How many events wait; the reporter sleeps on it.
    pending: watch::Receiver<u64>,
    dropped_at_inbox: std::sync::atomic::AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Outbox {
    /// Opens the file, or makes it. `capacity` is the most events that it keeps.
    ///
    /// # Errors
    /// When the file or the thread cannot be had.
    pub fn open(path: &Path, incarnation: Incarnation, capacity: u64) -> Result<Self, OutboxError> {
        let storage = |source| OutboxError::Storage {
            path: path.to_owned(),
            source,
        };
        let table = Table::open(path, incarnation, capacity).map_err(storage)?;
        let (pending_sender, pending) = watch::channel(table.count().map_err(storage)?);
        let (requests, inbox) = mpsc::channel(INBOX);
        let thread = std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || table.serve(inbox, &pending_sender))
            .map_err(OutboxError::Thread)?;
        Ok(Self {
            path: path.to_owned(),
            requests: Mutex::new(Some(requests)),
            pending,
            dropped_at_inbox: std::sync::atomic::AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands an event to the outbox thread. Never waits: when the thread is far behind, the event is dropped and counted.
    pub fn append(&self, occurred_at: UnixMillis, tenant: Option<TenantUid>, detail: EventDetail) {
        use std::sync::atomic::Ordering::Relaxed;
        let Some(requests) = self.sender() else { return };
        let lost = self.dropped_at_inbox.swap(0, Relaxed);
        if lost > 0
            && requests
                .try_send(Request::Append(
                    occurred_at,
                    None,
                    EventDetail::EventsDropped { count: lost },
                ))
                .is_err()
        {
            self.dropped_at_inbox.fetch_add(lost, Relaxed);
        }
        if requests.try_send(Request::Append(occurred_at, tenant, detail)).is_err() {
            self.dropped_at_inbox.fetch_add(1, Relaxed);
            metrics::counter!("tenantry_node_events_dropped_total").increment(1);
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

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, rusqlite::Error>>) -> Request,
    ) -> Result<T, OutboxError> {
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

/// What the thread owns.
struct Table {
    connection: Connection,
    incarnation: Incarnation,
    next: ReportSequence,
    capacity: u64,
}

impl Table {
    fn open(path: &Path, incarnation: Incarnation, capacity: u64) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS pending (
                position INTEGER PRIMARY KEY AUTOINCREMENT,
                incarnation INTEGER NOT NULL,
                sequence INTEGER NOT NULL,
                event BLOB NOT NULL,
                UNIQUE (incarnation, sequence)
            ) STRICT",
        )?;
        let last: Option<i64> = connection
            .query_row(
                "SELECT max(sequence) FROM pending WHERE incarnation = ?",
                [signed(incarnation.get())],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        let next = ReportSequence(last.map_or(0, i64::cast_unsigned)).next();
        Ok(Self {
            connection,
            incarnation,
            next,
            capacity: capacity.max(2),
        })
    }

    fn serve(mut self, mut inbox: mpsc::Receiver<Request>, pending: &watch::Sender<u64>) {
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Append(occurred_at, tenant, detail) => {
                    if let Err(error) = self.append(occurred_at, tenant, detail) {
                        metrics::counter!("tenantry_node_events_dropped_total").increment(1);
                        tracing::error!(%error, "an event could not be written to the outbox and is lost");
                    }
                }
                Request::Oldest(most, answer) => drop(answer.send(self.oldest(most))),
                Request::Acknowledge(incarnation, sequence, answer) => {
                    drop(answer.send(self.acknowledge(incarnation, sequence)));
                }
            }
            match self.count() {
                Ok(count) => {
                    pending.send_if_modified(|known| std::mem::replace(known, count) != count);
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be counted"),
            }
        }
    }

    fn append(
        &mut self,
        occurred_at: UnixMillis,
        tenant: Option<TenantUid>,
        detail: EventDetail,
    ) -> Result<(), rusqlite::Error> {
        let count = self.count()?;
        if count >= self.capacity {
            // Two give way: one for the event, one for the word that something was dropped.
            let excess = count - self.capacity + 2;
            self.connection.execute(
                "DELETE FROM pending WHERE position IN (SELECT position FROM pending ORDER BY position LIMIT ?)",
                [signed(excess)],
            )?;
            metrics::counter!("tenantry_node_events_dropped_total").increment(excess);
            self.insert(occurred_at, None, EventDetail::EventsDropped { count: excess })?;
        }
        self.insert(occurred_at, tenant, detail)
    }

    fn insert(
        &mut self,
        occurred_at: UnixMillis,
        tenant: Option<TenantUid>,
        detail: EventDetail,
    ) -> Result<(), rusqlite::Error> {
        let sequence = self.next;
        let event = v1::ReportedEvent::from(&ReportedEvent {
            sequence,
            occurred_at,
            tenant,
            detail,
        });
        self.connection
            .prepare_cached("INSERT INTO pending (incarnation, sequence, event) VALUES (?, ?, ?)")?
            .execute(params![
                signed(self.incarnation.get()),
                signed(sequence.get()),
                event.encode_to_vec()
            ])?;
        self.next = sequence.next();
        Ok(())
    }

    fn oldest(&self, most: usize) -> Result<Option<PendingBatch>, rusqlite::Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT incarnation, sequence, event FROM pending ORDER BY position LIMIT ?")?;
        let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
        let mut batch: Option<PendingBatch> = None;
        while let Some(row) = rows.next()? {
            let incarnation = Incarnation(row.get::<_, i64>(0)?.cast_unsigned());
            let sequence = ReportSequence(row.get::<_, i64>(1)?.cast_unsigned());
            let encoded: Vec<u8> = row.get(2)?;
            let event = match v1::ReportedEvent::decode(Bytes::from(encoded)) {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!(%incarnation, %sequence, %error, "an event in the outbox does not parse and is skipped");
                    continue;
                }
            };
            let pending = PendingEvent { sequence, event };
            match &mut batch {
                None => {
                    batch = Some(PendingBatch {
                        incarnation,
                        events: vec![pending],
                    })
                }
                Some(batch) if batch.incarnation == incarnation => batch.events.push(pending),
                // Another incarnation's events go into a batch of their own.
                Some(_) => break,
            }
        }
        Ok(batch)
    }

    fn acknowledge(&self, incarnation: Incarnation, sequence: ReportSequence) -> Result<(), rusqlite::Error> {
        self.connection
            .prepare_cached("DELETE FROM pending WHERE incarnation < ?1 OR (incarnation = ?1 AND sequence <= ?2)")?
            .execute([signed(incarnation.get()), signed(sequence.get())])?;
        Ok(())
    }

    fn count(&self) -> Result<u64, rusqlite::Error> {
        self.connection
            .prepare_cached("SELECT count(*) FROM pending")?
            .query_row([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
    }
}

/// SQLite's integers are signed; our counters stay far below the sign bit.
const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: UnixMillis = UnixMillis(3_600_000);

    fn crossed(used: u64) -> EventDetail {
        EventDetail::QuotaCrossed {
            quota: tenantry_types::QuotaKind::Database,
            percent: 80,
            used,
            limit: 100,
        }
    }

    async fn sequences(outbox: &Outbox) -> Option<(u64, Vec<u64>)> {
        let batch = outbox.oldest(100).await.unwrap()?;
        Some((
            batch.incarnation.get(),
            batch.events.iter().map(|event| event.sequence.get()).collect(),
        ))
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_survives_a_restart_under_its_old_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let outbox = Outbox::open(&path, Incarnation(1), 100).unwrap();
        (1..=3).for_each(|used| outbox.append(HOUR, None, crossed(used)));
        assert_eq!(sequences(&outbox).await, Some((1, vec![1, 2, 3])));
        outbox.acknowledge(Incarnation(1), ReportSequence(2)).await.unwrap();
        outbox.close();

        let outbox = Outbox::open(&path, Incarnation(2), 100).unwrap();
        outbox.append(HOUR, None, crossed(4));
        assert_eq!(
            sequences(&outbox).await,
            Some((1, vec![3])),
            "older incarnations go first, alone"
        );
        outbox.acknowledge(Incarnation(1), ReportSequence(3)).await.unwrap();
        assert_eq!(sequences(&outbox).await, Some((2, vec![1])));
        outbox.acknowledge(Incarnation(2), ReportSequence(1)).await.unwrap();
        assert_eq!(sequences(&outbox).await, None);
        assert_eq!(*outbox.pending().borrow(), 0);
        outbox.close();
        assert!(matches!(outbox.oldest(1).await, Err(OutboxError::Closed)));
    }

    #[tokio::test]
    async fn a_full_outbox_drops_the_oldest_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(&folder.path().join("outbox.db"), Incarnation(1), 3).unwrap();
        (1..=4).for_each(|used| outbox.append(HOUR, None, crossed(used)));
        let batch = outbox.oldest(100).await.unwrap().unwrap();
        assert_eq!(batch.events.len(), 3);
        let dropped = batch
            .events
            .iter()
            .find_map(|event| match event.event.detail.as_ref()?.kind.as_ref()? {
                v1::event_detail::Kind::EventsDropped(dropped) => Some(dropped.count),
                _ => None,
            });
        assert_eq!(dropped, Some(2));
        outbox.close();
    }
}
