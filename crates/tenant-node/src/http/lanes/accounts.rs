//! What each tenant's connections have cost lately.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_types::TenantUid;

use super::load::{Load, Share};
use crate::lane::Lane;

/// At fewer accounts nobody looks which could go.
const SWEEP_FROM: usize = 1_024;

/// One tenant's, or the newcomers'.
#[derive(Debug)]
pub(super) struct Account {
    tenant: Option<TenantUid>,
    opened: Instant,
    /// Until when the tenant is busy if it uses nothing more, in nanoseconds since `opened`, for those who only look. 0: it is not.
    busy_until: AtomicU64,
    load: Mutex<Load>,
}

impl Account {
    /// `None`: of those whose tenant is not known.
    pub(super) const fn of(tenant: Option<TenantUid>, now: Instant) -> Self {
        Self {
            tenant,
            opened: now,
            busy_until: AtomicU64::new(0),
            load: Mutex::new(Load::none(now)),
        }
    }

    pub(super) const fn tenant(&self) -> Option<TenantUid> {
        self.tenant
    }

    pub(super) fn lane(&self, now: Instant) -> Lane {
        match self.busy_until.load(Relaxed) > self.nanos_until(now) {
            true => Lane::Busy,
            false => Lane::Quiet,
        }
    }

    pub(super) fn charge(&self, turn: Duration, now: Instant, share: Share) {
        let mut load = self.load.lock();
        let busy_until = match load.add(turn, now, share) {
            Lane::Quiet => 0,
            Lane::Busy => self
                .nanos_until(load.at())
                .saturating_add(nanos(load.paid_after(share))),
        };
        self.busy_until.store(busy_until, Relaxed);
    }

    /// As if it had been silent for long.
    #[cfg(test)]
    pub(super) fn pay(&self, now: Instant) {
        *self.load.lock() = Load::none(now);
        self.busy_until.store(0, Relaxed);
    }

    fn nanos_until(&self, time: Instant) -> u64 {
        nanos(time.saturating_duration_since(self.opened))
    }

    fn is_paid(&self, now: Instant, share: Share) -> bool {
        self.load.lock().is_paid(now, share)
    }
}

/// Enough for centuries.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// All tenants' that have connections, or had until a moment ago.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_tenant: HashMap<TenantUid, Arc<Account>>,
    sweep_at: usize,
}

impl Accounts {
    pub(super) fn of(&mut self, tenant: TenantUid, now: Instant, share: Share) -> Arc<Account> {
        if let Some(account) = self.by_tenant.get(&tenant) {
            return Arc::clone(account);
        }
        if self.by_tenant.len() >= self.sweep_at {
            self.by_tenant
                .retain(|_, account| Arc::strong_count(account) > 1 || !account.is_paid(now, share));
            self.sweep_at = (2 * self.by_tenant.len()).max(SWEEP_FROM);
        }
        let account = Arc::new(Account::of(Some(tenant), now));
        self.by_tenant.insert(tenant, Arc::clone(&account));
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_nobody_needs_are_given_up_and_busy_ones_are_kept() {
        let (mut accounts, now, share) = (Accounts::default(), Instant::now(), Share::of(2));
        let busy = TenantUid::from_u128(1);
        for _ in 0..1_000 {
            accounts
                .of(busy, now, share)
                .charge(Duration::from_millis(1), now, share);
        }
        let connected = accounts.of(TenantUid::from_u128(2), now, share);
        for tenant in 10..100_000 {
            accounts.of(TenantUid::from_u128(tenant), now, share);
        }
        assert!(accounts.by_tenant.len() <= SWEEP_FROM, "{}", accounts.by_tenant.len());
        assert_eq!(accounts.of(busy, now, share).lane(now), Lane::Busy);
        assert!(Arc::ptr_eq(
            &connected,
            &accounts.of(TenantUid::from_u128(2), now, share)
        ));
    }

    #[test]
    fn who_has_fallen_silent_is_quiet_without_being_charged_again() {
        let (now, share) = (Instant::now(), Share::of(2));
        let account = Account::of(None, now);
        for _ in 0..1_000 {
            account.charge(Duration::from_millis(1), now, share);
        }
        assert_eq!(account.lane(now + Duration::from_millis(190)), Lane::Busy);
        assert_eq!(account.lane(now + Duration::from_millis(201)), Lane::Quiet);
    }
}
