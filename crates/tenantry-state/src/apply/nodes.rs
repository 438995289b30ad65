//! Nodes.

use std::sync::Arc;

use tenantry_types::{
    Event, EventDetail, EventOrigin, Incarnation, Node, NodeId, NodeSpec, ReportSequence, Scheduling,
};

use super::Context;
use super::announce::announce;
use crate::{Answer, Change, Outcome, Rejection, Rules, State};

pub(super) fn register(
    state: &mut State,
    context: &Context,
    id: NodeId,
    incarnation: Incarnation,
    spec: NodeSpec,
    changes: &mut Vec<Change>,
) -> Outcome {
    let before = state.node(&id).cloned();
    if let Some(known) = before.as_ref().map(|node| node.incarnation)
        && incarnation < known
    {
        return Err(Rejection::StaleIncarnation {
            node: id,
            given: incarnation,
            known,
        });
    }
    // A node registers again whenever a new leader does not know it: that is no start.
    let started = before.as_ref().is_none_or(|node| node.incarnation < incarnation);
    let node = match before {
        Some(node) if !started && node.spec == spec => return Ok(Answer::Node(node)),
        Some(node) => Node {
            incarnation,
            spec,
            revision: context.revision,
            ..Arc::unwrap_or_clone(node)
        },
        None => Node {
            id,
            incarnation,
            spec,
            scheduling: Scheduling::Open,
            registered_at: context.now,
            revision: context.revision,
        },
    };
    changes.push(Change::NodeUpserted { id: node.id.clone() });
    let node = state.put_node(node);
    if started {
        // Ahead of all that this start will report, whose sequences begin at 1.
        let origin = EventOrigin::Node {
            node: node.id.clone(),
            incarnation,
            sequence: ReportSequence::ZERO,
        };
        state.append_event(|sequence| Event {
            sequence,
            occurred_at: context.now,
            origin,
            tenant: None,
            detail: EventDetail::NodeRegistered { incarnation },
        });
    }
    Ok(Answer::Node(node))
}

pub(super) fn set_scheduling(
    state: &mut State,
    context: &Context,
    id: NodeId,
    scheduling: Scheduling,
    changes: &mut Vec<Change>,
) -> Outcome {
    let Some(node) = state.node(&id).cloned() else {
        return Err(Rejection::NodeUnknown { node: id });
    };
    if node.scheduling == scheduling {
        return Ok(Answer::Node(node));
    }
    changes.push(Change::NodeUpserted { id: id.clone() });
    if context.rules >= Rules::Conditions {
        announce(
            state,
            context,
            None,
            EventDetail::NodeScheduling { node: id, scheduling },
        );
    }
    let node = Node {
        scheduling,
        revision: context.revision,
        ..Arc::unwrap_or_clone(node)
    };
    Ok(Answer::Node(state.put_node(node)))
}
