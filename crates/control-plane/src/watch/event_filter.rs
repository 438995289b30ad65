//! Whether somebody wants an event.

use std::collections::HashSet;

use tenantry_state::State;
use tenantry_types::{Event, EventFilter, TenantName};

/// A filter, made ready to be asked many times.
#[derive(Debug, Clone, Default)]
pub struct EventMatcher {
    filter: EventFilter,
    kinds: HashSet<String>,
    tenants: HashSet<TenantName>,
}

impl EventMatcher {
    /// Asks for what `filter` lets pass.
    #[must_use]
    pub fn new(filter: EventFilter) -> Self {
        Self {
            kinds: filter.kinds.iter().cloned().collect(),
            tenants: filter.tenants.iter().cloned().collect(),
            filter,
        }
    }

    /// Whether `event` is wanted. A tenant's labels are those that it has in `state`.
    #[must_use]
    pub fn wants(&self, event: &Event, state: &State) -> bool {
        let labels = &self.filter.labels;
        let named = || {
            let tenant = event.tenant.as_ref();
            tenant.is_some_and(|(_, name)| self.tenants.contains(name))
        };
        let labelled = || {
            let tenant = event.tenant.as_ref().and_then(|(uid, _)| state.tenant(*uid));
            tenant.is_some_and(|tenant| {
                let has = tenant.spec.labels.pairs();
                labels.iter().all(|(key, value)| has.get(key) == Some(value))
            })
        };
        let least = self.filter.min_severity;
        (self.kinds.is_empty() || self.kinds.contains(event.detail.kind()))
            && (self.tenants.is_empty() || named())
            && (labels.is_empty() || labelled())
            && least.is_none_or(|least| event.detail.severity() >= least)
    }
}

#[cfg(test)]
mod tests {
    use tenantry_state::strategies::{every_command_once, replay};
    use tenantry_types::{EventSequence, Severity};

    use super::*;

    fn kinds(filter: EventFilter) -> Vec<&'static str> {
        let state = replay(&every_command_once());
        let matcher = EventMatcher::new(filter);
        let kept = state.events_after(EventSequence::ZERO);
        kept.filter(|event| matcher.wants(event, &state))
            .map(|event| event.detail.kind())
            .collect()
    }

    #[test]
    fn every_part_of_a_filter_must_hold() {
        let all = kinds(EventFilter::default());
        let of = |kind: &str| EventFilter {
            kinds: vec![kind.to_owned()],
            ..EventFilter::default()
        };
        assert_eq!(kinds(of("class-changed")), ["class-changed"]);
        let labelled = |value: &str| EventFilter {
            labels: [("plan".to_owned(), value.to_owned())].into(),
            ..EventFilter::default()
        };
        let about_tenants = kinds(labelled("gold"));
        assert!(about_tenants.contains(&"class-changed") && about_tenants.len() < all.len());
        assert!(kinds(labelled("silver")).is_empty());
        let named = |name: &str| EventFilter {
            tenants: vec![TenantName::new(name).unwrap()],
            ..EventFilter::default()
        };
        assert_eq!(
            kinds(named("acme")),
            ["class-changed", "tier-changed", "tokens-revoked"]
        );
        assert!(kinds(named("zoo")).is_empty());
        let severe = EventFilter {
            min_severity: Some(Severity::Critical),
            ..EventFilter::default()
        };
        assert!(kinds(severe).len() < all.len());
        let both = EventFilter {
            min_severity: Some(Severity::Critical),
            ..of("class-changed")
        };
        assert!(kinds(both).is_empty());
    }
}
