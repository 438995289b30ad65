//! The hotspot score: how near a tenant is to its limits, 0 to 1.

use tenantry_types::{HotspotScore, ScoreTerms, TenantUsage};

const DATABASE_WEIGHT: f64 = 0.25;
const REQUESTS_WEIGHT: f64 = 0.25;
const CPU_WEIGHT: f64 = 0.30;
const MEMORY_WEIGHT: f64 = 0.20;

/// Use over limit of each resource, capped at 1. The limits are those in force for the tenant, which do not follow its use.
#[must_use]
pub fn terms(usage: &TenantUsage) -> ScoreTerms {
    let quota = &usage.quota;
    ScoreTerms {
        database: share(usage.database_bytes, quota.database_bytes),
        requests: share(usage.requests_last_day, quota.requests_per_day),
        cpu: share(usage.cpu_millicores, u64::from(quota.cpu_millicores)),
        memory: share(usage.memory_bytes, quota.memory_bytes),
    }
}

/// The weighed sum of the terms.
#[must_use]
pub fn score(terms: &ScoreTerms) -> HotspotScore {
    HotspotScore::clamped(
        DATABASE_WEIGHT * terms.database
            + REQUESTS_WEIGHT * terms.requests
            + CPU_WEIGHT * terms.cpu
            + MEMORY_WEIGHT * terms.memory,
    )
}

fn share(used: u64, limit: u64) -> f64 {
    if limit == 0 {
        return 1.0;
    }
    (used as f64 / limit as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::detector::tests::usage;
    use super::*;

    #[test]
    fn the_score_is_the_weighed_sum_of_capped_shares() {
        let cases = [
            // database, requests, cpu, memory (shares of their limits), score
            ([0.0, 0.0, 0.0, 0.0], 0.0),
            ([1.0, 0.0, 0.0, 0.0], 0.25),
            ([0.0, 1.0, 0.0, 0.0], 0.25),
            ([0.0, 0.0, 1.0, 0.0], 0.30),
            ([0.0, 0.0, 0.0, 1.0], 0.20),
            ([9.0, 0.5, 0.0, 0.0], 0.375),
            ([2.0, 2.0, 2.0, 2.0], 1.0),
        ];
        for (shares, expected) in cases {
            let value = score(&terms(&usage(shares))).get();
            assert!((value - expected).abs() < 1e-9, "{shares:?} scored {value}");
        }
    }
}
