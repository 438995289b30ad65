//! Filters of events, in `notification_service.proto`.

use tenantry_types::{EventDetail, EventFilter, Labels};

use super::event::severity_from_wire;
use super::field::InvalidField;
use super::names;
use crate::v1;

/// More names than this in one part of a filter are refused.
const MOST_NAMES: usize = 100;

/// A filter as it is asked for.
///
/// # Errors
/// Names the field below the filter that was wrong.
pub fn event_filter_from_wire(filter: v1::EventFilter) -> Result<EventFilter, InvalidField> {
    let counts = [("kinds", filter.kinds.len()), ("tenants", filter.tenants.len())];
    if let Some((field, _)) = counts.iter().find(|(_, count)| *count > MOST_NAMES) {
        return Err(InvalidField::new(field, format!("may name at most {MOST_NAMES}")));
    }
    if let Some(kind) = filter
        .kinds
        .iter()
        .find(|kind| !EventDetail::KINDS.contains(&kind.as_str()))
    {
        let known = EventDetail::KINDS.join(", ");
        return Err(InvalidField::new("kinds", format!("`{kind}` is not one of {known}")));
    }
    let labels = Labels::new(filter.labels).map_err(|error| InvalidField::new("labels", error))?;
    let tenants = filter
        .tenants
        .iter()
        .enumerate()
        .map(|(index, name)| names::parse_tenant(&format!("tenants[{index}]"), name));
    Ok(EventFilter {
        kinds: filter.kinds,
        tenants: tenants.collect::<Result<_, _>>()?,
        labels: labels.pairs().clone(),
        min_severity: severity_from_wire("min_severity", filter.min_severity)?,
    })
}

impl From<&EventFilter> for v1::EventFilter {
    fn from(filter: &EventFilter) -> Self {
        let EventFilter {
            kinds,
            tenants,
            labels,
            min_severity,
        } = filter;
        Self {
            kinds: kinds.clone(),
            tenants: tenants.iter().map(names::tenant).collect(),
            labels: labels.clone(),
            min_severity: min_severity
                .map_or(v1::EventSeverity::Unspecified, v1::EventSeverity::from)
                .into(),
        }
    }
}
