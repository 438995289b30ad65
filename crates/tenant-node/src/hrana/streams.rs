//! The streams between two requests: who may go on with which, until when, and how many there may be.
//!
//! A stream without state is not kept at all: its baton holds what there is of it. Kept are streams with a connection of
//! their own or stored SQL, and, for a cursor whose baton had to be given out first, the place that it leads to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::Notify;

use super::baton::{Baton, BatonKey};
use super::remembered::{Remembered, Room};
use super::request::Leaves;
use super::slot::{Origin, StreamSlot};
use super::stored_sql::StoredSql;
use crate::database::{Session, WriteHistory};

/// Why a stream cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamError {
    /// The baton was not made for this tenant by this node, or it was changed.
    InvalidBaton,
    /// The baton was good once: its stream has expired, was closed, or went on with a newer baton.
    SpentBaton,
    /// The baton is good, and the answer that it came with is still being made.
    StillAnswering,
    /// The tenant has as many open streams with state as it may have.
    TenantLimit { limit: usize },
    /// The node has as many streams as it may have.
    NodeLimit,
    /// The node is stopping.
    Stopping,
}

/// What there is of a stream while it waits for its next request.
#[derive(Default)]
pub(super) struct Parked {
    /// Present while the stream has state on a connection.
    pub(super) session: Option<Session>,
    pub(super) history: WriteHistory,
    pub(super) sqls: StoredSql,
    pub(super) transaction: Transaction,
}

/// Whether the client knows how it stands with the stream's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Transaction {
    #[default]
    AsKnown,
    /// SQLite rolled it back in a request that was refused. The client sees the refusal alone and is about to roll back, too.
    GoneUnseen,
}

impl Transaction {
    /// After a further request that was refused.
    pub(super) const fn and_then(self, further: Self) -> Self {
        match (self, further) {
            (Self::AsKnown, Self::AsKnown) => Self::AsKnown,
            (Self::GoneUnseen, _) | (_, Self::GoneUnseen) => Self::GoneUnseen,
        }
    }
}

/// How many streams are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// A stream with state that waits for longer ends.
    pub(super) idle_expiry: Duration,
    /// Most waiting streams with state of a tenant.
    pub(super) per_tenant: usize,
    /// Most waiting streams with state.
    pub(super) total: usize,
    /// A stream without state that has to be remembered is forgotten after this time.
    pub(super) remembering: Duration,
    /// Most of these.
    pub(super) remembered: Room,
}

/// All streams of this node.
pub(super) struct Streams {
    pub(super) key: BatonKey,
    pub(super) bounds: Bounds,
    pub(super) table: Mutex<Table>,
    /// Told when a stream is free whose baton was given out before.
    pub(super) freed: Notify,
}

pub(super) struct Table {
    /// Streams with state, by the number in their baton.
    waiting: HashMap<TenantUid, HashMap<u64, Waiting>>,
    count: usize,
    pub(super) remembered: Remembered,
    /// Numbers whose batons were given out while the answers that they came with are being made.
    pub(super) answering: HashSet<u64>,
    last_id: u64,
    pub(super) stopping: bool,
}

struct Waiting {
    parked: Box<Parked>,
    since: Instant,
}

impl Parked {
    /// Whether there is more of it than fits into a baton.
    pub(super) fn has_state(&self) -> bool {
        self.session.is_some() || !self.sqls.is_empty() || self.transaction == Transaction::GoneUnseen
    }
}

impl Streams {
    /// `first_id` must be such that no number comes again that an earlier process signed with this key: a random one.
    pub(super) fn new(key: BatonKey, bounds: Bounds, first_id: u64) -> Self {
        Self {
            key,
            bounds,
            table: Mutex::new(Table {
                waiting: HashMap::new(),
                count: 0,
                remembered: Remembered::default(),
                answering: HashSet::new(),
                // The rest is enough for ever.
                last_id: first_id >> 1,
                stopping: false,
            }),
            freed: Notify::new(),
        }
    }

    /// Begins a stream. Where the tenant is at its limit and the request may leave state, its longest waiting stream without a
    /// connection of its own gives way.
    pub(super) fn open(self: &Arc<Self>, tenant: TenantUid, leaves: Leaves) -> Result<StreamSlot, StreamError> {
        let replaced = self.admit(&mut self.table.lock(), tenant, leaves)?;
        drop(replaced);
        Ok(StreamSlot::new(self, tenant, Origin::Begun))
    }

    /// Takes up the stream that a baton names. One whose answer is still being made is waited for, at most `patience`.
    pub(super) async fn resume_when_free(
        self: &Arc<Self>,
        tenant: TenantUid,
        baton: &str,
        leaves: Leaves,
        now: impl Fn() -> Instant,
        patience: Duration,
    ) -> Result<(StreamSlot, Parked), StreamError> {
        let waiting = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Registered before looking, so that no stream is missed.
                freed.as_mut().enable();
                match self.resume(tenant, baton, leaves, now()) {
                    Err(StreamError::StillAnswering) => freed.await,
                    outcome => return outcome,
                }
            }
        };
        match self.resume(tenant, baton, leaves, now()) {
            Err(StreamError::StillAnswering) => tokio::time::timeout(patience, waiting)
                .await
                .unwrap_or(Err(StreamError::StillAnswering)),
            outcome => outcome,
        }
    }

    /// Takes up the stream that a baton names.
    fn resume(
        self: &Arc<Self>,
        tenant: TenantUid,
        baton: &str,
        leaves: Leaves,
        now: Instant,
    ) -> Result<(StreamSlot, Parked), StreamError> {
        let baton = self.key.check(tenant, baton).ok_or(StreamError::InvalidBaton)?;
        let mut table = self.table.lock();
        let id = match baton {
            Baton::Stateless(history) => {
                let replaced = self.admit(&mut table, tenant, leaves)?;
                drop(table);
                drop(replaced);
                let slot = StreamSlot::new(self, tenant, Origin::Stateless);
                return Ok((slot, Parked::without_state(history)));
            }
            Baton::Kept(id) => id,
        };
        if table.stopping {
            return Err(StreamError::Stopping);
        }
        if table.answering.contains(&id) {
            return Err(StreamError::StillAnswering);
        }
        if let Some(Waiting { parked, since }) = table.remove(tenant, id) {
            drop(table);
            if now.saturating_duration_since(since) >= self.bounds.idle_expiry {
                return Err(StreamError::SpentBaton);
            }
            return Ok((StreamSlot::new(self, tenant, Origin::Kept(id)), *parked));
        }
        let (history, since) = table.remembered.take(tenant, id).ok_or(StreamError::SpentBaton)?;
        let origin = Origin::Remembered { id, history, since };
        let slot = StreamSlot::new(self, tenant, origin);
        // Dropping the slot puts the stream back, which needs the table.
        let replaced = self.admit(&mut table, tenant, leaves);
        drop(table);
        drop(replaced?);
        Ok((slot, Parked::without_state(history)))
    }

    /// Whether one more stream may come to have state. Returns the one that gave way to it.
    fn admit(&self, table: &mut Table, tenant: TenantUid, leaves: Leaves) -> Result<Option<Waiting>, StreamError> {
        if table.stopping {
            return Err(StreamError::Stopping);
        }
        if leaves == Leaves::Nothing {
            return Ok(None);
        }
        let own = table.waiting.get(&tenant).map_or(0, HashMap::len);
        if own < self.bounds.per_tenant && table.count < self.bounds.total {
            return Ok(None);
        }
        let oldest = table.oldest_without_connection(tenant);
        match oldest.and_then(|id| table.remove(tenant, id)) {
            Some(evicted) => Ok(Some(evicted)),
            None if own >= self.bounds.per_tenant => Err(StreamError::TenantLimit {
                limit: self.bounds.per_tenant,
            }),
            None => Err(StreamError::NodeLimit),
        }
    }

    /// Ends the streams that have waited too long; what they had open is rolled back. Returns how many.
    pub(super) fn expire(&self, now: Instant) -> usize {
        let mut table = self.table.lock();
        let forgotten = table.remembered.expire(now, self.bounds.remembering);
        let ended = table.remove_where(|since| now.saturating_duration_since(since) >= self.bounds.idle_expiry);
        drop(table);
        // Rolling back takes other locks: outside of this one.
        ended.len() + forgotten
    }

    /// Ends all waiting streams and refuses new ones; those being served end with their request.
    pub(super) fn close_all(&self) {
        let mut table = self.table.lock();
        table.stopping = true;
        let ended = table.remove_where(|_| true);
        drop(table);
        drop(ended);
    }

    /// How many streams there are of which something is kept.
    pub(super) fn len(&self) -> usize {
        let table = self.table.lock();
        table.count + table.remembered.len() + table.answering.len()
    }
}

impl Parked {
    fn without_state(history: WriteHistory) -> Self {
        Self {
            history,
            ..Self::default()
        }
    }
}

impl Table {
    /// A number that no baton has had.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Keeps a stream with state for its next request.
    pub(super) fn keep(&mut self, tenant: TenantUid, id: u64, parked: Parked, since: Instant) {
        let waiting = Waiting {
            parked: Box::new(parked),
            since,
        };
        self.waiting.entry(tenant).or_default().insert(id, waiting);
        self.count += 1;
    }

    fn remove(&mut self, tenant: TenantUid, id: u64) -> Option<Waiting> {
        let streams = self.waiting.get_mut(&tenant)?;
        let waiting = streams.remove(&id)?;
        self.count -= 1;
        if streams.is_empty() {
            self.waiting.remove(&tenant);
        }
        Some(waiting)
    }

    fn remove_where(&mut self, ends: impl Fn(Instant) -> bool) -> Vec<Waiting> {
        let streams = self.waiting.iter().flat_map(|(tenant, streams)| {
            let ending = streams.iter().filter(|(_, waiting)| ends(waiting.since));
            ending.map(|(id, _)| (*tenant, *id))
        });
        let ending: Vec<(TenantUid, u64)> = streams.collect();
        ending
            .into_iter()
            .filter_map(|(tenant, id)| self.remove(tenant, id))
            .collect()
    }

    fn oldest_without_connection(&self, tenant: TenantUid) -> Option<u64> {
        let streams = self.waiting.get(&tenant)?;
        let without = streams.iter().filter(|(_, waiting)| waiting.parked.session.is_none());
        without
            .min_by_key(|(id, waiting)| (waiting.since, **id))
            .map(|(id, _)| *id)
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
