//! The quotas of all tenants that this node counts for: who is in memory, which ledgers are read and written, and when.
//!
//! A request takes the read lock of one shard and the lock of its own tenant, both for moments. Ledgers are read and
//! written through a [`LedgerStore`] by tasks that the registry owns, one at a time per tenant. A request that is dropped
//! while it waits stops nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tenantry_types::TenantUid;
use tokio_util::task::TaskTracker;

use super::engine::{
    Admission, Charge, Decision, FoundLedger, LedgerOutcome, LedgerWork, NextStep, NothingToClose, TenantQuota,
};
use super::ledger::{LedgerFiles, LedgerRecord, ReadLedgerError};
use super::ledger_store::{LedgerStore, LedgersOnDisk};
use super::limits::RequestLimits;
use super::standing::{Policy, Standing};
use crate::clock::Clock;
use crate::tenant_map::TenantMap;

/// How often a request asks again before it counts as our shortage. Each time, someone else took the reservation.
const ATTEMPTS: usize = 256;

/// Why a request could not be decided. A shortage of ours, never the tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The tenant's ledger could not be read or written. The log has the cause; a retry helps once the disk does.
    #[error("the quota ledger of the tenant cannot be read or written")]
    LedgerUnavailable,
    /// Too many requests waited for the same reservations.
    #[error("the quota ledger of the tenant is too busy")]
    LedgerBusy,
}

/// What happened since the node started.
#[derive(Debug, Default)]
pub struct QuotaCounters {
    /// Ledgers written.
    pub ledger_writes: AtomicU64,
    /// Ledgers that could not be read or written.
    pub ledger_failures: AtomicU64,
    /// Ledgers that did not parse, so that their tenants count as used up.
    pub corrupt_ledgers: AtomicU64,
    /// Crossings that nobody took in time.
    pub crossings_dropped: AtomicU64,
    /// Refused requests, by the first limit that they met, in the order of [`Policy::ALL`].
    refusals: [AtomicU64; 3],
}

impl QuotaCounters {
    /// Counts a refused request.
    pub fn count_refusal(&self, policy: Policy) {
        self.refusals_of(policy).fetch_add(1, Relaxed);
    }

    /// Requests refused for that limit.
    #[must_use]
    pub fn refusals(&self, policy: Policy) -> u64 {
        self.refusals_of(policy).load(Relaxed)
    }

    const fn refusals_of(&self, policy: Policy) -> &AtomicU64 {
        let [daily, burst, concurrent] = &self.refusals;
        match policy {
            Policy::Daily => daily,
            Policy::Burst => burst,
            Policy::Concurrent => concurrent,
        }
    }
}

/// Tenants' quotas. Must be used within a tokio runtime.
pub struct QuotaRegistry {
    tenants: TenantMap<TenantQuota>,
    ledgers: Arc<dyn LedgerStore>,
    clock: Arc<dyn Clock>,
    counters: QuotaCounters,
    tasks: TaskTracker,
}

impl QuotaRegistry {
    /// A registry whose ledgers lie under `<data_folder>/tenants/<uid>/`.
    #[must_use]
    pub fn new(data_folder: &Path, clock: Arc<dyn Clock>) -> Arc<Self> {
        let files = LedgerFiles::in_data_folder(data_folder);
        Self::with_ledgers(Arc::new(LedgersOnDisk::new(files)), clock)
    }

    /// A registry whose ledgers are in a store of the caller's.
    #[must_use]
    pub fn with_ledgers(ledgers: Arc<dyn LedgerStore>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            tenants: TenantMap::default(),
            ledgers,
            clock,
            counters: QuotaCounters::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Decides at once where the ledger allows it. `NeedsLedger` and `Gone` call for [`Self::admit`].
    pub fn try_admit(self: &Arc<Self>, uid: TenantUid, limits: &RequestLimits, charge: Charge) -> Decision {
        let tenant = self.tenant(uid);
        let decision = tenant.admit(self.clock.now(), limits, charge);
        if decision.reserve_ahead {
            self.start_next_step(&tenant, limits);
        }
        decision
    }

    /// Decides, after reading or writing the tenant's ledger where that is needed. Never answers `NeedsLedger` or `Gone`.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn admit(
        self: &Arc<Self>,
        uid: TenantUid,
        limits: &RequestLimits,
        charge: Charge,
    ) -> Result<Decision, QuotaError> {
        for _ in 0..ATTEMPTS {
            let decision = self.try_admit(uid, limits, charge);
            match decision.admission {
                Admission::NeedsLedger => self.settle(uid, limits).await?,
                Admission::Gone => {}
                Admission::Admitted(..) | Admission::Refused(_) => return Ok(decision),
            }
        }
        Err(QuotaError::LedgerBusy)
    }

    /// Requests counted in the last 24 hours, without reading a ledger: none of a tenant that has been forgotten after as long
    /// without a request. `None` while its ledger is not read yet.
    #[must_use]
    pub fn known_use(&self, uid: TenantUid, limits: &RequestLimits) -> Option<u64> {
        match self.tenants.get(uid) {
            Some(tenant) => Some(tenant.standing(self.clock.now(), limits)?.daily_used),
            None => Some(0),
        }
    }

    /// Counts a refusal that another limit of the service caused, so that all refusals of a tenant keep one pace. How long its answer
    /// is to be held back.
    #[must_use]
    pub fn refused_elsewhere(&self, uid: TenantUid) -> Duration {
        self.tenants
            .get(uid)
            .map_or(Duration::ZERO, |tenant| tenant.refused_elsewhere(self.clock.now()))
    }

    /// Limits and use of a tenant, its ledger read if needed. Charges nothing.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn standing(self: &Arc<Self>, uid: TenantUid, limits: &RequestLimits) -> Result<Standing, QuotaError> {
        for _ in 0..ATTEMPTS {
            if let Some(standing) = self.tenant(uid).standing(self.clock.now(), limits) {
                return Ok(standing);
            }
            self.settle(uid, limits).await?;
        }
        Err(QuotaError::LedgerBusy)
    }

    /// Writes the exact counts of one tenant and forgets it, so that another reader of its folder can go on from there.
    /// Requests that are being served keep their places until they end.
    ///
    /// # Errors
    /// When the ledger cannot be written; the tenant is then served on.
    pub async fn close(self: &Arc<Self>, uid: TenantUid) -> Result<(), QuotaError> {
        match self.tenants.get(uid) {
            Some(tenant) => self.close_tenant(tenant).await,
            None => Ok(()),
        }
    }

    /// Closes tenants that serve nothing and had no request for `quiet`. How many were closed.
    pub async fn forget_idle(self: &Arc<Self>, quiet: Duration) -> usize {
        let now = self.clock.now();
        let idle = self
            .tenants
            .values()
            .into_iter()
            .filter(|tenant| tenant.is_idle(now, quiet));
        let forgetting = idle.map(|tenant| {
            let registry = Arc::clone(self);
            self.tasks.spawn(async move { registry.forget(tenant, quiet).await })
        });
        let mut forgotten = 0;
        for done in forgetting.collect::<Vec<_>>() {
            forgotten += usize::from(matches!(done.await, Ok(true)));
        }
        forgotten
    }

    /// Closes every tenant, for a clean stop, and waits for all ledger work. How many could not be written.
    pub async fn close_all(self: &Arc<Self>) -> usize {
        let tenants = self.tenants.values();
        let all = tenants.len();
        let closed = self.close_each(tenants).await;
        self.tasks.close();
        self.tasks.wait().await;
        all - closed
    }

    /// Tenants in memory.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// What happened since the start.
    #[must_use]
    pub const fn counters(&self) -> &QuotaCounters {
        &self.counters
    }

    fn tenant(&self, uid: TenantUid) -> Arc<TenantQuota> {
        self.tenants.get_or_insert_with(uid, || TenantQuota::unloaded(uid))
    }

    /// Waits until the tenant's ledger is read, or a reservation is written.
    async fn settle(self: &Arc<Self>, uid: TenantUid, limits: &RequestLimits) -> Result<(), QuotaError> {
        let tenant = self.tenant(uid);
        // Before the question, so that an outcome between the two is seen.
        let mut outcomes = tenant.ledger_work.subscribe();
        if !self.start_next_step(&tenant, limits) {
            return Ok(());
        }
        match outcomes.changed().await {
            Ok(()) if *outcomes.borrow() == LedgerOutcome::Done => Ok(()),
            _ => Err(QuotaError::LedgerUnavailable),
        }
    }

    /// Whether there is an outcome to wait for.
    fn start_next_step(self: &Arc<Self>, tenant: &Arc<TenantQuota>, limits: &RequestLimits) -> bool {
        match tenant.next_step(self.clock.now(), self.clock.boot(), limits) {
            NextStep::AskAgain => false,
            NextStep::AwaitOutcome => true,
            NextStep::Do(work) => {
                let (registry, tenant, limits) = (Arc::clone(self), Arc::clone(tenant), *limits);
                self.tasks
                    .spawn(async move { registry.work(&tenant, work, &limits).await });
                true
            }
        }
    }

    async fn work(&self, tenant: &TenantQuota, work: LedgerWork, limits: &RequestLimits) {
        let record = match work {
            LedgerWork::Write(record) => record,
            LedgerWork::Read => {
                let Ok(found) = self.read(tenant.uid()).await else {
                    return tenant.load_failed();
                };
                match tenant.loaded(&found, self.clock.now(), self.clock.boot(), limits) {
                    Some(LedgerWork::Write(record)) => record,
                    Some(LedgerWork::Read) | None => return,
                }
            }
        };
        tenant.reserved(self.write(record).await);
    }

    async fn read(&self, uid: TenantUid) -> Result<FoundLedger, ()> {
        match self.ledgers.read(uid).await {
            Ok(Some(record)) => Ok(FoundLedger::Record(record)),
            Ok(None) => Ok(FoundLedger::Missing),
            Err(error @ ReadLedgerError::Corrupt { .. }) => {
                self.counters.corrupt_ledgers.fetch_add(1, Relaxed);
                tracing::error!(
                    tenant = %uid,
                    error = &error as &dyn std::error::Error,
                    "corrupt quota ledger: the daily limit counts as used up for 24 hours"
                );
                Ok(FoundLedger::Corrupt)
            }
            Err(error) => {
                self.count_failure(uid, &error);
                Err(())
            }
        }
    }

    async fn write(&self, record: LedgerRecord) -> LedgerOutcome {
        let uid = record.tenant;
        match self.ledgers.write(record).await {
            Ok(()) => {
                self.counters.ledger_writes.fetch_add(1, Relaxed);
                LedgerOutcome::Done
            }
            Err(error) => {
                self.count_failure(uid, &error);
                LedgerOutcome::Failed
            }
        }
    }

    fn count_failure(&self, uid: TenantUid, error: &(dyn std::error::Error + 'static)) {
        self.counters.ledger_failures.fetch_add(1, Relaxed);
        tracing::error!(tenant = %uid, error, "quota ledger unavailable");
    }

    /// How many of the tenants were closed.
    async fn close_each(self: &Arc<Self>, tenants: Vec<Arc<TenantQuota>>) -> usize {
        let closings = tenants.into_iter().map(|tenant| {
            let registry = Arc::clone(self);
            self.tasks.spawn(async move { registry.close_tenant(tenant).await })
        });
        let mut closed = 0;
        for closing in closings.collect::<Vec<_>>() {
            closed += usize::from(matches!(closing.await, Ok(Ok(()))));
        }
        closed
    }

    async fn close_tenant(&self, tenant: Arc<TenantQuota>) -> Result<(), QuotaError> {
        for _ in 0..ATTEMPTS {
            let mut outcomes = tenant.ledger_work.subscribe();
            let Ok(record) = tenant.begin_close(self.clock.now(), self.clock.boot()) else {
                // A read or a write is under way: it has an outcome.
                if self
                    .tenants
                    .get(tenant.uid())
                    .is_none_or(|held| !Arc::ptr_eq(&held, &tenant))
                {
                    return Ok(());
                }
                let _ = outcomes.changed().await;
                continue;
            };
            return self.finish_close(&tenant, record).await;
        }
        Err(QuotaError::LedgerBusy)
    }

    /// Closes a tenant if it is idle still. Whether it was closed.
    async fn forget(&self, tenant: Arc<TenantQuota>, quiet: Duration) -> bool {
        match tenant.begin_forget(self.clock.now(), self.clock.boot(), quiet) {
            Ok(record) => self.finish_close(&tenant, record).await.is_ok(),
            Err(NothingToClose) => false,
        }
    }

    async fn finish_close(&self, tenant: &Arc<TenantQuota>, record: Option<LedgerRecord>) -> Result<(), QuotaError> {
        let outcome = match record {
            Some(record) => self.write(record).await,
            None => LedgerOutcome::Done,
        };
        if outcome == LedgerOutcome::Done {
            self.tenants.remove(tenant.uid(), tenant);
        }
        tenant.closed(outcome);
        match outcome {
            LedgerOutcome::Done => Ok(()),
            LedgerOutcome::Failed => Err(QuotaError::LedgerUnavailable),
        }
    }
}

impl std::fmt::Debug for QuotaRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuotaRegistry")
            .field("tenants", &self.tenants.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
