//! The definitions of all tiers: one each, always all of them.

use tenantry_types::{Tier, TierDefinition};

/// What each tier stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers([TierDefinition; 5]);

impl Default for Tiers {
    fn default() -> Self {
        Self(TierDefinition::defaults())
    }
}

impl Tiers {
    /// All definitions, smallest first. `None` unless there is exactly one for each tier.
    #[must_use]
    pub fn new(mut definitions: Vec<TierDefinition>) -> Option<Self> {
        definitions.sort_by_key(|definition| definition.tier);
        let complete = definitions.iter().map(|definition| definition.tier).eq(Tier::ALL);
        if !complete {
            return None;
        }
        definitions.try_into().ok().map(Self)
    }

    /// The definition of `tier`.
    #[must_use]
    pub const fn get(&self, tier: Tier) -> &TierDefinition {
        let [micro, small, medium, large, enterprise] = &self.0;
        match tier {
            Tier::Micro => micro,
            Tier::Small => small,
            Tier::Medium => medium,
            Tier::Large => large,
            Tier::Enterprise => enterprise,
        }
    }

    /// All of them, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = &TierDefinition> {
        self.0.iter()
    }

    pub(super) fn put(&mut self, definition: TierDefinition) {
        for each in &mut self.0 {
            if each.tier == definition.tier {
                *each = definition;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_is_defined_exactly_once() {
        let all = TierDefinition::defaults().to_vec();
        assert_eq!(Tiers::new(all.iter().rev().copied().collect()), Some(Tiers::default()));
        assert_eq!(Tiers::new(all.iter().skip(1).copied().collect()), None);
        assert_eq!(Tiers::new(all.iter().chain(all.first()).copied().collect()), None);
        for tier in Tier::ALL {
            assert_eq!(Tiers::default().get(tier).tier, tier);
        }
    }
}
