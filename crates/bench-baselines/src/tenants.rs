//! The tenants of the baselines that limit them: `t-0` and so on, all with the same limits.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use governor::Quota;
use tenantry_layers::quota::RequestLimits;
use tenantry_layers::{Directory, Tenant, TenantHint, TenantName, TenantUid};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Governor's time between two requests is then 10 ns: no process asks that often.
const GENEROUS_A_SECOND: u32 = 100_000_000;

/// How much the tenants may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Limit {
    /// More than any load asks for.
    Generous,
    /// One request a day, after which all are refused.
    NoneLeft,
}

impl Limit {
    /// In any 24 hours and at one moment; no tier has a limit per second unless its operator sets one.
    pub(crate) const fn ours(self) -> RequestLimits {
        RequestLimits {
            requests_per_day: match self {
                Self::Generous => 1_000_000_000_000,
                Self::NoneLeft => 1,
            },
            burst: None,
            concurrent_requests: 10_000,
        }
    }

    pub(crate) fn governors(self) -> Result<Quota> {
        Ok(match self {
            Self::Generous => {
                Quota::per_second(NonZeroU32::new(GENEROUS_A_SECOND).context("there is more than nothing")?)
            }
            Self::NoneLeft => Quota::with_period(DAY).context("a day is a period")?,
        })
    }
}

pub(crate) const fn uid(number: u32) -> TenantUid {
    TenantUid::from_u128(number as u128 + 1)
}

/// A tenant with those limits.
pub(crate) fn tenant(number: u32, limits: RequestLimits) -> Result<Tenant> {
    Ok(Tenant {
        uid: uid(number),
        name: TenantName::new(&format!("t-{number}"))?,
        limits,
    })
}

/// Knows so many tenants by name, as a service would that keeps them in memory.
pub(crate) fn directory(count: u32, limits: RequestLimits) -> Result<impl Directory<Tenant = Tenant>> {
    let tenants = (0..count).map(|number| tenant(number, limits).map(|tenant| (tenant.name.clone(), tenant)));
    let tenants: Arc<HashMap<TenantName, Tenant>> = Arc::new(tenants.collect::<Result<_>>()?);
    Ok(move |hint: &TenantHint| match hint {
        TenantHint::Name(name) => tenants.get(name).cloned(),
        TenantHint::Domain(_) | TenantHint::Uid(_) => None,
    })
}
