//! The streams between two requests: who may go on with which, until when, and how many there may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::Notify;

use super::baton::{Baton, BatonKey};
use super::stored_sql::StoredSql;
use crate::database::Session;

/// Why a stream cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamError {
    /// The baton was not made for this tenant by this process, or it was changed.
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

/// A stream that waits for its next request.
pub(super) struct Parked {
    /// Present while the stream has state on a connection.
    pub(super) session: Option<Session>,
    pub(super) last_insert_rowid: i64,
    pub(super) sqls: StoredSql,
}

/// All streams of this node.
pub(super) struct Streams {
    key: BatonKey,
    idle_expiry: Duration,
    per_tenant: usize,
    total: usize,
    table: Mutex<Table>,
    /// Told when a stream is free whose baton was given out before.
    freed: Notify,
}

#[derive(Default)]
struct Table {
    tenants: HashMap<TenantUid, HashMap<u64, Entry>>,
    count: usize,
    last_id: u64,
    stopping: bool,
}

struct Entry {
    sequence: u64,
    state: State,
}

enum State {
    /// A request of it is being served.
    Busy,
    /// The same, and its client has the next baton already.
    Answering,
    Waiting {
        parked: Box<Parked>,
        since: Instant,
    },
}

/// The right to serve a stream's next request. Dropped without [`StreamSlot::park`], it ends the stream.
pub(super) struct StreamSlot {
    streams: Arc<Streams>,
    tenant: TenantUid,
    id: u64,
    sequence: u64,
    given_out: Option<String>,
}

impl Streams {
    pub(super) fn new(key: BatonKey, idle_expiry: Duration, per_tenant: usize, total: usize) -> Self {
        Self {
            key,
            idle_expiry,
            per_tenant,
            total,
            table: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Makes room for a new stream. Where the tenant is at its limit, its longest waiting stream without a connection of its
    /// own gives way.
    pub(super) fn open(self: &Arc<Self>, tenant: TenantUid) -> Result<StreamSlot, StreamError> {
        let mut table = self.table.lock();
        if table.stopping {
            return Err(StreamError::Stopping);
        }
        let own = table.tenants.get(&tenant).map_or(0, HashMap::len);
        let replaced = if own >= self.per_tenant || table.count >= self.total {
            let oldest = table.oldest_without_connection(tenant);
            let evicted = oldest.and_then(|id| table.remove(tenant, id));
            if evicted.is_none() {
                return Err(if own >= self.per_tenant {
                    StreamError::TenantLimit { limit: self.per_tenant }
                } else {
                    StreamError::NodeLimit
                });
            }
            evicted
        } else {
            None
        };
        table.last_id += 1;
        table.count += 1;
        let id = table.last_id;
        let entry = Entry {
            sequence: 0,
            state: State::Busy,
        };
        table.tenants.entry(tenant).or_default().insert(id, entry);
        drop(table);
        drop(replaced);
        Ok(self.slot(tenant, id, 0))
    }

    /// Takes up the stream that a baton names. One whose answer is still being made is waited for, at most `patience`.
    pub(super) async fn resume_when_free(
        self: &Arc<Self>,
        tenant: TenantUid,
        baton: &str,
        now: impl Fn() -> Instant,
        patience: Duration,
    ) -> Result<(StreamSlot, Parked), StreamError> {
        let waiting = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Registered before looking, so that no stream is missed.
                freed.as_mut().enable();
                match self.resume(tenant, baton, now()) {
                    Err(StreamError::StillAnswering) => freed.await,
                    outcome => return outcome,
                }
            }
        };
        match self.resume(tenant, baton, now()) {
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
        now: Instant,
    ) -> Result<(StreamSlot, Parked), StreamError> {
        let baton = self.key.check(tenant, baton).ok_or(StreamError::InvalidBaton)?;
        let mut table = self.table.lock();
        if table.stopping {
            return Err(StreamError::Stopping);
        }
        let entry = table
            .tenants
            .get_mut(&tenant)
            .and_then(|streams| streams.get_mut(&baton.stream))
            .filter(|entry| entry.sequence == baton.sequence)
            .ok_or(StreamError::SpentBaton)?;
        match std::mem::replace(&mut entry.state, State::Busy) {
            State::Busy => Err(StreamError::SpentBaton),
            State::Answering => {
                entry.state = State::Answering;
                Err(StreamError::StillAnswering)
            }
            State::Waiting { parked, since } => {
                drop(table);
                let slot = self.slot(tenant, baton.stream, baton.sequence);
                if now.saturating_duration_since(since) >= self.idle_expiry {
                    return Err(StreamError::SpentBaton);
                }
                Ok((slot, *parked))
            }
        }
    }

    /// Ends the streams that have waited too long; what they had open is rolled back. Returns how many.
    pub(super) fn expire(&self, now: Instant) -> usize {
        let mut table = self.table.lock();
        let expired: Vec<(TenantUid, u64)> = table
            .waiting()
            .filter(|(_, _, since)| now.saturating_duration_since(*since) >= self.idle_expiry)
            .map(|(tenant, id, _)| (tenant, id))
            .collect();
        let ended: Vec<Entry> = expired
            .into_iter()
            .filter_map(|(tenant, id)| table.remove(tenant, id))
            .collect();
        drop(table);
        // Rolling back takes other locks: outside of this one.
        ended.len()
    }

    /// Ends all waiting streams and refuses new ones; those being served end with their request.
    pub(super) fn close_all(&self) {
        let mut table = self.table.lock();
        table.stopping = true;
        let waiting: Vec<(TenantUid, u64)> = table.waiting().map(|(tenant, id, _)| (tenant, id)).collect();
        let ended: Vec<Entry> = waiting
            .into_iter()
            .filter_map(|(tenant, id)| table.remove(tenant, id))
            .collect();
        drop(table);
        drop(ended);
    }

    /// How many streams there are.
    pub(super) fn len(&self) -> usize {
        self.table.lock().count
    }

    fn slot(self: &Arc<Self>, tenant: TenantUid, id: u64, sequence: u64) -> StreamSlot {
        StreamSlot {
            streams: Arc::clone(self),
            tenant,
            id,
            sequence,
            given_out: None,
        }
    }
}

impl StreamSlot {
    /// The baton of the next request, before this one has been served. It is good once the stream is parked.
    pub(super) fn give_out_baton(&mut self) -> String {
        self.sequence += 1;
        let mut table = self.streams.table.lock();
        let entry = table
            .tenants
            .get_mut(&self.tenant)
            .and_then(|streams| streams.get_mut(&self.id));
        if let Some(entry) = entry {
            entry.sequence = self.sequence;
            entry.state = State::Answering;
        }
        drop(table);
        let baton = self.sign();
        self.given_out = Some(baton.clone());
        baton
    }

    /// Leaves the stream for its next request and returns the baton for it; `None` when the node is stopping.
    pub(super) fn park(mut self, parked: Parked, now: Instant) -> Option<String> {
        let given_out = self.given_out.take();
        if given_out.is_none() {
            self.sequence += 1;
        }
        let mut table = self.streams.table.lock();
        if table.stopping {
            drop(table);
            drop(parked);
            return None;
        }
        let entry = table
            .tenants
            .get_mut(&self.tenant)
            .and_then(|streams| streams.get_mut(&self.id))?;
        entry.sequence = self.sequence;
        entry.state = State::Waiting {
            parked: Box::new(parked),
            since: now,
        };
        drop(table);
        if given_out.is_some() {
            self.streams.freed.notify_waiters();
        }
        Some(given_out.unwrap_or_else(|| self.sign()))
    }

    fn sign(&self) -> String {
        let baton = Baton {
            stream: self.id,
            sequence: self.sequence,
        };
        self.streams.key.sign(self.tenant, baton)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut table = self.streams.table.lock();
        let is_busy = table
            .tenants
            .get(&self.tenant)
            .and_then(|streams| streams.get(&self.id))
            .is_some_and(|entry| matches!(entry.state, State::Busy | State::Answering));
        if is_busy {
            let ended = table.remove(self.tenant, self.id);
            drop(table);
            drop(ended);
            self.streams.freed.notify_waiters();
        }
    }
}

impl Table {
    fn remove(&mut self, tenant: TenantUid, id: u64) -> Option<Entry> {
        let streams = self.tenants.get_mut(&tenant)?;
        let entry = streams.remove(&id)?;
        self.count -= 1;
        if streams.is_empty() {
            self.tenants.remove(&tenant);
        }
        Some(entry)
    }

    fn waiting(&self) -> impl Iterator<Item = (TenantUid, u64, Instant)> {
        self.tenants.iter().flat_map(|(tenant, streams)| {
            streams.iter().filter_map(|(id, entry)| match &entry.state {
                State::Busy | State::Answering => None,
                State::Waiting { since, .. } => Some((*tenant, *id, *since)),
            })
        })
    }

    fn oldest_without_connection(&self, tenant: TenantUid) -> Option<u64> {
        let streams = self.tenants.get(&tenant)?;
        streams
            .iter()
            .filter_map(|(id, entry)| match &entry.state {
                State::Waiting { parked, since } if parked.session.is_none() => Some((*since, *id)),
                State::Waiting { .. } | State::Busy | State::Answering => None,
            })
            .min()
            .map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantUid = TenantUid::from_u128(1);
    const OTHER: TenantUid = TenantUid::from_u128(2);
    const EXPIRY: Duration = Duration::from_secs(10);

    fn streams() -> Arc<Streams> {
        Arc::new(Streams::new(BatonKey::new([1; 32]), EXPIRY, 2, 3))
    }

    fn parked() -> Parked {
        Parked {
            session: None,
            last_insert_rowid: 5,
            sqls: StoredSql::default(),
        }
    }

    #[test]
    fn a_baton_is_good_for_one_request_of_its_own_tenant() {
        let streams = streams();
        let now = Instant::now();
        let first = streams.open(TENANT).unwrap().park(parked(), now).unwrap();
        assert_eq!(
            streams.resume(OTHER, &first, now).err(),
            Some(StreamError::InvalidBaton)
        );
        let (slot, state) = streams.resume(TENANT, &first, now).unwrap();
        assert_eq!(state.last_insert_rowid, 5);
        assert_eq!(streams.resume(TENANT, &first, now).err(), Some(StreamError::SpentBaton));
        let second = slot.park(state, now).unwrap();
        assert_eq!(streams.resume(TENANT, &first, now).err(), Some(StreamError::SpentBaton));
        drop(streams.resume(TENANT, &second, now).unwrap());
        assert_eq!(
            streams.resume(TENANT, &second, now).err(),
            Some(StreamError::SpentBaton)
        );
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn a_stream_ends_when_it_waits_too_long() {
        let streams = streams();
        let now = Instant::now();
        let batons: Vec<_> = (0..2)
            .map(|_| streams.open(TENANT).unwrap().park(parked(), now).unwrap())
            .collect();
        assert_eq!(streams.expire(now + EXPIRY - Duration::from_millis(1)), 0);
        assert_eq!(
            streams.resume(TENANT, &batons[0], now + EXPIRY).err(),
            Some(StreamError::SpentBaton)
        );
        assert_eq!(streams.expire(now + EXPIRY), 1);
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn at_the_limit_the_oldest_stream_without_state_gives_way() {
        let streams = streams();
        let now = Instant::now();
        let old = streams.open(TENANT).unwrap().park(parked(), now).unwrap();
        let busy = streams.open(TENANT).unwrap();
        let newer = streams.open(TENANT).unwrap();
        assert_eq!(streams.resume(TENANT, &old, now).err(), Some(StreamError::SpentBaton));
        assert_eq!(streams.open(TENANT).err(), Some(StreamError::TenantLimit { limit: 2 }));
        let _third = streams.open(OTHER).unwrap();
        assert_eq!(streams.open(OTHER).err(), Some(StreamError::NodeLimit));
        drop((busy, newer));
        assert!(streams.open(OTHER).is_ok());
    }

    #[tokio::test]
    async fn a_baton_that_was_given_out_early_is_good_when_its_answer_is_complete() {
        let streams = streams();
        let now = Instant::now();
        let mut slot = streams.open(TENANT).unwrap();
        let baton = slot.give_out_baton();
        assert_eq!(
            streams.resume(TENANT, &baton, now).err(),
            Some(StreamError::StillAnswering)
        );
        let short = streams.resume_when_free(TENANT, &baton, || now, Duration::ZERO).await;
        assert_eq!(short.err(), Some(StreamError::StillAnswering));
        let mut early = Box::pin(streams.resume_when_free(TENANT, &baton, || now, EXPIRY));
        assert!(futures_util::poll!(&mut early).is_pending());
        assert_eq!(slot.park(parked(), now), Some(baton.clone()));
        let (mut slot, _) = early.await.unwrap();
        let next = slot.give_out_baton();
        let early = streams.resume_when_free(TENANT, &next, || now, EXPIRY);
        drop(slot);
        assert_eq!(early.await.err(), Some(StreamError::SpentBaton), "its stream has ended");
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn closing_ends_all_and_refuses_new_ones() {
        let streams = streams();
        let now = Instant::now();
        let waiting = streams.open(TENANT).unwrap().park(parked(), now).unwrap();
        let busy = streams.open(TENANT).unwrap();
        streams.close_all();
        assert_eq!(streams.resume(TENANT, &waiting, now).err(), Some(StreamError::Stopping));
        assert_eq!(streams.open(TENANT).err(), Some(StreamError::Stopping));
        assert_eq!(busy.park(parked(), now), None);
        assert_eq!(streams.len(), 0);
    }

    impl std::fmt::Debug for StreamSlot {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "StreamSlot({})", self.id)
        }
    }

    impl std::fmt::Debug for Parked {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Parked")
        }
    }
}
