//! Events that nodes report, and the tier changes that rest on them.

use std::collections::BTreeSet;

use tenantry_types::{
    Event, EventDetail, EventOrigin, EventSequence, Incarnation, NodeId, ReportSequence, ReportedEvent, Tenant,
    TenantUid,
};

use super::{Context, tenants};
use crate::state::ReportCursor;
use crate::{Answer, Change, Outcome, Rejection, State, TierDecision, tier_policy};

/// What a node reported in one go.
pub(super) struct Batch {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) events: Vec<ReportedEvent>,
    pub(super) tier_changes: Vec<TierDecision>,
}

pub(super) fn record(state: &mut State, context: &Context, batch: Batch, changes: &mut Vec<Change>) -> Outcome {
    let mut cursor = cursor_for(state, &batch)?;
    let Batch {
        node,
        incarnation,
        events,
        tier_changes,
    } = batch;
    let before = state.last_event();
    let (mut appended, mut duplicates, mut unknown_tenants) = (0, 0, 0);
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
        let tenant = tenant.flatten();
        if let Some(tenant) = tenant.as_deref().filter(|tenant| serves(&node, tenant)) {
            match &event.detail {
                EventDetail::ClassChanged { to, .. } => {
                    reported.insert(tenant.uid);
                    if tenant.observed_class != Some(*to) {
                        let observed = Tenant {
                            observed_class: Some(*to),
                            ..tenant.clone()
                        };
                        tenants::store(state, tenants::stamped(observed, context), changes);
                    }
                }
                EventDetail::QuotaCrossed { .. } => {
                    reported.insert(tenant.uid);
                }
                _ => {}
            }
        }
        let origin = EventOrigin::Node {
            node: node.clone(),
            incarnation,
            sequence: event.sequence,
        };
        state.append_event(|sequence| Event {
            sequence,
            occurred_at: event.occurred_at,
            origin,
            tenant: tenant.map(|tenant| (tenant.uid, tenant.name.clone())),
            detail: event.detail,
        });
        appended += 1;
    }
    for decision in tier_changes {
        change_tier(state, context, &decision, &reported, changes);
    }
    if state.report_cursor(&node) != Some(cursor) {
        state.put_cursor(&node, cursor);
    }
    note_appended(state, before, changes);
    Ok(Answer::Events {
        acknowledged: cursor.sequence,
        appended,
        duplicates,
        unknown_tenants,
    })
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
    if !reported.contains(&uid) || !tier_policy::still_fits(decision, tenant) {
        return;
    }
    let mut changed = Tenant::clone(tenant);
    changed.spec.tier = to;
    let tenant = tenants::store(state, tenants::stamped(changed, context), changes);
    let member = context.member;
    state.append_event(|sequence| Event {
        sequence,
        occurred_at: context.now,
        origin: EventOrigin::ControlPlane { member },
        tenant: Some((tenant.uid, tenant.name.clone())),
        detail: EventDetail::TierChanged { from, to },
    });
}

/// Only the serving node's word on a tenant's class counts: an event may have waited in the outbox of an earlier one.
fn serves(node: &NodeId, tenant: &Tenant) -> bool {
    tenant.is_active()
        && tenant
            .placement
            .as_ref()
            .is_some_and(|placement| placement.node == *node)
}

fn note_appended(state: &State, before: EventSequence, changes: &mut Vec<Change>) {
    let last = state.last_event();
    if last > before {
        changes.push(Change::EventsAppended {
            first: before.next(),
            last,
        });
    }
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
        };
        let proposed_by = crate::strategies::member_id(1);
        run(
            &mut state,
            Envelope {
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
