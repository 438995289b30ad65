//! `tier.proto`.

use tenantry_types::Tier;

use super::InvalidField;
use crate::v1;

impl From<Tier> for v1::Tier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Micro => Self::Micro,
            Tier::Small => Self::Small,
            Tier::Medium => Self::Medium,
            Tier::Large => Self::Large,
            Tier::Enterprise => Self::Enterprise,
        }
    }
}

/// The number of a tier.
#[must_use]
pub fn to_wire(tier: Tier) -> i32 {
    v1::Tier::from(tier).into()
}

/// The tier of a number; `None` when it is unspecified.
///
/// # Errors
/// Names `field` when there is no such tier.
pub fn tier_from_wire(field: &str, number: i32) -> Result<Option<Tier>, InvalidField> {
    let tier =
        v1::Tier::try_from(number).map_err(|_| InvalidField::new(field, format!("there is no tier {number}")))?;
    Ok(match tier {
        v1::Tier::Unspecified => None,
        v1::Tier::Micro => Some(Tier::Micro),
        v1::Tier::Small => Some(Tier::Small),
        v1::Tier::Medium => Some(Tier::Medium),
        v1::Tier::Large => Some(Tier::Large),
        v1::Tier::Enterprise => Some(Tier::Enterprise),
    })
}

/// Like [`tier_from_wire`], for a field that must be there.
///
/// # Errors
/// Names `field` when it is unspecified or there is no such tier.
pub fn required_tier(field: &str, number: i32) -> Result<Tier, InvalidField> {
    tier_from_wire(field, number)?.ok_or_else(|| InvalidField::missing(field))
}
