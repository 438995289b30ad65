//! What an event is about: of two about the same, the newer one is all that need be known.

use tenantry_proto::v1;
use tenantry_proto::v1::event_detail::Kind;
use tenantry_types::{Condition, QuotaKind, TenantUid};

/// What an event tells the state of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Condition(Condition),
    Class,
    Quota(QuotaKind),
    /// Whether the node refuses records of the control plane.
    Config,
    /// How many events were dropped: these add up and do not replace each other.
    Dropped,
}

/// A subject of a tenant, or of the node.
pub(super) type Key = (Option<TenantUid>, Subject);

impl Subject {
    /// `None` for what no node reports.
    pub(super) fn of(event: &v1::ReportedEvent) -> Option<Self> {
        Some(match event.detail.as_ref()?.kind.as_ref()? {
            Kind::HotspotRaised(_) | Kind::HotspotCleared(_) => Self::Condition(Condition::Hotspot),
            Kind::SpikeRaised(_) | Kind::SpikeCleared(_) => Self::Condition(Condition::Spike),
            Kind::NodeExceededRaised(_) | Kind::NodeExceededCleared(_) => Self::Condition(Condition::NodeExceeded),
            Kind::ClassChanged(_) => Self::Class,
            Kind::QuotaCrossed(crossed) => Self::Quota(match crossed.quota() {
                v1::QuotaKind::Database => QuotaKind::Database,
                v1::QuotaKind::RequestsPerDay | v1::QuotaKind::Unspecified => QuotaKind::RequestsPerDay,
            }),
            Kind::ConfigRefused(_) | Kind::ConfigAccepted(_) => Self::Config,
            Kind::EventsDropped(_) => Self::Dropped,
            _ => return None,
        })
    }

    /// Whether its newest state is told later when it has to give way now. A crossed quota is not: use that goes on to grow
    /// crosses the next share.
    pub(super) const fn is_told_later(self) -> bool {
        matches!(self, Self::Condition(_) | Self::Class | Self::Config)
    }

    /// Its number in the file.
    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Condition(Condition::Hotspot) => 0,
            Self::Condition(Condition::Spike) => 1,
            Self::Condition(Condition::NodeExceeded) => 2,
            Self::Class => 3,
            Self::Quota(QuotaKind::RequestsPerDay) => 4,
            Self::Quota(QuotaKind::Database) => 5,
            Self::Config => 6,
            Self::Dropped => 7,
        }
    }

    /// The condition of a number.
    pub(super) fn condition(number: i64) -> Option<Condition> {
        Condition::ALL
            .into_iter()
            .find(|condition| Self::Condition(*condition).number() == number)
    }
}

/// Whether an event says that something is raised.
pub(super) fn is_raised(event: &v1::ReportedEvent) -> bool {
    let kind = event.detail.as_ref().and_then(|detail| detail.kind.as_ref());
    matches!(
        kind,
        Some(Kind::HotspotRaised(_) | Kind::SpikeRaised(_) | Kind::NodeExceededRaised(_))
    )
}

/// Makes the word that something is raised the word that it is over, by the figures that it was raised by. Whether it was one.
pub(super) fn clear(event: &mut v1::ReportedEvent) -> bool {
    let Some(kind) = event.detail.as_mut().and_then(|detail| detail.kind.as_mut()) else {
        return false;
    };
    let end = v1::ConditionEnd::Unspecified.into();
    *kind = match &*kind {
        Kind::HotspotRaised(raised) => Kind::HotspotCleared(v1::HotspotCleared {
            score: raised.score,
            terms: raised.terms,
            end,
        }),
        Kind::SpikeRaised(raised) => Kind::SpikeCleared(v1::SpikeCleared {
            figures: raised.figures,
            end,
        }),
        Kind::NodeExceededRaised(raised) => Kind::NodeExceededCleared(v1::NodeExceededCleared {
            figures: raised.figures,
            end,
        }),
        _ => return false,
    };
    true
}
