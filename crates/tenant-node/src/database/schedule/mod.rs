//! Who runs SQL when: a fixed number of running places, shared fairly between tenants by the time that they use.
//!
//! [`queue`](queue::Queue) decides, as plain logic that is given the time. [`DatabaseThreads`] owns the threads, which
//! [`work`](threads::Shared::work), and a [`watch`](threads::Shared::watch) looks after them. [`running`] is the side of
//! the job: it gives its place up when its slice is over and somebody else is due, and while it waits for a slow client. [`priority`] is
//! for those that do not, and [`expectation`] for tenants that have no others. [`meter`] tells what
//! of the processor each tenant has used. SQLite blocks, so none of this runs on an async worker.
//! Nothing here knows SQLite.

mod delivery;
mod expectation;
mod job;
mod meter;
mod priority;
mod queue;
mod running;
#[cfg(target_os = "linux")]
mod slot;
mod state;
mod threads;
mod watch;
mod work;

pub(super) use running::{about_to_block, give_way, time_away};
pub use running::{is_errand, runs_long, while_waiting};
pub(super) use threads::{DatabaseThreads, NotRun, ThreadsConfig};

use tenantry_types::TenantUid;

/// On whose account a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) tenant: TenantUid,
    /// Its share beside others: twice the weight, twice the time. At least 1.
    pub(super) weight: u32,
}
