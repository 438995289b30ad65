//! What rules a node out, whatever its load.

use std::fmt;

use tenantry_types::{Availability, Scheduling};

use super::NodeView;

/// A node must keep this share of its disk free to take another tenant.
const HEADROOM_PERCENT: u128 = 10;

/// Why a node takes no tenant; the first rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionReason {
    /// It was not heard of lately.
    NotUp(Availability),
    /// An operator closed it to new tenants.
    Cordoned,
    /// It has as many tenants as it offers to take.
    Full,
    /// Its latest heartbeat does not say how much disk is free.
    DiskUnknown,
    /// Less than a tenth of its disk is free.
    DiskLow,
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUp(availability) => write!(f, "is {}", availability.as_str()),
            Self::Cordoned => f.write_str("is cordoned"),
            Self::Full => f.write_str("has as many tenants as it takes"),
            Self::DiskUnknown => f.write_str("has not said how much disk is free"),
            Self::DiskLow => write!(f, "has less than {HEADROOM_PERCENT} % of its disk free"),
        }
    }
}

/// Why `node` is ruled out; `None`: it is not.
#[must_use]
pub fn rejection(node: &NodeView) -> Option<RejectionReason> {
    if node.availability != Availability::Up {
        return Some(RejectionReason::NotUp(node.availability));
    }
    if node.scheduling == Scheduling::Cordoned {
        return Some(RejectionReason::Cordoned);
    }
    if node.tenants >= node.capacity.max_tenants {
        return Some(RejectionReason::Full);
    }
    let Some(free) = node.disk_free else {
        return Some(RejectionReason::DiskUnknown);
    };
    let needed = u128::from(node.capacity.disk.0) * HEADROOM_PERCENT / 100;
    (u128::from(free.0) < needed).then_some(RejectionReason::DiskLow)
}
