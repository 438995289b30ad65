//! Who lives on the node: neighbours and hostile tenants, with their tiers.

use tenantry_proto::v1;

/// A tier with its own limits, but for the requests of a day, which would end any load soon.
pub(super) fn of_tier(tier: v1::Tier, quota: v1::QuotaOverrides) -> v1::TenantSpec {
    v1::TenantSpec {
        tier: tier.into(),
        quota: Some(v1::QuotaOverrides {
            requests_per_day: Some(1_000_000_000_000),
            ..quota
        }),
        ..v1::TenantSpec::default()
    }
}

/// A medium tenant, which may have 50 requests at once and use 1 GiB of memory. Its disk and its time are less than its tier's, so that their
/// limits are met within an attack of seconds.
pub(super) fn hostile() -> v1::TenantSpec {
    of_tier(
        v1::Tier::Medium,
        v1::QuotaOverrides {
            database_bytes: Some(64 << 20),
            query_time_ms: Some(1_000),
            ..v1::QuotaOverrides::default()
        },
    )
}

/// A small tenant with its tier's limits.
pub(super) fn victim() -> v1::TenantSpec {
    of_tier(v1::Tier::Small, v1::QuotaOverrides::default())
}
