//! Two sets of async workers, so that a tenant whose connections keep workers busy is in nobody's way.
//!
//! Connections begin in the quiet lane, whose workers sleep most of the time: who asks for little is served as soon as he asks. What turns of workers cost is
//! put down to the tenant whose last request the connection carried ([`passenger`]); a tenant that has used more than its share
//! ([`load`]) has all its connections carried on by the workers of the busy lane ([`carry`]), which the kernel serves later, until it has become
//! quiet. Workers of the busy lane stand back only while there is somebody in the quiet one ([`neighbours`]). Nothing is slowed down on purpose: a busy tenant that is alone has all cores.
//!
//! Who has not said yet for whom it asks, and who may not speak for the tenant that it names, counts as one tenant of its own, the newcomers: a rush of them is met in
//! the busy lane.
//!
//! Must not know requests, nor what becomes of them.

mod accounts;
mod carry;
mod load;
mod neighbours;
mod passenger;
mod socket;
mod tasks;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::runtime::{Builder, Handle, Runtime};

use self::accounts::{Account, Accounts};
pub(super) use self::carry::carry;
use self::load::Share;
use self::neighbours::Neighbours;
pub(crate) use self::passenger::Passenger;
pub(super) use self::socket::LaneSocket;
pub(super) use self::tasks::LaneTasks;
use crate::lane::Lane;

/// Both lanes, or one for everybody. Clones share them.
#[derive(Debug, Clone)]
pub struct Lanes(Option<Arc<Both>>);

#[derive(Debug)]
struct Both {
    quiet: Handle,
    busy: Handle,
    share: Share,
    newcomers: Arc<Account>,
    accounts: Mutex<Accounts>,
    neighbours: Neighbours,
}

/// The workers of the busy lane, until it is dropped: then all that they carry is cut off. Outlives everything that is carried.
#[derive(Debug)]
pub struct BusyWorkers(Option<Runtime>);

impl Lanes {
    /// The present runtime as the quiet lane, and beside it as many workers again for the busy one.
    ///
    /// # Errors
    /// When the system gives no more threads.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start() -> std::io::Result<(Self, BusyWorkers)> {
        Self::start_with(Share::of(Handle::current().metrics().num_workers()))
    }

    fn start_with(share: Share) -> std::io::Result<(Self, BusyWorkers)> {
        let quiet = Handle::current();
        let busy = Builder::new_multi_thread()
            .worker_threads(quiet.metrics().num_workers())
            .thread_name("busy-lane")
            .on_thread_start(|| Lane::Busy.enter())
            .enable_all()
            .build()?;
        let now = Instant::now();
        let both = Both {
            quiet,
            busy: busy.handle().clone(),
            share,
            newcomers: Arc::new(Account::of(None, now)),
            accounts: Mutex::default(),
            neighbours: Neighbours::none(now),
        };
        Ok((Self(Some(Arc::new(both))), BusyWorkers(Some(busy))))
    }

    /// One lane for everybody: the present workers.
    #[must_use]
    pub const fn single() -> Self {
        Self(None)
    }

    /// Whoever is on a new connection. `None` where there is one lane.
    pub(crate) fn passenger(&self) -> Option<Passenger> {
        self.0.as_ref().map(Passenger::newcomer)
    }
}

impl Both {
    const fn workers(&self, lane: Lane) -> &Handle {
        match lane {
            Lane::Quiet => &self.quiet,
            Lane::Busy => &self.busy,
        }
    }

    fn account(&self, tenant: TenantUid) -> Arc<Account> {
        self.accounts.lock().of(tenant, Instant::now(), self.share)
    }
}

impl Drop for BusyWorkers {
    fn drop(&mut self) {
        if let Some(workers) = self.0.take() {
            // Allowed on an async worker, too; all that it carried has ended.
            workers.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
