//! Reading the event log and what is raised, and the switches of what follows from events.

use tenantry_proto::convert::{self, Within as _, names};
use tenantry_proto::v1;
use tenantry_state::State;
use tenantry_types::{EventSequence, MoveCause};
use tonic::Status;

use super::{page, status};
use crate::watch::EventMatcher;

/// A page of the log.
///
/// # Errors
/// When the filter, the size or the token is wrong.
pub(super) fn list(state: &State, request: v1::ListEventsRequest) -> Result<v1::ListEventsResponse, Status> {
    let size = page::size(request.page_size)?;
    let filter = request.filter.unwrap_or_default();
    let query = page::event_query(&filter, request.newest_first);
    let after = page::event_after(&request.page_token, query)?;
    let matcher = EventMatcher::new(
        convert::event_filter_from_wire(filter)
            .within("filter")
            .map_err(status::invalid)?,
    );
    let wanted = |event: &&std::sync::Arc<tenantry_types::Event>| matcher.wants(event, state);
    let page: Vec<_> = if request.newest_first {
        let events = state.events_before(after.unwrap_or(EventSequence(u64::MAX)));
        events.filter(wanted).take(size + 1).collect()
    } else {
        let events = state.events_after(after.unwrap_or(EventSequence::ZERO));
        events.filter(wanted).take(size + 1).collect()
    };
    let next_page_token = match page.get(size.saturating_sub(1)) {
        Some(last) if page.len() > size => page::event_token(last.sequence, query),
        _ => String::new(),
    };
    let oldest = state.oldest_event();
    Ok(v1::ListEventsResponse {
        events: page
            .into_iter()
            .take(size)
            .map(|event| v1::Event::from(&**event))
            .collect(),
        next_page_token,
        oldest_sequence: if oldest > state.last_event() { 0 } else { oldest.get() },
    })
}

/// What is raised, and the moves that are proposed because of it.
pub(super) fn conditions(state: &State) -> v1::ListConditionsResponse {
    let name = |uid| {
        let tenant = state.tenant(uid);
        tenant.map(|tenant| names::tenant(&tenant.name)).unwrap_or_default()
    };
    let conditions = state.conditions().map(|(uid, condition, active)| v1::ActiveCondition {
        tenant: name(uid),
        tenant_uid: uid.to_string(),
        kind: v1::ConditionKind::from(condition).into(),
        node: names::node(&active.node),
        incarnation: active.incarnation.get(),
        since_time: Some(convert::timestamp(active.since)),
        event_sequence: active.event.get(),
    });
    let proposals = state.move_proposals().map(|(uid, proposal)| v1::MoveProposal {
        tenant: name(uid),
        tenant_uid: uid.to_string(),
        node: names::node(&proposal.node),
        hot_tenant_uid: match proposal.cause {
            MoveCause::Hot => String::new(),
            MoveCause::BesideHot { hot } => hot.to_string(),
        },
        since_time: Some(convert::timestamp(proposal.since)),
    });
    v1::ListConditionsResponse {
        conditions: conditions.collect(),
        move_proposals: proposals.collect(),
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
