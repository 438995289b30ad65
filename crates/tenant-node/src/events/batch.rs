//! What is written at once, and what of it is there again after a restart.

use std::collections::HashMap;

use tenantry_types::{Condition, Epoch, EventDetail, TenantUid, UnixMillis};

use crate::conditions::{ClassRecord, HourRing};

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// When it happened.
    pub occurred_at: UnixMillis,
    /// Whom it is about; `None` for the node itself.
    pub tenant: Option<TenantUid>,
    /// The placement under which the tenant was served; `None` for the node itself.
    pub epoch: Option<Epoch>,
    /// What happened. What it says of a condition, or of refused records, becomes the state on record.
    pub detail: EventDetail,
}

/// What is written in one transaction: all of it, or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// What is to be told, in order.
    pub events: Vec<NewEvent>,
    /// Tenants' classes, and falls that may come.
    pub classes: Vec<(TenantUid, ClassRecord)>,
    /// Tenants' requests by hour.
    pub hours: Vec<(TenantUid, HourRing)>,
    /// The hours that this node was up for.
    pub served: Option<HourRing>,
    /// Tenants of which nothing is raised any more, since their placement has changed.
    pub measured_anew: Vec<TenantUid>,
    /// Tenants that are not served here any more.
    pub gone: Vec<TenantUid>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self {
            events,
            classes,
            hours,
            served,
            measured_anew,
            gone,
        } = self;
        events.is_empty()
            && classes.is_empty()
            && hours.is_empty()
            && served.is_none()
            && measured_anew.is_empty()
            && gone.is_empty()
    }
}

/// What is on record when the node starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Of each tenant.
    pub tenants: HashMap<TenantUid, KeptTenant>,
    /// The hours that this node was up for.
    pub served: Option<HourRing>,
    /// Whether it was told last that records are refused.
    pub config_refused: bool,
}

/// What is on record of one tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeptTenant {
    /// What is raised.
    pub raised: Vec<Condition>,
    /// The placement under which it was raised; `None` where nothing is, or that was not kept.
    pub epoch: Option<Epoch>,
    /// Its class.
    pub class: Option<ClassRecord>,
    /// Its requests by hour.
    pub hours: Option<HourRing>,
}
