//! Which contracted tier an AUTO tenant should have, from a report of its observed class. The leader decides with it;
//! `apply` only checks that the decision still fits.

use tenantry_types::{QuotaKind, Tenant, TenantUid, Tier, TierPolicy};

/// A change of a tenant's contracted tier that the leader decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierDecision {
    /// Whose.
    pub uid: TenantUid,
    /// The tier that the decision rests on.
    pub from: Tier,
    /// The tier to give.
    pub to: Tier,
}

/// What to do about `tenant` now that it is observed in class `observed`. Nodes report a class only once it has held
/// for long enough, so that a report is acted on at once in both directions. `None`: leave it.
#[must_use]
pub fn decide(tenant: &Tenant, observed: Tier) -> Option<TierDecision> {
    let TierPolicy::Auto { max_tier } = tenant.spec.tier_policy else {
        return None;
    };
    let from = tenant.spec.tier;
    let to = observed.min(max_tier);
    // A tenant above `max_tier` was put there by an operator: a larger class must not make it smaller.
    let grows_past_its_bound = observed >= from && to <= from;
    (tenant.is_active() && !grows_past_its_bound && to != from).then_some(TierDecision {
        uid: tenant.uid,
        from,
        to,
    })
}

/// What to do about `tenant` now that it has used most of a limit: an AUTO tenant is lifted by one tier before it is
/// refused for the lower one's limit. A limit that its spec sets itself is the operator's word and stays. `None`: leave it.
#[must_use]
pub fn lift(tenant: &Tenant, crossed: QuotaKind) -> Option<TierDecision> {
    let TierPolicy::Auto { max_tier } = tenant.spec.tier_policy else {
        return None;
    };
    let overridden = match crossed {
        QuotaKind::RequestsPerDay => tenant.spec.quota.requests_per_day.is_some(),
        QuotaKind::Database => tenant.spec.quota.database_bytes.is_some(),
    };
    let from = tenant.spec.tier;
    let to = Tier::ALL.into_iter().find(|tier| *tier > from && *tier <= max_tier)?;
    (tenant.is_active() && !overridden).then_some(TierDecision {
        uid: tenant.uid,
        from,
        to,
    })
}

/// Whether `decision` may still be carried out on `tenant`.
#[must_use]
pub(crate) fn still_fits(decision: &TierDecision, tenant: &Tenant) -> bool {
    let within_bound = match tenant.spec.tier_policy {
        TierPolicy::Pinned => false,
        TierPolicy::Auto { max_tier } => decision.to <= max_tier,
    };
    within_bound && tenant.is_active() && tenant.spec.tier == decision.from && decision.to != decision.from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategies::tenant_of;

    #[test]
    fn an_auto_tenant_follows_its_class_up_to_its_bound() {
        use Tier::{Enterprise, Large, Medium, Micro, Small};
        let auto = |max_tier| TierPolicy::Auto { max_tier };
        let cases = [
            // tier, policy, observed, decided
            (Small, auto(Enterprise), Medium, Some(Medium)),
            (Small, auto(Enterprise), Enterprise, Some(Enterprise)),
            (Small, auto(Medium), Enterprise, Some(Medium)),
            (Medium, auto(Medium), Large, None),
            (Large, auto(Medium), Enterprise, None),
            (Large, auto(Medium), Large, None),
            (Large, auto(Medium), Small, Some(Small)),
            (Large, auto(Enterprise), Micro, Some(Micro)),
            (Small, auto(Enterprise), Small, None),
            (Small, TierPolicy::Pinned, Large, None),
            (Large, TierPolicy::Pinned, Micro, None),
        ];
        for (tier, policy, observed, decided) in cases {
            let tenant = tenant_of(tier, policy);
            let decision = decide(&tenant, observed);
            assert_eq!(
                decision.map(|decision| decision.to),
                decided,
                "{tier} {policy:?} {observed}"
            );
            assert!(decision.is_none_or(|decision| still_fits(&decision, &tenant)));
        }
    }

    #[test]
    fn an_auto_tenant_is_lifted_before_it_is_refused_unless_the_limit_is_its_own() {
        use Tier::{Large, Medium, Small};
        let auto = |max_tier| tenant_of(Small, TierPolicy::Auto { max_tier });
        let lifted = |tenant: &Tenant| lift(tenant, QuotaKind::RequestsPerDay).map(|decision| decision.to);
        assert_eq!(lifted(&auto(Large)), Some(Medium));
        assert_eq!(lifted(&auto(Small)), None);
        assert_eq!(lifted(&tenant_of(Small, TierPolicy::Pinned)), None);
        let mut own_limit = auto(Large);
        own_limit.spec.quota.requests_per_day = Some(20);
        assert_eq!(lifted(&own_limit), None);
        assert_eq!(
            lift(&own_limit, QuotaKind::Database).map(|decision| decision.to),
            Some(Medium)
        );
    }
}
