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
    account: Mutex<Arc<Account>>,
    /// Until the first turn in which the tenant is known. That it came is the newcomers' to pay, too.
    is_new: AtomicBool,
}

impl Passenger {
    /// Somebody of whom nothing is known.
    pub(super) fn newcomer(lanes: &Arc<Both>) -> Self {
        Self(Arc::new(Seat {
            lanes: Arc::clone(lanes),
            account: Mutex::new(Arc::clone(&lanes.newcomers)),
            is_new: AtomicBool::new(true),
        }))
    }

    /// One for a task of this connection, which serves the last request, and no later one.
    pub(super) fn with_last_request(&self) -> Self {
        Self(Arc::new(Seat {
            lanes: Arc::clone(&self.0.lanes),
            account: Mutex::new(self.account()),
            is_new: AtomicBool::new(false),
        }))
    }

    /// The next request on this connection begins: whose it is has to be told anew.
    pub(crate) fn begin_request(&self) {
        *self.0.account.lock() = Arc::clone(&self.0.lanes.newcomers);
    }

    /// A request that came by a connection is for `tenant`, and its caller may speak for it.
    pub(crate) fn note(request: &Extensions, tenant: TenantUid) {
        if let Some(passenger) = request.get::<Self>() {
            let mut account = passenger.0.account.lock();
            if account.tenant() != Some(tenant) {
                *account = passenger.0.lanes.account(tenant);
            }
        }
    }

    /// Whose it is, if that is known.
    #[cfg(test)]
    pub(crate) fn tenant(&self) -> Option<TenantUid> {
        self.account().tenant()
    }

    /// Where the passenger belongs.
    pub(in crate::http) fn lane(&self, now: Instant) -> Lane {
        self.0.account.lock().lane(now)
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
        let (account, lanes) = (self.account(), &self.0.lanes);
        lanes.charge(&account, turn, now);
        if account.tenant().is_some() && self.0.is_new.load(Relaxed) {
            self.0.is_new.store(false, Relaxed);
            lanes.charge(&lanes.newcomers, turn, now);
        }
    }

    fn account(&self) -> Arc<Account> {
        Arc::clone(&self.0.account.lock())
    }
}
