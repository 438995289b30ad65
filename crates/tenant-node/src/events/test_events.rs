//! Events for the tests of this module.

use tenantry_types::{
    Cleared, Condition, ConditionFigures, Epoch, EventDetail, HotspotScore, QuotaKind, ScoreTerms, TenantUid,
    UnixMillis,
};

use super::{Batch, NewEvent};

pub(super) const NOW: UnixMillis = UnixMillis(3_600_000);

/// The placement under which all of it happens.
pub(super) const EPOCH: Epoch = Epoch(3);

pub(super) fn uid(tenant: u128) -> TenantUid {
    TenantUid::from_u128(tenant)
}

pub(super) fn of(tenant: u128, detail: EventDetail) -> NewEvent {
    NewEvent {
        occurred_at: NOW,
        tenant: Some(uid(tenant)),
        epoch: Some(EPOCH),
        detail,
    }
}

pub(super) fn batch(events: impl IntoIterator<Item = NewEvent>) -> Batch {
    Batch {
        events: events.into_iter().collect(),
        ..Batch::default()
    }
}

pub(super) fn crossed(tenant: u128, used: u64) -> NewEvent {
    let detail = EventDetail::QuotaCrossed {
        quota: QuotaKind::Database,
        percent: 80,
        used,
        limit: 100,
    };
    of(tenant, detail)
}

pub(super) fn turned(tenant: u128, condition: Condition, raised: bool) -> NewEvent {
    let figures = match condition {
        Condition::Hotspot => ConditionFigures::Hotspot {
            score: HotspotScore::clamped(0.5),
            terms: ScoreTerms::default(),
        },
        Condition::Spike => ConditionFigures::Spike {
            requests_per_minute: 700,
            norm_per_minute: 10.5,
        },
        Condition::NodeExceeded => ConditionFigures::NodeExceeded {
            cpu_millicores: 1_700,
            node_millicores: 2_000,
        },
    };
    let detail = match raised {
        true => EventDetail::Raised(figures),
        false => EventDetail::Cleared(Cleared::Subsided(figures)),
    };
    of(tenant, detail)
}
