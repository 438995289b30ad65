//! Log entries about events: what follows from them, what the leader notices, and webhooks.

use tenantry_proto::convert::webhook::{dead_letter_from_wire, dead_letter_to_wire, spec_from_wire, spec_to_wire};
use tenantry_proto::convert::{InvalidField, Within, member_kind, reachability_from_wire, reachability_to_wire};
use tenantry_proto::internal::v1 as wire;
use tenantry_proto::v1;
use tenantry_state::{AvailabilityChange, Command, Delivery, DeliveryOutcome, MoveDecision, RecordedMembers};
use tenantry_types::{DeadLetter, EventSequence, MemberId, NodeId, Revision, WebhookName, WebhookSpec};

use super::command::read;

pub(super) fn move_to_wire(decision: &MoveDecision) -> wire::MoveDecision {
    wire::MoveDecision {
        tenant_uid: decision.tenant.to_string(),
        hot_tenant_uid: decision.hot.to_string(),
        node_id: decision.node.to_string(),
    }
}

pub(super) fn move_from_wire(decision: &wire::MoveDecision) -> Result<MoveDecision, InvalidField> {
    Ok(MoveDecision {
        tenant: read("tenant_uid", decision.tenant_uid.parse())?,
        hot: read("hot_tenant_uid", decision.hot_tenant_uid.parse())?,
        node: read("node_id", NodeId::new(&decision.node_id))?,
    })
}

pub(super) fn members_to_wire(members: &RecordedMembers) -> wire::RecordMembers {
    wire::RecordMembers {
        leader_id: members.leader.get(),
        term: members.term,
        members: members
            .members
            .iter()
            .map(|(member, kind)| (member.get(), v1::MemberKind::from(*kind).into()))
            .collect(),
    }
}

pub(super) fn members_from_wire(recorded: &wire::RecordMembers) -> Result<RecordedMembers, InvalidField> {
    let members = recorded.members.iter().map(|(id, kind)| {
        let kind = member_kind("members", *kind)?.ok_or_else(|| InvalidField::missing("members"))?;
        Ok((read("members", MemberId::new(*id))?, kind))
    });
    Ok(RecordedMembers {
        leader: read("leader_id", MemberId::new(recorded.leader_id))?,
        term: recorded.term,
        members: members.collect::<Result<_, _>>()?,
    })
}

pub(super) fn availability_to_wire(changes: &[AvailabilityChange]) -> wire::RecordAvailability {
    let changes = changes.iter().map(|change| wire::AvailabilityChange {
        node_id: change.node.to_string(),
        from: reachability_to_wire(change.from),
        to: reachability_to_wire(Some(change.to)),
    });
    wire::RecordAvailability {
        changes: changes.collect(),
    }
}

pub(super) fn availability_from_wire(recorded: &wire::RecordAvailability) -> Result<Command, InvalidField> {
    let changes = recorded.changes.iter().map(|change| {
        Ok(AvailabilityChange {
            node: read("changes.node_id", NodeId::new(&change.node_id))?,
            from: reachability_from_wire("changes.from", change.from)?,
            to: reachability_from_wire("changes.to", change.to)?.ok_or_else(|| InvalidField::missing("changes.to"))?,
        })
    });
    Ok(Command::RecordAvailability {
        changes: changes.collect::<Result<_, InvalidField>>()?,
    })
}

pub(super) fn create_webhook_from_wire(command: wire::CreateWebhook) -> Result<Command, InvalidField> {
    let spec = command.spec.ok_or_else(|| InvalidField::missing("spec"))?;
    Ok(Command::CreateWebhook {
        name: webhook(&command.webhook_id)?,
        spec: spec_from_wire(spec).within("spec")?,
    })
}

pub(super) fn update_webhook_to_wire(
    name: &WebhookName,
    expected: Option<Revision>,
    spec: &WebhookSpec,
    delivery: Delivery,
) -> wire::UpdateWebhook {
    wire::UpdateWebhook {
        webhook_id: name.to_string(),
        expected_revision: expected.map(Revision::get),
        spec: Some(spec_to_wire(spec)),
        disabled: delivery == Delivery::Disabled,
    }
}

pub(super) fn update_webhook_from_wire(command: wire::UpdateWebhook) -> Result<Command, InvalidField> {
    let spec = command.spec.ok_or_else(|| InvalidField::missing("spec"))?;
    Ok(Command::UpdateWebhook {
        name: webhook(&command.webhook_id)?,
        expected: command.expected_revision.map(Revision),
        spec: spec_from_wire(spec).within("spec")?,
        delivery: if command.disabled {
            Delivery::Disabled
        } else {
            Delivery::Enabled
        },
    })
}

pub(super) fn delivery_outcome_to_wire(outcome: &DeliveryOutcome) -> Option<wire::WebhookFailure> {
    match outcome {
        DeliveryOutcome::Arrived => None,
        DeliveryOutcome::Failed { failure } => Some(wire::WebhookFailure {
            failure: failure.clone(),
            gone: false,
        }),
        DeliveryOutcome::Gone => Some(wire::WebhookFailure {
            failure: String::new(),
            gone: true,
        }),
    }
}

pub(super) fn advance_webhook_from_wire(command: wire::AdvanceWebhook) -> Result<Command, InvalidField> {
    Ok(Command::AdvanceWebhook {
        name: webhook(&command.webhook_id)?,
        expected_revision: Revision(command.expected_revision),
        expected_done: EventSequence(command.expected_done),
        done: EventSequence(command.done),
        dead_letters: command.dead_letters.into_iter().map(dead_letter_from_wire).collect(),
        outcome: match command.failure {
            None => DeliveryOutcome::Arrived,
            Some(failure) if failure.gone => DeliveryOutcome::Gone,
            Some(failure) => DeliveryOutcome::Failed {
                failure: failure.failure,
            },
        },
    })
}

pub(super) fn dead_letters_to_wire(letters: &[DeadLetter]) -> Vec<wire::DeadLetter> {
    letters.iter().map(dead_letter_to_wire).collect()
}

pub(super) fn webhook(id: &str) -> Result<WebhookName, InvalidField> {
    read("webhook_id", WebhookName::new(id))
}
