//! Conditions, in `event.proto` and `notification_service.proto`.

use tenantry_types::{Cleared, Condition, ConditionFigures, EndReason, HotspotScore, ScoreTerms};

use super::field::{InvalidField, Within};
use super::usage::share;
use crate::v1;
use crate::v1::event_detail::Kind;

impl From<&ScoreTerms> for v1::ScoreTerms {
    fn from(terms: &ScoreTerms) -> Self {
        let ScoreTerms {
            database,
            requests,
            cpu,
            memory,
        } = *terms;
        Self {
            database,
            requests,
            cpu,
            memory,
        }
    }
}

impl TryFrom<v1::ScoreTerms> for ScoreTerms {
    type Error = InvalidField;

    fn try_from(terms: v1::ScoreTerms) -> Result<Self, InvalidField> {
        Ok(Self {
            database: share("database", terms.database)?,
            requests: share("requests", terms.requests)?,
            cpu: share("cpu", terms.cpu)?,
            memory: share("memory", terms.memory)?,
        })
    }
}

impl From<Condition> for v1::ConditionKind {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Hotspot => Self::Hotspot,
            Condition::Spike => Self::Spike,
            Condition::NodeExceeded => Self::NodeExceeded,
        }
    }
}

/// The condition of a number.
///
/// # Errors
/// Names `field` when it is unspecified or there is no such condition.
pub fn condition_from_wire(field: &str, number: i32) -> Result<Condition, InvalidField> {
    match v1::ConditionKind::try_from(number) {
        Ok(v1::ConditionKind::Hotspot) => Ok(Condition::Hotspot),
        Ok(v1::ConditionKind::Spike) => Ok(Condition::Spike),
        Ok(v1::ConditionKind::NodeExceeded) => Ok(Condition::NodeExceeded),
        Ok(v1::ConditionKind::Unspecified) => Err(InvalidField::missing(field)),
        Err(_) => Err(InvalidField::new(field, format!("there is no condition {number}"))),
    }
}

impl From<EndReason> for v1::ConditionEnd {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::TenantDeleted => Self::TenantDeleted,
            EndReason::TenantMoved => Self::TenantMoved,
            EndReason::RecordLost => Self::RecordLost,
        }
    }
}

fn end_from_wire(field: &str, number: i32) -> Result<Option<EndReason>, InvalidField> {
    match v1::ConditionEnd::try_from(number) {
        Ok(v1::ConditionEnd::Unspecified) => Ok(None),
        Ok(v1::ConditionEnd::TenantDeleted) => Ok(Some(EndReason::TenantDeleted)),
        Ok(v1::ConditionEnd::TenantMoved) => Ok(Some(EndReason::TenantMoved)),
        Ok(v1::ConditionEnd::RecordLost) => Ok(Some(EndReason::RecordLost)),
        Err(_) => Err(InvalidField::new(field, format!("there is no end {number}"))),
    }
}

const fn spike(requests_per_minute: u64, norm_per_minute: f64) -> v1::SpikeFigures {
    v1::SpikeFigures {
        requests_per_minute,
        norm_per_minute,
    }
}

const fn node_share(cpu_millicores: u64, node_millicores: u64) -> v1::NodeShare {
    v1::NodeShare {
        cpu_millicores,
        node_millicores,
    }
}

pub(super) fn raised_to_wire(figures: &ConditionFigures) -> Kind {
    match figures {
        ConditionFigures::Hotspot { score, terms } => Kind::HotspotRaised(v1::HotspotRaised {
            score: score.get(),
            terms: Some(terms.into()),
        }),
        ConditionFigures::Spike {
            requests_per_minute,
            norm_per_minute,
        } => Kind::SpikeRaised(v1::SpikeRaised {
            figures: Some(spike(*requests_per_minute, *norm_per_minute)),
        }),
        ConditionFigures::NodeExceeded {
            cpu_millicores,
            node_millicores,
        } => Kind::NodeExceededRaised(v1::NodeExceededRaised {
            figures: Some(node_share(*cpu_millicores, *node_millicores)),
        }),
    }
}

pub(super) fn cleared_to_wire(cleared: &Cleared) -> Kind {
    let unended = v1::ConditionEnd::Unspecified.into();
    match cleared {
        Cleared::Subsided(ConditionFigures::Hotspot { score, terms }) => Kind::HotspotCleared(v1::HotspotCleared {
            score: score.get(),
            terms: Some(terms.into()),
            end: unended,
        }),
        Cleared::Subsided(ConditionFigures::Spike {
            requests_per_minute,
            norm_per_minute,
        }) => Kind::SpikeCleared(v1::SpikeCleared {
            figures: Some(spike(*requests_per_minute, *norm_per_minute)),
            end: unended,
        }),
        Cleared::Subsided(ConditionFigures::NodeExceeded {
            cpu_millicores,
            node_millicores,
        }) => Kind::NodeExceededCleared(v1::NodeExceededCleared {
            figures: Some(node_share(*cpu_millicores, *node_millicores)),
            end: unended,
        }),
        Cleared::Ended(condition, reason) => {
            let end = v1::ConditionEnd::from(*reason).into();
            match condition {
                Condition::Hotspot => Kind::HotspotCleared(v1::HotspotCleared {
                    score: 0.0,
                    terms: None,
                    end,
                }),
                Condition::Spike => Kind::SpikeCleared(v1::SpikeCleared { figures: None, end }),
                Condition::NodeExceeded => Kind::NodeExceededCleared(v1::NodeExceededCleared { figures: None, end }),
            }
        }
    }
}

pub(super) fn hotspot_from_wire(score: f64, terms: Option<v1::ScoreTerms>) -> Result<ConditionFigures, InvalidField> {
    let terms = terms.ok_or_else(|| InvalidField::missing("terms"))?;
    Ok(ConditionFigures::Hotspot {
        score: HotspotScore::clamped(share("score", score)?),
        terms: terms.try_into().within("terms")?,
    })
}

pub(super) fn spike_from_wire(figures: Option<v1::SpikeFigures>) -> Result<ConditionFigures, InvalidField> {
    let figures = figures.ok_or_else(|| InvalidField::missing("figures"))?;
    let norm = figures.norm_per_minute;
    if !norm.is_finite() || norm < 0.0 {
        return Err(InvalidField::new(
            "figures.norm_per_minute",
            "must be a number from 0 on",
        ));
    }
    Ok(ConditionFigures::Spike {
        requests_per_minute: figures.requests_per_minute,
        norm_per_minute: norm,
    })
}

pub(super) fn node_share_from_wire(figures: Option<v1::NodeShare>) -> Result<ConditionFigures, InvalidField> {
    let figures = figures.ok_or_else(|| InvalidField::missing("figures"))?;
    Ok(ConditionFigures::NodeExceeded {
        cpu_millicores: figures.cpu_millicores,
        node_millicores: figures.node_millicores,
    })
}

/// Ended by the control plane where `end` says so; otherwise subsided, by the figures.
pub(super) fn cleared_from_wire(
    condition: Condition,
    end: i32,
    figures: impl FnOnce() -> Result<ConditionFigures, InvalidField>,
) -> Result<Cleared, InvalidField> {
    match end_from_wire("end", end)? {
        Some(reason) => Ok(Cleared::Ended(condition, reason)),
        None => figures().map(Cleared::Subsided),
    }
}
