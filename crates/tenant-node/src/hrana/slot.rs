//! A stream while one of its requests is served, and what becomes of it then.

use std::sync::Arc;
use std::time::Instant;

use tenantry_types::TenantUid;

use super::baton::Baton;
use super::streams::{Parked, Streams};
use crate::database::WriteHistory;

/// The right to leave a stream for its next request. Dropped without that, it ends the stream, or, where there was no state,
/// leaves it as it was.
pub(super) struct StreamSlot {
    streams: Arc<Streams>,
    tenant: TenantUid,
    origin: Origin,
    given_out: Option<GivenOut>,
}

/// Where the stream comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// This request begins it.
    Begun,
    /// From a baton that stays good, whatever happens.
    Stateless,
    /// It had state, and waited under this number.
    Kept(u64),
    /// It had none, and was remembered under this number.
    Remembered {
        id: u64,
        history: WriteHistory,
        since: Instant,
    },
}

/// The baton of the next request, given out before this one was served.
struct GivenOut {
    baton: String,
    /// The number in it; none in a baton that holds all.
    id: Option<u64>,
}

/// Whether a request that was refused can be followed by another one with the same baton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldBaton {
    Good,
    /// There was none, or the stream is gone.
    None,
}

impl StreamSlot {
    pub(super) fn new(streams: &Arc<Streams>, tenant: TenantUid, origin: Origin) -> Self {
        Self {
            streams: Arc::clone(streams),
            tenant,
            origin,
            given_out: None,
        }
    }

    /// The baton of the next request, before this one has been served. It is good once the stream is parked.
    pub(super) fn give_out_baton(&mut self) -> String {
        let id = {
            let mut table = self.streams.table.lock();
            let id = table.next_id();
            table.answering.insert(id);
            id
        };
        self.give_out(Baton::Kept(id), Some(id))
    }

    /// The same, of a stream that has no state and gets none, and does not write: good at once.
    pub(super) fn give_out_stateless(&mut self, history: WriteHistory) -> String {
        self.give_out(Baton::Stateless(history), None)
    }

    fn give_out(&mut self, baton: Baton, id: Option<u64>) -> String {
        let baton = self.streams.key.sign(self.tenant, baton);
        self.given_out = Some(GivenOut {
            baton: baton.clone(),
            id,
        });
        baton
    }

    /// Leaves the stream for its next request and returns the baton for it; `None` when it had to end.
    pub(super) fn park(mut self, parked: Parked, now: Instant) -> Option<String> {
        // Gone on with: the old baton leads nowhere any more.
        self.origin = Origin::Begun;
        match self.given_out.take() {
            Some(GivenOut { baton, id: Some(id) }) => {
                let is_kept = self.leave(id, parked, now);
                self.end_answering(id);
                is_kept.then_some(baton)
            }
            Some(GivenOut { baton, id: None }) => {
                if parked.has_state() {
                    tracing::error!(tenant = %self.tenant, "a stream came to have state by reading; it is ended");
                    return None;
                }
                Some(baton)
            }
            None if !parked.has_state() => {
                let baton = Baton::Stateless(parked.history);
                Some(self.streams.key.sign(self.tenant, baton))
            }
            None => {
                let id = self.streams.table.lock().next_id();
                let is_kept = self.leave(id, parked, now);
                is_kept.then(|| self.streams.key.sign(self.tenant, Baton::Kept(id)))
            }
        }
    }

    /// The client has closed the stream.
    pub(super) fn close(mut self) {
        self.origin = Origin::Begun;
    }

    /// The request was refused in a way that hides its answer's baton from clients: the one that it came with stays good. What a
    /// request has begun by itself ends with it.
    pub(super) fn refuse(mut self, parked: Parked, now: Instant) -> OldBaton {
        match self.origin {
            Origin::Begun => OldBaton::None,
            // Dropping the slot remembers it again.
            Origin::Stateless | Origin::Remembered { .. } => OldBaton::Good,
            Origin::Kept(id) => {
                self.origin = Origin::Begun;
                if self.leave(id, parked, now) {
                    OldBaton::Good
                } else {
                    OldBaton::None
                }
            }
        }
    }

    /// Leaves the stream under this number. Whether it is there now: a stopping node keeps none.
    fn leave(&self, id: u64, parked: Parked, now: Instant) -> bool {
        let mut table = self.streams.table.lock();
        if table.stopping {
            drop(table);
            drop(parked);
            return false;
        }
        if parked.has_state() {
            table.keep(self.tenant, id, parked, now);
        } else {
            let room = self.streams.bounds.remembered;
            table.remembered.insert(id, self.tenant, parked.history, now, room);
        }
        true
    }

    fn end_answering(&self, id: u64) {
        self.streams.table.lock().answering.remove(&id);
        self.streams.freed.notify_waiters();
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        if let Origin::Remembered { id, history, since } = self.origin {
            let room = self.streams.bounds.remembered;
            let mut table = self.streams.table.lock();
            table.remembered.insert(id, self.tenant, history, since, room);
        }
        if let Some(GivenOut { id: Some(id), .. }) = self.given_out.take() {
            self.end_answering(id);
        }
    }
}
