//! Puts what the control plane itself decided or noticed into the event log.

use tenantry_types::{Event, EventDetail, EventOrigin, EventSequence, Tenant};

use super::Context;
use crate::State;

/// About a tenant, or about none.
pub(super) fn announce(
    state: &mut State,
    context: &Context,
    about: Option<&Tenant>,
    detail: EventDetail,
) -> EventSequence {
    let member = context.member;
    state.append_event(|sequence| Event {
        sequence,
        occurred_at: context.now,
        origin: EventOrigin::ControlPlane { member },
        tenant: about.map(|tenant| (tenant.uid, tenant.name.clone())),
        detail,
    })
}
