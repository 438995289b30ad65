//! `notification_service.proto`.

use tenantry_types::{Epoch, ReportSequence, ReportedEvent};

use super::field::{InvalidField, Within};
use super::names::bare_uid;
use super::time::{required, timestamp};
use crate::v1;

impl From<&ReportedEvent> for v1::ReportedEvent {
    fn from(event: &ReportedEvent) -> Self {
        Self {
            sequence: event.sequence.get(),
            occur_time: Some(timestamp(event.occurred_at)),
            tenant_uid: event.tenant.map(|uid| uid.to_string()).unwrap_or_default(),
            detail: Some((&event.detail).into()),
            epoch: event.epoch.map_or(0, Epoch::get),
        }
    }
}

impl TryFrom<v1::ReportedEvent> for ReportedEvent {
    type Error = InvalidField;

    fn try_from(event: v1::ReportedEvent) -> Result<Self, InvalidField> {
        if event.sequence == 0 {
            return Err(InvalidField::new("sequence", "must be at least 1"));
        }
        let tenant = match event.tenant_uid.as_str() {
            "" => None,
            uid => Some(bare_uid("tenant_uid", uid)?),
        };
        let detail = event.detail.ok_or_else(|| InvalidField::missing("detail"))?;
        Ok(Self {
            sequence: ReportSequence(event.sequence),
            occurred_at: required("occur_time", event.occur_time.as_ref())?,
            tenant,
            epoch: (event.epoch > 0).then_some(Epoch(event.epoch)),
            detail: detail.try_into().within("detail")?,
        })
    }
}
