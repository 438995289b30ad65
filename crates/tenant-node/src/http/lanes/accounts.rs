//! What each tenant's connections have cost lately.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tenantry_types::TenantUid;

use super::load::{Load, Share};

/// At fewer accounts nobody looks which could go.
const SWEEP_FROM: usize = 1_024;

/// One tenant's, or the newcomers'.
#[derive(Debug)]
pub(super) struct Account {
    tenant: Option<TenantUid>,
    pub(super) load: Load,
}

impl Account {
    /// `None`: of those whose tenant is not known.
    pub(super) const fn of(tenant: Option<TenantUid>, now: Instant) -> Self {
        Self {
            tenant,
            load: Load::none(now),
        }
    }

    pub(super) const fn tenant(&self) -> Option<TenantUid> {
        self.tenant
    }
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
                .retain(|_, account| Arc::strong_count(account) > 1 || !account.load.is_paid(now, share));
            self.sweep_at = (2 * self.by_tenant.len()).max(SWEEP_FROM);
        }
        let account = Arc::new(Account::of(Some(tenant), now));
        self.by_tenant.insert(tenant, Arc::clone(&account));
        account
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lane::Lane;

    #[test]
    fn accounts_that_nobody_needs_are_given_up_and_busy_ones_are_kept() {
        let (mut accounts, now, share) = (Accounts::default(), Instant::now(), Share::of(2));
        let busy = TenantUid::from_u128(1);
        for _ in 0..1_000 {
            accounts
                .of(busy, now, share)
                .load
                .add(Duration::from_millis(1), now, share);
        }
        let connected = accounts.of(TenantUid::from_u128(2), now, share);
        for tenant in 10..100_000 {
            accounts.of(TenantUid::from_u128(tenant), now, share);
        }
        assert!(accounts.by_tenant.len() <= SWEEP_FROM, "{}", accounts.by_tenant.len());
        assert_eq!(accounts.of(busy, now, share).load.lane(now, share), Lane::Busy);
        assert!(Arc::ptr_eq(
            &connected,
            &accounts.of(TenantUid::from_u128(2), now, share)
        ));
    }
}
