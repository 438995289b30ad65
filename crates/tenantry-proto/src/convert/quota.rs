//! The quotas of `tenant.proto`.

use tenantry_types::{Burst, EffectiveQuota, QuotaOverrides, TierDefinition};

use super::field::{InvalidField, Within};
use super::tier::{required_tier, to_wire};
use crate::v1;

impl From<Burst> for v1::Burst {
    fn from(burst: Burst) -> Self {
        Self {
            requests_per_second: burst.requests_per_second,
            size: burst.size,
        }
    }
}

impl From<v1::Burst> for Burst {
    fn from(burst: v1::Burst) -> Self {
        Self {
            requests_per_second: burst.requests_per_second,
            size: burst.size,
        }
    }
}

impl From<&EffectiveQuota> for v1::Quota {
    fn from(quota: &EffectiveQuota) -> Self {
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
        } = *quota;
        Self {
            database_bytes,
            requests_per_day,
            burst: burst.map(Into::into),
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        }
    }
}

impl TryFrom<v1::Quota> for EffectiveQuota {
    type Error = InvalidField;

    /// Every limit must be given, and be one that can be kept.
    fn try_from(quota: v1::Quota) -> Result<Self, InvalidField> {
        let quota = Self {
            database_bytes: quota.database_bytes,
            requests_per_day: quota.requests_per_day,
            burst: quota.burst.map(Into::into),
            concurrent_requests: quota.concurrent_requests,
            query_time_ms: quota.query_time_ms,
            memory_bytes: quota.memory_bytes,
            cpu_millicores: quota.cpu_millicores,
            result_bytes: quota.result_bytes,
            request_bytes: quota.request_bytes,
        };
        quota
            .check()
            .map_err(|invalid| InvalidField::new(invalid.field, invalid.rule))?;
        Ok(quota)
    }
}

impl From<&QuotaOverrides> for v1::QuotaOverrides {
    fn from(overrides: &QuotaOverrides) -> Self {
        let QuotaOverrides {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = *overrides;
        Self {
            database_bytes,
            requests_per_day,
            burst: burst.map(Into::into),
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        }
    }
}

impl TryFrom<v1::QuotaOverrides> for QuotaOverrides {
    type Error = InvalidField;

    fn try_from(overrides: v1::QuotaOverrides) -> Result<Self, InvalidField> {
        let overrides = Self {
            database_bytes: overrides.database_bytes,
            requests_per_day: overrides.requests_per_day,
            burst: overrides.burst.map(Into::into),
            concurrent_requests: overrides.concurrent_requests,
            query_time_ms: overrides.query_time_ms,
            memory_bytes: overrides.memory_bytes,
            cpu_millicores: overrides.cpu_millicores,
            result_bytes: overrides.result_bytes,
            request_bytes: overrides.request_bytes,
        };
        overrides
            .check()
            .map_err(|invalid| InvalidField::new(invalid.field, invalid.rule))?;
        Ok(overrides)
    }
}

impl From<&TierDefinition> for v1::TierDefinition {
    fn from(definition: &TierDefinition) -> Self {
        Self {
            tier: to_wire(definition.tier),
            quota: Some((&definition.quota).into()),
            weight: definition.weight,
            observed_above_bytes: definition.observed_above_bytes,
            observed_above_requests: definition.observed_above_requests,
        }
    }
}

impl TryFrom<v1::TierDefinition> for TierDefinition {
    type Error = InvalidField;

    fn try_from(definition: v1::TierDefinition) -> Result<Self, InvalidField> {
        if definition.weight == 0 {
            return Err(InvalidField::new("weight", "must be at least 1"));
        }
        let quota = definition.quota.ok_or_else(|| InvalidField::missing("quota"))?;
        Ok(Self {
            tier: required_tier("tier", definition.tier)?,
            quota: EffectiveQuota::try_from(quota).within("quota")?,
            weight: definition.weight,
            observed_above_bytes: definition.observed_above_bytes,
            observed_above_requests: definition.observed_above_requests,
        })
    }
}
