//! Events that nodes report, and the tier changes that rest on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenantry_types::{
    Condition, Epoch, Event, EventDetail, EventOrigin, Incarnation, NodeId, ReportSequence, ReportedEvent, Tenant,
    TenantUid, UnixMillis,
};

use super::announce::announce;
use super::conditions::{self, News};
use super::{Context, tenants};
use crate::state::ReportCursor;
use crate::{
    Answer, Change, EVENT_LIFETIME_MS, MoveDecision, Outcome, Rejection, Rules, State, TierDecision, tier_policy,
};

/// What a node reported in one go.
pub(super) struct Batch {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) events: Vec<ReportedEvent>,
    pub(super) tier_changes: Vec<TierDecision>,
    pub(super) moves: Vec<MoveDecision>,
}

pub(super) fn record(state: &mut State, context: &Context, batch: Batch, changes: &mut Vec<Change>) -> Outcome {
    let mut cursor = cursor_for(state, &batch)?;
    let Batch {
        node,
        incarnation,
        events,
        tier_changes,
        moves,
    } = batch;
    let (mut appended, mut duplicates, mut unknown_tenants, mut superseded) = (0, 0, 0, 0);
    let mut reported = BTreeSet::new();
    for event in events {
        if event.sequence <= cursor.sequence {
            duplicates += 1;
            continue;
        }
        cursor.sequence = event.sequence;
        let tenant = event.tenant.map(|uid| state.tenant(uid).cloned());
        if let Some(None) = tenant {
            unknown_tenants += 1;
            continue;
        }
        let report = Report {
            node: &node,
            incarnation,
            tenant: tenant.flatten(),
            event,
        };
        match take(state, context, report, &mut reported, changes) {
            News::New => appended += 1,
            News::Known => superseded += 1,
        }
    }
    for decision in tier_changes {
        change_tier(state, context, &decision, &reported, changes);
    }
    conditions::propose(state, context, moves);
    if state.report_cursor(&node) != Some(cursor) {
        state.put_cursor(&node, cursor);
    }
    Ok(Answer::Events {
        acknowledged: cursor.sequence,
        appended,
        duplicates,
        unknown_tenants,
        superseded,
    })
}

/// An event that was not seen before, with the tenant that it is about.
struct Report<'a> {
    node: &'a NodeId,
    incarnation: Incarnation,
    tenant: Option<Arc<Tenant>>,
    event: ReportedEvent,
}

/// Does what the event says and puts it into the log, if it is news. Only the serving node's word on a tenant changes
/// anything: an event may have waited in the outbox of an earlier one.
fn take(
    state: &mut State,
    context: &Context,
    report: Report<'_>,
    reported: &mut BTreeSet<TenantUid>,
    changes: &mut Vec<Change>,
) -> News {
    let Report {
        node,
        incarnation,
        tenant,
        event,
    } = report;
    let serving = tenant.as_deref().filter(|tenant| serves(node, tenant));
    // What an earlier placement raised was ended with it: the node cannot clear it any more, nor may it raise it late.
    let earlier_placement = serving.is_some_and(|tenant| !is_of_this_placement(tenant, event.epoch));
    let about = tenant.as_deref().map(|tenant| (tenant.uid, tenant.name.clone()));
    let origin = EventOrigin::Node {
        node: node.clone(),
        incarnation,
        sequence: event.sequence,
    };
    let (since, detail) = (believable(event.occurred_at, context), event.detail.clone());
    let append = |state: &mut State| {
        state.append_event(|sequence| Event {
            sequence,
            occurred_at: since,
            origin,
            tenant: about,
            detail,
        })
    };
    match (&event.detail, serving) {
        (EventDetail::Raised(_) | EventDetail::Cleared(_), _) if earlier_placement => return News::Known,
        (EventDetail::Raised(_) | EventDetail::Cleared(_), _) if context.rules < Rules::Conditions => {}
        (EventDetail::Raised(figures), Some(tenant)) => {
            let raise = conditions::Raise {
                node,
                incarnation,
                since,
            };
            return conditions::raise(state, tenant.uid, figures.condition(), &raise, append);
        }
        (EventDetail::Cleared(cleared), Some(tenant)) => {
            let condition = cleared.condition();
            if conditions::clear(state, tenant.uid, condition) == News::Known {
                return News::Known;
            }
            append(state);
            if condition == Condition::Hotspot {
                conditions::withdraw_because_of(state, context, tenant.uid);
            }
            return News::New;
        }
        (EventDetail::Raised(_) | EventDetail::Cleared(_), None) => return News::Known,
        (EventDetail::ClassChanged { to, .. }, Some(tenant)) => {
            reported.insert(tenant.uid);
            let known = tenant.observed_class == Some(*to);
            if known && context.rules >= Rules::Conditions {
                return News::Known;
            }
            if !known {
                let observed = Tenant {
                    observed_class: Some(*to),
                    ..tenant.clone()
                };
                tenants::store(state, context, tenants::stamped(observed, context), changes);
            }
        }
        (EventDetail::QuotaCrossed { .. }, serving) => {
            reported.extend(serving.map(|tenant| tenant.uid));
            if !state.reactions().quota_warnings.is_on() {
                return News::Known;
            }
        }
        _ => {}
    }
    append(state);
    News::New
}

/// Where the node's outbox stands. A start that has been followed by a later one's reports is over; what it still sends
/// cannot be told from repetitions.
fn cursor_for(state: &State, batch: &Batch) -> Result<ReportCursor, Rejection> {
    let given = batch.incarnation;
    let node = batch.node.clone();
    let Some(registered) = state.node(&node) else {
        return Err(Rejection::NodeUnknown { node });
    };
    if given > registered.incarnation {
        let known = registered.incarnation;
        return Err(Rejection::IncarnationUnknown { node, given, known });
    }
    match state.report_cursor(&node) {
        Some(cursor) if cursor.incarnation == given => Ok(cursor),
        Some(cursor) if cursor.incarnation > given => {
            let known = cursor.incarnation;
            Err(Rejection::StaleIncarnation { node, given, known })
        }
        _ => Ok(ReportCursor {
            incarnation: given,
            sequence: ReportSequence::ZERO,
        }),
    }
}

/// Carries out the leader's decision if the report it rests on is new and the tenant is still as the leader saw it.
fn change_tier(
    state: &mut State,
    context: &Context,
    decision: &TierDecision,
    reported: &BTreeSet<TenantUid>,
    changes: &mut Vec<Change>,
) {
    let TierDecision { uid, from, to } = *decision;
    let Some(tenant) = state.tenant(uid) else { return };
    let on = state.reactions().tier_changes.is_on();
    if !on || !reported.contains(&uid) || !tier_policy::still_fits(decision, tenant) {
        return;
    }
    let mut changed = Tenant::clone(tenant);
    changed.spec.tier = to;
    announce(state, context, Some(&changed), EventDetail::TierChanged { from, to });
    tenants::store(state, context, tenants::stamped(changed, context), changes);
}

/// The time that a node gives, as long as the log can live with it: one of the future would keep everything behind it beyond
/// its time, one of long ago would be dropped before anybody has read it.
fn believable(told: UnixMillis, context: &Context) -> UnixMillis {
    if context.rules < Rules::Conditions {
        return told;
    }
    let earliest = context.now.0.saturating_sub(EVENT_LIFETIME_MS / 2);
    UnixMillis(told.0.clamp(earliest, context.now.0))
}

/// Whether the node told of the placement that the tenant has now. One that does not say is taken at its word.
fn is_of_this_placement(tenant: &Tenant, told: Option<Epoch>) -> bool {
    let now = tenant.placement.as_ref().map(|placement| placement.epoch.within_life());
    told.is_none_or(|told| now == Some(told.within_life()))
}

fn serves(node: &NodeId, tenant: &Tenant) -> bool {
    tenant.is_active()
        && tenant
            .placement
            .as_ref()
            .is_some_and(|placement| placement.node == *node)
}

#[cfg(test)]
mod tests {
    use tenantry_types::{QuotaKind, ReportedEvent, Revision, Tier, TierPolicy, UnixMillis};

    use super::*;
    use crate::strategies::{every_command_once, tenant_of};
    use crate::{Command, Envelope, apply};

    /// The tier that a micro AUTO tenant has after `detail` was reported with the decision to make it small.
    fn tier_after(detail: EventDetail) -> Tier {
        let mut state = State::new();
        let mut revision = Revision::ZERO;
        let mut run = |state: &mut State, envelope: Envelope| {
            revision = revision.next();
            apply(state, revision, envelope).outcome.unwrap()
        };
        for mut envelope in every_command_once() {
            match &mut envelope.command {
                Command::RecordEvents { .. } => break,
                Command::CreateTenant { spec, .. } | Command::UpdateTenant { spec, .. } => {
                    *spec = tenant_of(Tier::Micro, TierPolicy::Auto { max_tier: Tier::Large }).spec;
                }
                _ => {}
            }
            run(&mut state, envelope);
        }
        let tenant = state.tenant_routes().next().unwrap();
        let node = tenant.placement.unwrap().node;
        let incarnation = state.node(&node).unwrap().incarnation;
        let sequence = ReportSequence(1_000);
        let event = ReportedEvent {
            sequence,
            occurred_at: UnixMillis(1),
            tenant: Some(tenant.uid),
            epoch: None,
            detail,
        };
        let tier_changes = vec![TierDecision {
            uid: tenant.uid,
            from: Tier::Micro,
            to: Tier::Small,
        }];
        let command = Command::RecordEvents {
            node,
            incarnation,
            events: vec![event],
            tier_changes,
            moves: Vec::new(),
        };
        let proposed_by = crate::strategies::member_id(1);
        run(
            &mut state,
            Envelope {
                rules: Rules::default(),
                now: UnixMillis(9_000),
                proposed_by,
                request: None,
                command,
            },
        );
        state.tenant(tenant.uid).unwrap().spec.tier
    }

    #[test]
    fn a_tier_changes_only_on_a_report_that_it_can_rest_on() {
        let crossed = EventDetail::QuotaCrossed {
            quota: QuotaKind::RequestsPerDay,
            percent: 80,
            used: 800,
            limit: 1_000,
        };
        assert_eq!(tier_after(crossed), Tier::Small);
        let (from, to) = (Tier::Micro, Tier::Small);
        let classified = EventDetail::ClassChanged {
            from,
            to,
            database_bytes: 0,
            requests_last_day: 1_001,
        };
        assert_eq!(tier_after(classified), Tier::Small);
        assert_eq!(tier_after(EventDetail::EventsDropped { count: 1 }), Tier::Micro);
    }
}
