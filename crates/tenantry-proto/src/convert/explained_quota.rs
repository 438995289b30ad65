//! The explanation of a quota, in `tenant.proto`. To the wire alone: nobody decides by an explanation.

use tenantry_types::{Burst, EffectiveQuota, ExplainedLimit, ExplainedQuota, TierDefinition};

use crate::v1;

/// The message of a quota, beside what the tier gives where nobody has edited it.
#[must_use]
pub fn explained_quota_to_proto(quota: &ExplainedQuota, built_in: &EffectiveQuota) -> v1::ExplainedQuota {
    let ExplainedQuota {
        database_bytes,
        requests_per_day,
        burst,
        concurrent_requests,
        query_time_ms,
        memory_bytes,
        cpu_millicores,
        result_bytes,
        request_bytes,
    } = quota;
    v1::ExplainedQuota {
        database_bytes: Some(limit(database_bytes, built_in.database_bytes)),
        requests_per_day: Some(limit(requests_per_day, built_in.requests_per_day)),
        burst: Some(rate(burst, built_in.burst)),
        concurrent_requests: Some(limit(concurrent_requests, built_in.concurrent_requests)),
        query_time_ms: Some(limit(query_time_ms, built_in.query_time_ms)),
        memory_bytes: Some(limit(memory_bytes, built_in.memory_bytes)),
        cpu_millicores: Some(limit(cpu_millicores, built_in.cpu_millicores)),
        result_bytes: Some(limit(result_bytes, built_in.result_bytes)),
        request_bytes: Some(limit(request_bytes, built_in.request_bytes)),
    }
}

/// The message of a tier's weight.
#[must_use]
pub fn explained_weight_to_proto(definition: &TierDefinition) -> v1::ExplainedLimit {
    let weight = ExplainedLimit {
        of_tier: definition.weight,
        own: None,
    };
    limit(&weight, TierDefinition::built_in(definition.tier).weight)
}

fn limit<T: Copy + Into<u64>>(explained: &ExplainedLimit<T>, built_in: T) -> v1::ExplainedLimit {
    v1::ExplainedLimit {
        in_force: explained.in_force().into(),
        origin: origin(explained).into(),
        of_tier: explained.of_tier.into(),
        built_in: built_in.into(),
    }
}

fn rate(explained: &ExplainedLimit<Option<Burst>>, built_in: Option<Burst>) -> v1::ExplainedBurst {
    v1::ExplainedBurst {
        in_force: explained.in_force().map(Into::into),
        origin: origin(explained).into(),
        of_tier: explained.of_tier.map(Into::into),
        built_in: built_in.map(Into::into),
    }
}

const fn origin<T>(explained: &ExplainedLimit<T>) -> v1::LimitOrigin {
    match explained.own {
        Some(_) => v1::LimitOrigin::Tenant,
        None => v1::LimitOrigin::Tier,
    }
}
