//! Conditions that set in and are over, and the moves that are proposed because of hot tenants.
//!
//! Each condition of a tenant is raised at most once before it is cleared, so that the log alternates. A proposal stands for
//! as long as its tenant is on the node and the hot tenant is hot there.

use tenantry_types::{
    ActiveCondition, Cleared, Condition, EndReason, EventDetail, EventSequence, Incarnation, MoveCause, MoveProposal,
    NodeId, Tenant, TenantUid, UnixMillis,
};

use super::Context;
use super::announce::announce;
use crate::{MoveDecision, State};

/// Whether a report was news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was: it belongs into the log.
    New,
    /// What it tells was known.
    Known,
}

/// Who raises a condition, and when it set in.
pub(super) struct Raise<'a> {
    pub(super) node: &'a NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) since: UnixMillis,
}

/// Raises `condition`; `append` puts the event into the log, if it is news.
pub(super) fn raise(
    state: &mut State,
    tenant: TenantUid,
    condition: Condition,
    raise: &Raise<'_>,
    append: impl FnOnce(&mut State) -> EventSequence,
) -> News {
    let known = state.condition(tenant, condition).cloned();
    let (news, since, event) = match &known {
        None => (News::New, raise.since, append(state)),
        // The same node tells it again after a restart: from now on it is that start which has to clear it.
        Some(known) if known.incarnation != raise.incarnation => (News::Known, known.since, known.event),
        Some(_) => return News::Known,
    };
    let active = ActiveCondition {
        node: raise.node.clone(),
        incarnation: raise.incarnation,
        since,
        event,
    };
    state.put_condition(tenant, condition, active);
    news
}

/// Clears `condition`; the caller puts the event into the log, if it is news, before the moves are withdrawn.
pub(super) fn clear(state: &mut State, tenant: TenantUid, condition: Condition) -> News {
    match state.remove_condition(tenant, condition) {
        Some(_) => News::New,
        None => News::Known,
    }
}

/// Ends what is raised of a tenant that its node no longer serves, and the proposals that rest on it or are about it.
pub(super) fn end_all_of(state: &mut State, context: &Context, tenant: &Tenant, reason: EndReason) {
    for condition in Condition::ALL {
        end(state, context, tenant, condition, reason);
    }
    withdraw(state, context, tenant.uid);
}

/// Ends what earlier starts of `node` had raised: the record of it was begun anew by `record_since`.
pub(super) fn end_lost(state: &mut State, context: &Context, node: &NodeId, record_since: Incarnation) {
    let lost: Vec<_> = state
        .conditions()
        .filter(|(_, _, active)| active.node == *node && active.incarnation < record_since)
        .map(|(uid, condition, _)| (uid, condition))
        .collect();
    for (uid, condition) in lost {
        if let Some(tenant) = state.tenant(uid).cloned() {
            end(state, context, &tenant, condition, EndReason::RecordLost);
        }
    }
}

fn end(state: &mut State, context: &Context, tenant: &Tenant, condition: Condition, reason: EndReason) {
    if clear(state, tenant.uid, condition) == News::Known {
        return;
    }
    let ended = EventDetail::Cleared(Cleared::Ended(condition, reason));
    announce(state, context, Some(tenant), ended);
    if condition == Condition::Hotspot {
        withdraw_because_of(state, context, tenant.uid);
    }
}

/// Proposes the moves that still make sense.
pub(super) fn propose(state: &mut State, context: &Context, moves: Vec<MoveDecision>) {
    for MoveDecision { tenant: uid, hot, node } in moves {
        let hot_there = state
            .condition(hot, Condition::Hotspot)
            .is_some_and(|active| active.node == node);
        let there = |tenant: &Tenant| {
            let placement = tenant.placement.as_ref();
            tenant.is_active() && placement.is_some_and(|placement| placement.node == node)
        };
        let Some(tenant) = state.tenant(uid).filter(|tenant| there(tenant)).cloned() else {
            continue;
        };
        if !hot_there || state.move_proposal(uid).is_some() || !state.reactions().move_proposals.is_on() {
            continue;
        }
        let cause = if uid == hot {
            MoveCause::Hot
        } else {
            MoveCause::BesideHot { hot }
        };
        let proposal = MoveProposal {
            node: node.clone(),
            cause,
            since: context.now,
        };
        state.put_move(uid, proposal);
        announce(state, context, Some(&tenant), EventDetail::MoveProposed { node, cause });
    }
}

/// Withdraws what was proposed because `hot` was hot.
pub(super) fn withdraw_because_of(state: &mut State, context: &Context, hot: TenantUid) {
    let resting: Vec<_> = state
        .move_proposals()
        .filter(|(uid, proposal)| proposal.cause.hot_tenant(*uid) == hot)
        .map(|(uid, _)| uid)
        .collect();
    resting.into_iter().for_each(|uid| withdraw(state, context, uid));
}

fn withdraw(state: &mut State, context: &Context, uid: TenantUid) {
    let Some(proposal) = state.remove_move(uid) else { return };
    let tenant = state.tenant(uid).cloned();
    let withdrawn = EventDetail::MoveWithdrawn {
        node: proposal.node.clone(),
    };
    announce(state, context, tenant.as_deref(), withdrawn);
}
