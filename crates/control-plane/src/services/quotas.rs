//! Why a tenant's limits are what they are: from the replicated state, beside what its node last reported.

use tenantry_proto::convert::{self, names};
use tenantry_proto::v1;
use tenantry_state::State;
use tenantry_types::{Tenant, TenantUsage, TierDefinition};

/// Explains the limits of `tenant` as `state` has them.
pub(super) fn explain(state: &State, tenant: &Tenant, usage: Option<&TenantUsage>) -> v1::ExplainTenantQuotaResponse {
    let tier = state.tiers().get(tenant.spec.tier);
    let built_in = TierDefinition::built_in(tier.tier);
    v1::ExplainTenantQuotaResponse {
        name: names::tenant(&tenant.name),
        uid: tenant.uid.to_string(),
        tier: convert::tier::to_wire(tier.tier),
        quota: Some(convert::explained_quota_to_proto(
            &tenant.explained_quota(tier),
            &built_in.quota,
        )),
        weight: Some(convert::explained_weight_to_proto(tier)),
        usage: usage.map(Into::into),
        node: tenant
            .placement
            .as_ref()
            .map(|placement| names::node(&placement.node))
            .unwrap_or_default(),
        revision: state.revision().get(),
    }
}

#[cfg(test)]
mod tests {
    use tenantry_state::strategies::{at, initialize, tenant_of};
    use tenantry_state::{Command, apply};
    use tenantry_types::{QuotaOverrides, Revision, Tier, TierPolicy};

    use super::*;

    fn state() -> State {
        let mut state = State::new();
        apply(&mut state, Revision(1), at(1, initialize(1))).outcome.unwrap();
        state
    }

    fn limit(in_force: u64, origin: v1::LimitOrigin, of_tier: u64, built_in: u64) -> Option<v1::ExplainedLimit> {
        Some(v1::ExplainedLimit {
            in_force,
            origin: origin.into(),
            of_tier,
            built_in,
        })
    }

    #[test]
    fn a_limit_is_the_tiers_or_the_tenants_own_and_an_edited_tier_is_told_from_a_built_in_one() {
        let mut state = state();
        let mut definition = TierDefinition::built_in(Tier::Small);
        definition.quota.concurrent_requests = 7;
        definition.weight = 3;
        apply(&mut state, Revision(2), at(2, Command::UpdateTier { definition }))
            .outcome
            .unwrap();
        let mut tenant = tenant_of(Tier::Small, TierPolicy::Pinned);
        tenant.spec.quota = QuotaOverrides {
            requests_per_day: Some(20),
            ..QuotaOverrides::default()
        };
        let explained = explain(&state, &tenant, None);
        let quota = explained.quota.unwrap();
        let (of_tier, of_tenant) = (v1::LimitOrigin::Tier, v1::LimitOrigin::Tenant);
        assert_eq!(quota.requests_per_day, limit(20, of_tenant, 10_000, 10_000));
        assert_eq!(quota.concurrent_requests, limit(7, of_tier, 7, 20));
        assert_eq!(quota.query_time_ms, limit(5_000, of_tier, 5_000, 5_000));
        assert_eq!(quota.burst.unwrap().in_force, None);
        assert_eq!(explained.weight, limit(3, of_tier, 3, 2));
        assert_eq!((explained.tier(), explained.revision), (v1::Tier::Small, 2));
    }

    #[test]
    fn what_is_explained_is_what_is_in_force() {
        let state = state();
        for tier in Tier::ALL {
            let tenant = tenant_of(tier, TierPolicy::Pinned);
            let quota = explain(&state, &tenant, None).quota.unwrap();
            let effective = state.effective_quota(&tenant);
            assert_eq!(quota.requests_per_day.unwrap().in_force, effective.requests_per_day);
            assert_eq!(quota.result_bytes.unwrap().in_force, effective.result_bytes);
        }
    }
}
