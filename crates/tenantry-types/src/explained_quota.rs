//! Where each limit of a tenant comes from. The limits in force are taken from here, so that an explanation cannot tell
//! anything else than what is kept.

use crate::{Burst, EffectiveQuota, QuotaOverrides};

/// One limit: what the tier gives, and what the tenant's spec puts in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainedLimit<T> {
    /// What the tier's definition gives, also where it does not count.
    pub of_tier: T,
    /// What the tenant's spec sets itself. `None`: it follows the tier.
    pub own: Option<T>,
}

impl<T: Copy> ExplainedLimit<T> {
    /// The value that counts.
    #[must_use]
    pub fn in_force(&self) -> T {
        self.own.unwrap_or(self.of_tier)
    }
}

/// All limits of one tenant, each with where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainedQuota {
    /// See [`EffectiveQuota::database_bytes`].
    pub database_bytes: ExplainedLimit<u64>,
    /// See [`EffectiveQuota::requests_per_day`].
    pub requests_per_day: ExplainedLimit<u64>,
    /// See [`EffectiveQuota::burst`]. A tenant can set a rate of its own; it cannot do away with its tier's.
    pub burst: ExplainedLimit<Option<Burst>>,
    /// See [`EffectiveQuota::concurrent_requests`].
    pub concurrent_requests: ExplainedLimit<u32>,
    /// See [`EffectiveQuota::query_time_ms`].
    pub query_time_ms: ExplainedLimit<u64>,
    /// See [`EffectiveQuota::memory_bytes`].
    pub memory_bytes: ExplainedLimit<u64>,
    /// See [`EffectiveQuota::cpu_millicores`].
    pub cpu_millicores: ExplainedLimit<u32>,
    /// See [`EffectiveQuota::result_bytes`].
    pub result_bytes: ExplainedLimit<u64>,
    /// See [`EffectiveQuota::request_bytes`].
    pub request_bytes: ExplainedLimit<u64>,
}

impl ExplainedQuota {
    /// The limits of a tier, with a tenant's own ones over them. Both are taken apart here: a limit that is added does not
    /// compile until it is explained.
    #[must_use]
    pub fn of(tier: &EffectiveQuota, own: &QuotaOverrides) -> Self {
        let EffectiveQuota {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = *tier;
        let QuotaOverrides {
            database_bytes: own_database_bytes,
            requests_per_day: own_requests_per_day,
            burst: own_burst,
            concurrent_requests: own_concurrent_requests,
            query_time_ms: own_query_time_ms,
            memory_bytes: own_memory_bytes,
            cpu_millicores: own_cpu_millicores,
            result_bytes: own_result_bytes,
            request_bytes: own_request_bytes,
        } = *own;
        const fn limit<T: Copy>(of_tier: T, own: Option<T>) -> ExplainedLimit<T> {
            ExplainedLimit { of_tier, own }
        }
        Self {
            database_bytes: limit(database_bytes, own_database_bytes),
            requests_per_day: limit(requests_per_day, own_requests_per_day),
            burst: limit(burst, own_burst.map(Some)),
            concurrent_requests: limit(concurrent_requests, own_concurrent_requests),
            query_time_ms: limit(query_time_ms, own_query_time_ms),
            memory_bytes: limit(memory_bytes, own_memory_bytes),
            cpu_millicores: limit(cpu_millicores, own_cpu_millicores),
            result_bytes: limit(result_bytes, own_result_bytes),
            request_bytes: limit(request_bytes, own_request_bytes),
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn effective(&self) -> EffectiveQuota {
        let Self {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = self;
        EffectiveQuota {
            database_bytes: database_bytes.in_force(),
            requests_per_day: requests_per_day.in_force(),
            burst: burst.in_force(),
            concurrent_requests: concurrent_requests.in_force(),
            query_time_ms: query_time_ms.in_force(),
            memory_bytes: memory_bytes.in_force(),
            cpu_millicores: cpu_millicores.in_force(),
            result_bytes: result_bytes.in_force(),
            request_bytes: request_bytes.in_force(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TierDefinition;

    const BURST: Burst = Burst {
        requests_per_second: 3,
        size: 4,
    };

    #[test]
    fn each_limit_in_force_is_the_tenants_own_where_there_is_one_and_the_tiers_where_not() {
        let tier = TierDefinition::built_in(crate::Tier::Small).quota;
        let nothing = ExplainedQuota::of(&tier, &QuotaOverrides::default());
        assert_eq!(nothing.effective(), tier);
        let own = QuotaOverrides {
            database_bytes: Some(1 << 20),
            requests_per_day: Some(2),
            burst: Some(BURST),
            concurrent_requests: Some(5),
            query_time_ms: Some(6),
            memory_bytes: Some(7),
            cpu_millicores: Some(8),
            result_bytes: Some(9),
            request_bytes: Some(10),
        };
        let all = ExplainedQuota::of(&tier, &own);
        let expected = EffectiveQuota {
            database_bytes: 1 << 20,
            requests_per_day: 2,
            burst: Some(BURST),
            concurrent_requests: 5,
            query_time_ms: 6,
            memory_bytes: 7,
            cpu_millicores: 8,
            result_bytes: 9,
            request_bytes: 10,
        };
        assert_eq!(all.effective(), expected);
        assert_eq!(all.requests_per_day.of_tier, tier.requests_per_day);
        // Overriding with what the tier gives is an override all the same: the tier may change.
        let same = QuotaOverrides {
            requests_per_day: Some(tier.requests_per_day),
            ..QuotaOverrides::default()
        };
        let same = ExplainedQuota::of(&tier, &same);
        assert_eq!(
            (same.effective(), same.requests_per_day.own),
            (tier, Some(tier.requests_per_day))
        );
    }

    #[test]
    fn a_rate_of_the_tier_counts_until_the_tenant_has_its_own() {
        let mut tier = TierDefinition::built_in(crate::Tier::Small).quota;
        tier.burst = Some(BURST);
        let inherited = ExplainedQuota::of(&tier, &QuotaOverrides::default()).burst;
        assert_eq!((inherited.in_force(), inherited.own), (Some(BURST), None));
        let own = Burst { size: 9, ..BURST };
        let overrides = QuotaOverrides {
            burst: Some(own),
            ..QuotaOverrides::default()
        };
        let explained = ExplainedQuota::of(&tier, &overrides).burst;
        assert_eq!((explained.in_force(), explained.of_tier), (Some(own), Some(BURST)));
    }
}
