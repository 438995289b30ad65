//! Resource classes of tenants.

use std::fmt;
use std::str::FromStr;

use crate::EffectiveQuota;

/// A resource class; ordered by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The smallest.
    Micro,
    /// The default of a new tenant.
    Small,
    /// For steady traffic.
    Medium,
    /// For heavy traffic.
    Large,
    /// The largest; prefers a node of its own.
    Enterprise,
}

/// Text that names no tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tier: one of micro, small, medium, large, enterprise")]
pub struct InvalidTier(pub String);

impl Tier {
    /// All tiers, smallest first.
    pub const ALL: [Self; 5] = [Self::Micro, Self::Small, Self::Medium, Self::Large, Self::Enterprise];

    /// The name in lower case, as in metrics, protocol and command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Enterprise => "enterprise",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = InvalidTier;

    fn from_str(text: &str) -> Result<Self, InvalidTier> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| InvalidTier(text.chars().take(40).collect()))
    }
}

/// Who decides a tenant's contracted tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierPolicy {
    /// The operator: crossings are reported and change nothing.
    Pinned,
    /// The control plane follows the observed class, never past `max_tier`.
    Auto {
        /// The largest tier that it may choose.
        max_tier: Tier,
    },
}

/// What a tier stands for. Data in the state machine: an operator can edit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierDefinition {
    /// Which tier.
    pub tier: Tier,
    /// The limits of a tenant that overrides none.
    pub quota: EffectiveQuota,
    /// Share of a node's cache and of planned load, relative to micro.
    pub weight: u32,
    /// A database above this many bytes is observed as this class. Zero for the smallest.
    pub observed_above_bytes: u64,
    /// More requests than this in 24 hours are observed as this class. Zero for the smallest.
    pub observed_above_requests: u64,
}

impl TierDefinition {
    /// The definition of `tier` that a new cluster starts with, and that stands until an operator edits it.
    #[must_use]
    pub fn built_in(tier: Tier) -> Self {
        let [micro, small, medium, large, enterprise] = Self::defaults();
        match tier {
            Tier::Micro => micro,
            Tier::Small => small,
            Tier::Medium => medium,
            Tier::Large => large,
            Tier::Enterprise => enterprise,
        }
    }

    /// The definitions that a new cluster starts with.
    #[must_use]
    pub fn defaults() -> [Self; 5] {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let define = |tier, quota, weight, above_bytes, above_requests| Self {
            tier,
            quota,
            weight,
            observed_above_bytes: above_bytes,
            observed_above_requests: above_requests,
        };
        let quota = EffectiveQuota::of_tier;
        [
            define(Tier::Micro, quota(10 * MIB, 1_000, 5, 1_000, 50 * MIB, 50), 1, 0, 0),
            define(
                Tier::Small,
                quota(100 * MIB, 10_000, 20, 5_000, 200 * MIB, 100),
                2,
                10 * MIB,
                1_000,
            ),
            define(
                Tier::Medium,
                quota(GIB, 100_000, 50, 10_000, GIB, 250),
                5,
                100 * MIB,
                10_000,
            ),
            define(
                Tier::Large,
                quota(5 * GIB, 1_000_000, 100, 30_000, 4 * GIB, 500),
                10,
                GIB,
                100_000,
            ),
            define(
                Tier::Enterprise,
                quota(50 * GIB, 10_000_000, 500, 60_000, 16 * GIB, 1_000),
                20,
                5 * GIB,
                1_000_000,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_ordered_and_read_back() {
        assert!(Tier::ALL.is_sorted());
        for tier in Tier::ALL {
            assert_eq!(tier.as_str().parse(), Ok(tier));
        }
        assert!("Large".parse::<Tier>().is_err());
    }

    #[test]
    fn every_tier_has_its_own_built_in_definition() {
        for tier in Tier::ALL {
            assert_eq!(TierDefinition::built_in(tier).tier, tier);
        }
    }

    #[test]
    fn every_default_limit_grows_with_the_tier() {
        for pair in TierDefinition::defaults().windows(2) {
            assert!(pair[0].quota.database_bytes < pair[1].quota.database_bytes);
            assert!(pair[0].quota.requests_per_day < pair[1].quota.requests_per_day);
            assert!(pair[0].weight < pair[1].weight);
            assert!(pair[0].observed_above_bytes < pair[1].observed_above_bytes);
        }
    }
}
