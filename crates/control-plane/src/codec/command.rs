//! Log entries.

use bytes::Bytes;
use prost::Message;
use tenantry_proto::convert::webhook::spec_to_wire;
use tenantry_proto::convert::{InvalidField, Within, key_bytes, key_id, required_tier, scheduling_from_wire, tier};
use tenantry_proto::internal::v1 as wire;
use tenantry_proto::internal::v1::command_envelope::Command as Wire;
use tenantry_proto::v1;
use tenantry_state::{Command, Envelope, Fingerprint, Request, Rules, SecretKey, SigningKey, TierDecision, Tiers};
use tenantry_types::{Epoch, EventSequence, Incarnation, MemberId, NodeId, Revision, TenantName, UnixMillis};

use super::event_commands::{
    advance_webhook_from_wire, availability_from_wire, availability_to_wire, create_webhook_from_wire,
    dead_letters_to_wire, delivery_outcome_to_wire, members_from_wire, members_to_wire, move_from_wire, move_to_wire,
    update_webhook_from_wire, update_webhook_to_wire, webhook,
};
use super::{DecodeError, EncodeError};

/// The version that this binary writes. It reads the ones before, too, and applies them by their own rules.
pub const COMMAND_VERSION: u32 = 2;

const fn version_of(rules: Rules) -> u32 {
    match rules {
        Rules::First => 1,
        Rules::Conditions => COMMAND_VERSION,
    }
}

const fn rules_of(version: u32) -> Option<Rules> {
    match version {
        1 => Some(Rules::First),
        COMMAND_VERSION => Some(Rules::Conditions),
        _ => None,
    }
}

/// The entry for a command. Reads it back before handing it out: an entry that members cannot read would stop them all.
///
/// # Errors
/// When the command holds a value that no member would accept.
pub fn encode_command(envelope: &Envelope) -> Result<Bytes, EncodeError> {
    let message = wire::CommandEnvelope {
        version: version_of(envelope.rules),
        now_ms: envelope.now.0,
        proposed_by: envelope.proposed_by.get(),
        request: envelope.request.as_ref().map(request_to_wire),
        command: Some(command_to_wire(&envelope.command)),
    };
    let bytes = Bytes::from(message.encode_to_vec());
    decode_command(&bytes).map_err(EncodeError::Unreadable)?;
    Ok(bytes)
}

/// The command of an entry.
///
/// # Errors
/// [`DecodeError::UnknownCommand`], [`DecodeError::UnknownVersion`] and [`DecodeError::UnknownField`] when the entry was
/// written by a newer binary; others when it is damaged. In every case the member must stop: others apply this entry.
pub fn decode_command(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    let message = wire::CommandEnvelope::decode(bytes)?;
    let rules = rules_of(message.version).ok_or(DecodeError::UnknownVersion {
        found: message.version,
        known: COMMAND_VERSION,
    })?;
    let known = message.encoded_len();
    let command = message.command.ok_or(DecodeError::UnknownCommand)?;
    if known != bytes.len() {
        return Err(DecodeError::UnknownField);
    }
    let proposed_by = read("proposed_by", MemberId::new(message.proposed_by))?;
    Ok(Envelope {
        rules,
        now: UnixMillis(message.now_ms),
        proposed_by,
        request: message
            .request
            .map(|request| request_from_wire(&request))
            .transpose()
            .within("request")?,
        command: command_from_wire(command)?,
    })
}

pub(super) fn request_to_wire(request: &Request) -> wire::RequestKey {
    wire::RequestKey {
        id: request.id.to_string(),
        fingerprint: request.fingerprint.0,
    }
}

pub(super) fn request_from_wire(request: &wire::RequestKey) -> Result<Request, InvalidField> {
    Ok(Request {
        id: read("id", request.id.parse())?,
        fingerprint: Fingerprint(request.fingerprint),
    })
}

pub(super) fn key_to_wire(key: &SigningKey) -> wire::SigningKey {
    wire::SigningKey {
        key_id: key.key_id.clone(),
        public_key: Bytes::copy_from_slice(&key.public),
        secret_key: Bytes::copy_from_slice(key.secret.reveal()),
        signs_from_ms: key.signs_from.0,
    }
}

pub(super) fn key_from_wire(key: wire::SigningKey) -> Result<SigningKey, InvalidField> {
    Ok(SigningKey {
        key_id: key_id("key_id", key.key_id)?,
        public: key_bytes("public_key", &key.public_key)?,
        secret: SecretKey::new(key_bytes("secret_key", &key.secret_key)?),
        signs_from: UnixMillis(key.signs_from_ms),
    })
}

pub(super) fn tiers_to_wire(tiers: &Tiers) -> Vec<v1::TierDefinition> {
    tiers.iter().map(Into::into).collect()
}

pub(super) fn tiers_from_wire(field: &str, tiers: Vec<v1::TierDefinition>) -> Result<Tiers, InvalidField> {
    let definitions: Result<Vec<_>, _> = tiers.into_iter().map(TryInto::try_into).collect();
    Tiers::new(definitions.within(field)?).ok_or_else(|| InvalidField::new(field, "must define each tier exactly once"))
}

pub(super) fn read<T, E: std::fmt::Display>(field: &str, value: Result<T, E>) -> Result<T, InvalidField> {
    value.map_err(|reason| InvalidField::new(field, reason))
}

fn command_to_wire(command: &Command) -> Wire {
    match command {
        Command::InitializeCluster {
            uid,
            tiers,
            signing_key,
        } => Wire::InitializeCluster(wire::InitializeCluster {
            cluster_uid: uid.to_string(),
            tiers: tiers_to_wire(tiers),
            signing_key: Some(key_to_wire(signing_key)),
        }),
        Command::CreateTenant { uid, name, spec, node } => Wire::CreateTenant(wire::CreateTenant {
            tenant_uid: uid.to_string(),
            tenant_id: name.to_string(),
            spec: Some(spec.into()),
            node_id: node.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Command::UpdateTenant { uid, expected, spec } => Wire::UpdateTenant(wire::UpdateTenant {
            tenant_uid: uid.to_string(),
            expected_revision: expected.map(Revision::get),
            spec: Some(spec.into()),
        }),
        Command::DeleteTenant {
            uid,
            expected,
            purge_at,
        } => Wire::DeleteTenant(wire::DeleteTenant {
            tenant_uid: uid.to_string(),
            expected_revision: expected.map(Revision::get),
            purge_at_ms: purge_at.0,
        }),
        Command::UndeleteTenant { uid } => Wire::UndeleteTenant(wire::UndeleteTenant {
            tenant_uid: uid.to_string(),
        }),
        Command::PlaceTenant {
            uid,
            node,
            expected_epoch,
        } => Wire::PlaceTenant(wire::PlaceTenant {
            tenant_uid: uid.to_string(),
            node_id: node.to_string(),
            expected_epoch: expected_epoch.get(),
        }),
        Command::UpdateTier { definition } => Wire::UpdateTier(wire::UpdateTier {
            definition: Some(definition.into()),
        }),
        Command::RegisterNode {
            id,
            incarnation,
            spec,
            record_since,
        } => Wire::RegisterNode(wire::RegisterNode {
            node_id: id.to_string(),
            incarnation: incarnation.get(),
            spec: Some(spec.into()),
            record_since: record_since.map_or(0, Incarnation::get),
        }),
        Command::SetNodeScheduling { id, scheduling } => Wire::SetNodeScheduling(wire::SetNodeScheduling {
            node_id: id.to_string(),
            scheduling: v1::NodeScheduling::from(*scheduling).into(),
        }),
        Command::RecordEvents {
            node,
            incarnation,
            events,
            tier_changes,
            moves,
        } => Wire::RecordEvents(wire::RecordEvents {
            node_id: node.to_string(),
            incarnation: incarnation.get(),
            events: events.iter().map(Into::into).collect(),
            tier_changes: tier_changes.iter().map(decision_to_wire).collect(),
            moves: moves.iter().map(move_to_wire).collect(),
        }),
        Command::RevokeTokens { uid } => Wire::RevokeTokens(wire::RevokeTokens {
            tenant_uid: uid.to_string(),
        }),
        Command::AddSigningKey { key } => Wire::AddSigningKey(wire::AddSigningKey {
            key: Some(key_to_wire(key)),
        }),
        Command::RetireSigningKey { key_id } => {
            Wire::RetireSigningKey(wire::RetireSigningKey { key_id: key_id.clone() })
        }
        Command::RecordAvailability { changes } => Wire::RecordAvailability(availability_to_wire(changes)),
        Command::RecordMembers(members) => Wire::RecordMembers(members_to_wire(members)),
        Command::UpdateReactions { reactions } => Wire::UpdateReactions(wire::UpdateReactions {
            reactions: Some(reactions.into()),
        }),
        Command::CreateWebhook { name, spec } => Wire::CreateWebhook(wire::CreateWebhook {
            webhook_id: name.to_string(),
            spec: Some(spec_to_wire(spec)),
        }),
        Command::UpdateWebhook {
            name,
            expected,
            spec,
            delivery,
        } => Wire::UpdateWebhook(update_webhook_to_wire(name, *expected, spec, *delivery)),
        Command::DeleteWebhook { name } => Wire::DeleteWebhook(wire::DeleteWebhook {
            webhook_id: name.to_string(),
        }),
        Command::AdvanceWebhook {
            name,
            expected_revision,
            expected_done,
            done,
            dead_letters,
            outcome,
        } => Wire::AdvanceWebhook(wire::AdvanceWebhook {
            webhook_id: name.to_string(),
            expected_done: expected_done.get(),
            expected_revision: expected_revision.get(),
            done: done.get(),
            dead_letters: dead_letters_to_wire(dead_letters),
            failure: delivery_outcome_to_wire(outcome),
        }),
        Command::RewindWebhook { name, after } => Wire::RewindWebhook(wire::RewindWebhook {
            webhook_id: name.to_string(),
            after: after.get(),
        }),
    }
}

fn command_from_wire(command: Wire) -> Result<Command, InvalidField> {
    match command {
        Wire::InitializeCluster(command) => initialize_from_wire(command).within("initialize_cluster"),
        Wire::CreateTenant(command) => create_from_wire(command).within("create_tenant"),
        Wire::UpdateTenant(command) => update_from_wire(command).within("update_tenant"),
        Wire::DeleteTenant(command) => Ok(Command::DeleteTenant {
            uid: read("delete_tenant.tenant_uid", command.tenant_uid.parse())?,
            expected: command.expected_revision.map(Revision),
            purge_at: UnixMillis(command.purge_at_ms),
        }),
        Wire::UndeleteTenant(command) => Ok(Command::UndeleteTenant {
            uid: read("undelete_tenant.tenant_uid", command.tenant_uid.parse())?,
        }),
        Wire::PlaceTenant(command) => Ok(Command::PlaceTenant {
            uid: read("place_tenant.tenant_uid", command.tenant_uid.parse())?,
            node: read("place_tenant.node_id", NodeId::new(&command.node_id))?,
            expected_epoch: Epoch(command.expected_epoch),
        }),
        Wire::UpdateTier(command) => {
            let definition = command
                .definition
                .ok_or_else(|| InvalidField::missing("update_tier.definition"))?;
            let definition = definition.try_into().within("update_tier.definition")?;
            Ok(Command::UpdateTier { definition })
        }
        Wire::RegisterNode(command) => register_from_wire(command).within("register_node"),
        Wire::SetNodeScheduling(command) => Ok(Command::SetNodeScheduling {
            id: read("set_node_scheduling.node_id", NodeId::new(&command.node_id))?,
            scheduling: scheduling_from_wire("set_node_scheduling.scheduling", command.scheduling)?,
        }),
        Wire::RecordEvents(command) => record_from_wire(command).within("record_events"),
        Wire::RevokeTokens(command) => Ok(Command::RevokeTokens {
            uid: read("revoke_tokens.tenant_uid", command.tenant_uid.parse())?,
        }),
        Wire::AddSigningKey(command) => {
            let key = command
                .key
                .ok_or_else(|| InvalidField::missing("add_signing_key.key"))?;
            let key = key_from_wire(key).within("add_signing_key.key")?;
            Ok(Command::AddSigningKey { key })
        }
        Wire::RetireSigningKey(command) => Ok(Command::RetireSigningKey {
            key_id: key_id("retire_signing_key.key_id", command.key_id)?,
        }),
        Wire::RecordAvailability(command) => availability_from_wire(&command).within("record_availability"),
        Wire::RecordMembers(command) => members_from_wire(&command)
            .within("record_members")
            .map(Command::RecordMembers),
        Wire::UpdateReactions(command) => Ok(Command::UpdateReactions {
            reactions: command
                .reactions
                .ok_or_else(|| InvalidField::missing("update_reactions.reactions"))?
                .into(),
        }),
        Wire::CreateWebhook(command) => create_webhook_from_wire(command).within("create_webhook"),
        Wire::UpdateWebhook(command) => update_webhook_from_wire(command).within("update_webhook"),
        Wire::DeleteWebhook(command) => Ok(Command::DeleteWebhook {
            name: webhook(&command.webhook_id).within("delete_webhook")?,
        }),
        Wire::AdvanceWebhook(command) => advance_webhook_from_wire(command).within("advance_webhook"),
        Wire::RewindWebhook(command) => Ok(Command::RewindWebhook {
            name: webhook(&command.webhook_id).within("rewind_webhook")?,
            after: EventSequence(command.after),
        }),
    }
}

fn initialize_from_wire(command: wire::InitializeCluster) -> Result<Command, InvalidField> {
    let key = command
        .signing_key
        .ok_or_else(|| InvalidField::missing("signing_key"))?;
    Ok(Command::InitializeCluster {
        uid: read("cluster_uid", command.cluster_uid.parse())?,
        tiers: Box::new(tiers_from_wire("tiers", command.tiers)?),
        signing_key: key_from_wire(key).within("signing_key")?,
    })
}

fn create_from_wire(command: wire::CreateTenant) -> Result<Command, InvalidField> {
    let spec = command.spec.ok_or_else(|| InvalidField::missing("spec"))?;
    let node = match command.node_id.as_str() {
        "" => None,
        id => Some(read("node_id", NodeId::new(id))?),
    };
    Ok(Command::CreateTenant {
        uid: read("tenant_uid", command.tenant_uid.parse())?,
        name: read("tenant_id", TenantName::new(&command.tenant_id))?,
        spec: spec.try_into().within("spec")?,
        node,
    })
}

fn update_from_wire(command: wire::UpdateTenant) -> Result<Command, InvalidField> {
    let spec = command.spec.ok_or_else(|| InvalidField::missing("spec"))?;
    Ok(Command::UpdateTenant {
        uid: read("tenant_uid", command.tenant_uid.parse())?,
        expected: command.expected_revision.map(Revision),
        spec: spec.try_into().within("spec")?,
    })
}

fn register_from_wire(command: wire::RegisterNode) -> Result<Command, InvalidField> {
    let spec = command.spec.ok_or_else(|| InvalidField::missing("spec"))?;
    Ok(Command::RegisterNode {
        id: read("node_id", NodeId::new(&command.node_id))?,
        incarnation: Incarnation(command.incarnation),
        spec: spec.try_into().within("spec")?,
        record_since: (command.record_since > 0).then_some(Incarnation(command.record_since)),
    })
}

fn record_from_wire(command: wire::RecordEvents) -> Result<Command, InvalidField> {
    let events: Result<_, _> = command.events.into_iter().map(TryInto::try_into).collect();
    let tier_changes: Result<_, _> = command.tier_changes.iter().map(decision_from_wire).collect();
    let moves: Result<_, _> = command.moves.iter().map(move_from_wire).collect();
    Ok(Command::RecordEvents {
        node: read("node_id", NodeId::new(&command.node_id))?,
        incarnation: Incarnation(command.incarnation),
        events: events.within("events")?,
        tier_changes: tier_changes.within("tier_changes")?,
        moves: moves.within("moves")?,
    })
}

fn decision_to_wire(decision: &TierDecision) -> wire::TierChange {
    wire::TierChange {
        tenant_uid: decision.uid.to_string(),
        from: tier::to_wire(decision.from),
        to: tier::to_wire(decision.to),
    }
}

fn decision_from_wire(change: &wire::TierChange) -> Result<TierDecision, InvalidField> {
    Ok(TierDecision {
        uid: read("tenant_uid", change.tenant_uid.parse())?,
        from: required_tier("from", change.from)?,
        to: required_tier("to", change.to)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_state::strategies::{envelopes, initialize, member_id};

    use super::*;

    fn message() -> wire::CommandEnvelope {
        let envelope = Envelope {
            rules: Rules::default(),
            now: UnixMillis(7),
            proposed_by: member_id(1),
            request: None,
            command: initialize(1),
        };
        wire::CommandEnvelope::decode(encode_command(&envelope).unwrap()).unwrap()
    }

    #[test]
    fn an_entry_of_a_newer_binary_is_refused_not_skipped() {
        let newer_version = wire::CommandEnvelope {
            version: COMMAND_VERSION + 1,
            ..message()
        };
        let no_known_command = wire::CommandEnvelope {
            command: None,
            ..message()
        };
        let mut newer_command = no_known_command.encode_to_vec();
        // Field 99, of length 0: a command that does not exist yet.
        newer_command.extend([0x9a, 0x06, 0x00]);
        let mut newer_field = message().encode_to_vec();
        newer_field.extend([0x9a, 0x06, 0x00]);
        let decode = |bytes: &[u8]| decode_command(bytes).unwrap_err();
        assert!(matches!(
            decode(&newer_version.encode_to_vec()),
            DecodeError::UnknownVersion { found: 3, known: 2 }
        ));
        assert!(matches!(decode(&newer_command), DecodeError::UnknownCommand));
        assert!(matches!(decode(&newer_field), DecodeError::UnknownField));
        assert!(matches!(decode(&[]), DecodeError::UnknownVersion { found: 0, .. }));
    }

    #[test]
    fn a_command_that_no_member_would_accept_does_not_enter_the_log() {
        let definition = tenantry_types::TierDefinition {
            weight: 0,
            ..*Tiers::default().get(tenantry_types::Tier::Micro)
        };
        let envelope = Envelope {
            rules: Rules::default(),
            now: UnixMillis(7),
            proposed_by: member_id(1),
            request: None,
            command: Command::UpdateTier { definition },
        };
        let error = encode_command(&envelope).unwrap_err();
        let EncodeError::Unreadable(DecodeError::Invalid(invalid)) = error else {
            panic!("{error}");
        };
        assert_eq!(invalid.field, "update_tier.definition.weight");
    }

    proptest! {
        #[test]
        fn every_command_reads_back(envelope in envelopes()) {
            let bytes = encode_command(&envelope).unwrap();
            prop_assert_eq!(decode_command(&bytes).unwrap(), envelope);
        }

        #[test]
        fn a_damaged_entry_never_panics(
            envelope in envelopes(),
            position in any::<proptest::sample::Index>(),
            bits in 1..=u8::MAX,
        ) {
            let mut bytes = encode_command(&envelope).unwrap().to_vec();
            let position = position.index(bytes.len());
            let _ = decode_command(&bytes[..position]);
            bytes[position] ^= bits;
            let _ = decode_command(&bytes);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_command(&bytes);
        }
    }
}
