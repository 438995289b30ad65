//! Limits of one tenant: a tier's defaults, overlaid field by field.

use std::time::Duration;

use crate::ExplainedQuota;

/// A limit that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct InvalidQuota {
    /// Which limit, as it is called in the protocol.
    pub field: &'static str,
    /// The rule that was broken, as the end of a sentence.
    pub rule: &'static str,
}

/// A rate limit: `size` requests at once, refilled at `requests_per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// How many requests a second are let through in the long run. At least 1.
    pub requests_per_second: u32,
    /// How many may come at once after a pause. At least 1.
    pub size: u32,
}

/// The limits in force for one tenant. Every limit is at least 1: there is no "0 means unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectiveQuota {
    /// Bytes of the database file, free pages included.
    pub database_bytes: u64,
    /// Requests in any 24 hours.
    pub requests_per_day: u64,
    /// Short-term rate; `None` where only the daily limit counts.
    pub burst: Option<Burst>,
    /// Requests being served at one moment.
    pub concurrent_requests: u32,
    /// Longest run of one statement, in milliseconds.
    pub query_time_ms: u64,
    /// Bytes of SQLite memory: page cache, schemas and statements of all connections.
    pub memory_bytes: u64,
    /// CPU time on database threads, in thousandths of one core.
    pub cpu_millicores: u32,
    /// Largest answer body, in bytes.
    pub result_bytes: u64,
    /// Largest request body, in bytes.
    pub request_bytes: u64,
}

impl EffectiveQuota {
    /// Smallest database that SQLite can work in with our settings: 16 pages of 4 KiB.
    pub const MIN_DATABASE_BYTES: u64 = 64 << 10;
    /// Answer limit of every tier until an operator changes it.
    pub const DEFAULT_RESULT_BYTES: u64 = 64 << 20;
    /// Body limit of every tier until an operator changes it.
    pub const DEFAULT_REQUEST_BYTES: u64 = 16 << 20;

    pub(crate) const fn of_tier(
        database_bytes: u64,
        requests_per_day: u64,
        concurrent_requests: u32,
        query_time_ms: u64,
        memory_bytes: u64,
        cpu_millicores: u32,
    ) -> Self {
        Self {
            database_bytes,
            requests_per_day,
            burst: None,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes: Self::DEFAULT_RESULT_BYTES,
            request_bytes: Self::DEFAULT_REQUEST_BYTES,
        }
    }

    /// Longest run of one statement.
    #[must_use]
    pub const fn query_time(&self) -> Duration {
        Duration::from_millis(self.query_time_ms)
    }

    /// These limits with every override put in its place.
    #[must_use]
    pub fn overlaid(self, overrides: &QuotaOverrides) -> Self {
        ExplainedQuota::of(&self, overrides).effective()
    }

    /// # Errors
    /// Names the first limit that is too small to be kept.
    pub fn check(&self) -> Result<(), InvalidQuota> {
        let overrides = QuotaOverrides {
            database_bytes: Some(self.database_bytes),
            requests_per_day: Some(self.requests_per_day),
            burst: self.burst,
            concurrent_requests: Some(self.concurrent_requests),
            query_time_ms: Some(self.query_time_ms),
            memory_bytes: Some(self.memory_bytes),
            cpu_millicores: Some(self.cpu_millicores),
            result_bytes: Some(self.result_bytes),
            request_bytes: Some(self.request_bytes),
        };
        overrides.check()
    }
}

/// The limits that a tenant's spec sets itself; the others come from its tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaOverrides {
    /// See [`EffectiveQuota::database_bytes`].
    pub database_bytes: Option<u64>,
    /// See [`EffectiveQuota::requests_per_day`].
    pub requests_per_day: Option<u64>,
    /// See [`EffectiveQuota::burst`].
    pub burst: Option<Burst>,
    /// See [`EffectiveQuota::concurrent_requests`].
    pub concurrent_requests: Option<u32>,
    /// See [`EffectiveQuota::query_time_ms`].
    pub query_time_ms: Option<u64>,
    /// See [`EffectiveQuota::memory_bytes`].
    pub memory_bytes: Option<u64>,
    /// See [`EffectiveQuota::cpu_millicores`].
    pub cpu_millicores: Option<u32>,
    /// See [`EffectiveQuota::result_bytes`].
    pub result_bytes: Option<u64>,
    /// See [`EffectiveQuota::request_bytes`].
    pub request_bytes: Option<u64>,
}

impl QuotaOverrides {
    /// # Errors
    /// Names the first limit that is too small to be kept.
    pub fn check(&self) -> Result<(), InvalidQuota> {
        let fail = |field, rule| Err(InvalidQuota { field, rule });
        if self
            .database_bytes
            .is_some_and(|bytes| bytes < EffectiveQuota::MIN_DATABASE_BYTES)
        {
            return fail("database_bytes", "must be at least 64 KiB");
        }
        if self
            .burst
            .is_some_and(|burst| burst.requests_per_second == 0 || burst.size == 0)
        {
            return fail("burst", "needs requests_per_second and size of at least 1");
        }
        let wide = [
            ("requests_per_day", self.requests_per_day),
            ("query_time_ms", self.query_time_ms),
            ("memory_bytes", self.memory_bytes),
            ("result_bytes", self.result_bytes),
            ("request_bytes", self.request_bytes),
            ("concurrent_requests", self.concurrent_requests.map(u64::from)),
            ("cpu_millicores", self.cpu_millicores.map(u64::from)),
        ];
        for (field, limit) in wide {
            if limit == Some(0) {
                return fail(field, "must be at least 1");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TierDefinition;

    #[test]
    fn an_override_replaces_its_own_field_only() {
        let tier = TierDefinition::defaults()[0].quota;
        let overrides = QuotaOverrides {
            requests_per_day: Some(20),
            ..QuotaOverrides::default()
        };
        let quota = tier.overlaid(&overrides);
        assert_eq!(quota.requests_per_day, 20);
        assert_eq!(
            EffectiveQuota {
                requests_per_day: tier.requests_per_day,
                ..quota
            },
            tier
        );
    }

    #[test]
    fn a_zero_limit_is_refused_by_name() {
        let overrides = QuotaOverrides {
            requests_per_day: Some(0),
            ..QuotaOverrides::default()
        };
        assert_eq!(overrides.check().unwrap_err().field, "requests_per_day");
        let overrides = QuotaOverrides {
            database_bytes: Some(4096),
            ..QuotaOverrides::default()
        };
        assert_eq!(overrides.check().unwrap_err().field, "database_bytes");
    }
}
