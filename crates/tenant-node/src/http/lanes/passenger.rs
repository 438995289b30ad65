//! Who is on a connection: the tenant of its last request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::Extensions;
use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::runtime::Handle;

use super::Both;
use super::accounts::Account;
use crate::lane::Lane;

/// Whose turns the workers have on one connection. Travels in the extensions of its requests, so that it can be told. Clones are the same passenger.
#[derive(Debug, Clone)]
pub(crate) struct Passenger(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    lanes: Arc<Both>,
    taken: Mutex<Taken>,
    /// Until the first turn in which the tenant is known. That it came is the newcomers' to pay, too.
    is_new: AtomicBool,
}

#[derive(Debug)]
struct Taken {
    /// Of the last tenant that was told; the newcomers' if none was.
    last: Arc<Account>,
    /// Whether it was told of the last request.
    is_told: bool,
}

impl Taken {
    fn account<'taken>(&'taken self, lanes: &'taken Both) -> &'taken Arc<Account> {
        match self.is_told {
            true => &self.last,
            false => &lanes.newcomers,
        }
    }
}

impl Passenger {
    /// Somebody of whom nothing is known.
    pub(super) fn newcomer(lanes: &Arc<Both>) -> Self {
        Self::seated(lanes, Arc::clone(&lanes.newcomers), AtomicBool::new(true))
    }

    /// One for a task of this connection, which serves the last request, and no later one.
    pub(super) fn with_last_request(&self) -> Self {
        Self::seated(&self.0.lanes, self.account(), AtomicBool::new(false))
    }

    fn seated(lanes: &Arc<Both>, last: Arc<Account>, is_new: AtomicBool) -> Self {
        Self(Arc::new(Seat {
            lanes: Arc::clone(lanes),
            taken: Mutex::new(Taken { last, is_told: true }),
            is_new,
        }))
    }

    /// The next request on this connection begins: whose it is has to be told anew.
    pub(crate) fn begin_request(&self) {
        self.0.taken.lock().is_told = false;
    }

    /// A request that came by a connection is for `tenant`, and its caller may speak for it.
    pub(crate) fn note(request: &Extensions, tenant: TenantUid) {
        if let Some(passenger) = request.get::<Self>() {
            let mut taken = passenger.0.taken.lock();
            // As a rule it is the same as before.
            if taken.last.tenant() != Some(tenant) {
                taken.last = passenger.0.lanes.account(tenant);
            }
            taken.is_told = true;
        }
    }

    /// Whose it is, if that is known.
    #[cfg(test)]
    pub(crate) fn tenant(&self) -> Option<TenantUid> {
        self.account().tenant()
    }

    /// Where the passenger belongs.
    pub(in crate::http) fn lane(&self, now: Instant) -> Lane {
        let lanes = &self.0.lanes;
        self.0.taken.lock().account(lanes).load.lane(now, lanes.share)
    }

    /// Whether it belongs to the lane of the calling thread.
    pub(in crate::http) fn is_at_home(&self) -> bool {
        self.lane(Instant::now()) == Lane::here()
    }

    /// The workers of a lane.
    pub(in crate::http) fn workers(&self, lane: Lane) -> &Handle {
        self.0.lanes.workers(lane)
    }

    /// A worker of the present lane takes this connection up.
    pub(super) fn begin_turn(&self, now: Instant) {
        self.0.lanes.neighbours.begin_turn(Lane::here(), now);
    }

    /// A worker had this connection for `turn`, until `now`.
    pub(super) fn charge(&self, turn: Duration, now: Instant) {
        let lanes = &self.0.lanes;
        let taken = self.0.taken.lock();
        let account = taken.account(lanes);
        account.load.add(turn, now, lanes.share);
        if account.tenant().is_some() && self.0.is_new.load(Relaxed) {
            self.0.is_new.store(false, Relaxed);
            lanes.newcomers.load.add(turn, now, lanes.share);
        }
    }

    fn account(&self) -> Arc<Account> {
        Arc::clone(self.0.taken.lock().account(&self.0.lanes))
    }
}
