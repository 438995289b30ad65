//! Kept answers.

use std::sync::Arc;

use tenantry_proto::convert::{InvalidField, Within, key_id, node_to_proto, stored_to_proto};
use tenantry_proto::internal::v1 as wire;
use tenantry_proto::internal::v1::RejectionReason as Reason;
use tenantry_proto::internal::v1::stored_answer::Answer as WireAnswer;
use tenantry_proto::internal::v1::stored_request::Outcome as WireOutcome;
use tenantry_state::{Answer, ClusterInfo, Outcome, Rejection, StoredRequest};
use tenantry_types::{
    ClusterEpoch, DomainName, Epoch, Incarnation, NodeId, ReportSequence, Revision, TenantName, TenantUid, UnixMillis,
    WebhookName,
};

use super::command::{read, request_from_wire, request_to_wire};

pub(super) fn stored_request_to_wire(stored: &StoredRequest) -> wire::StoredRequest {
    wire::StoredRequest {
        request: Some(request_to_wire(&stored.request)),
        revision: stored.revision.get(),
        answered_at_ms: stored.answered_at.0,
        outcome: Some(match &stored.outcome {
            Ok(answer) => WireOutcome::Answer(wire::StoredAnswer {
                answer: Some(answer_to_wire(answer)),
            }),
            Err(rejection) => WireOutcome::Rejection(rejection_to_wire(rejection)),
        }),
    }
}

pub(super) fn stored_request_from_wire(stored: wire::StoredRequest) -> Result<StoredRequest, InvalidField> {
    let request = stored.request.ok_or_else(|| InvalidField::missing("request"))?;
    let outcome: Outcome = match stored.outcome {
        None => return Err(InvalidField::missing("outcome")),
        Some(WireOutcome::Answer(wire::StoredAnswer { answer: None })) => return Err(InvalidField::missing("answer")),
        Some(WireOutcome::Answer(wire::StoredAnswer { answer: Some(answer) })) => {
            Ok(answer_from_wire(answer).within("answer")?)
        }
        Some(WireOutcome::Rejection(rejection)) => Err(rejection_from_wire(&rejection).within("rejection")?),
    };
    Ok(StoredRequest {
        request: request_from_wire(&request).within("request")?,
        revision: Revision(stored.revision),
        answered_at: UnixMillis(stored.answered_at_ms),
        outcome,
    })
}

pub(super) fn cluster_to_wire(cluster: &ClusterInfo) -> wire::ClusterIdentity {
    wire::ClusterIdentity {
        cluster_uid: cluster.uid.to_string(),
        created_at_ms: cluster.created_at.0,
        cluster_epoch: cluster.epoch.get(),
    }
}

pub(super) fn cluster_from_wire(cluster: &wire::ClusterIdentity) -> Result<ClusterInfo, InvalidField> {
    Ok(ClusterInfo {
        uid: read("cluster_uid", cluster.cluster_uid.parse())?,
        created_at: UnixMillis(cluster.created_at_ms),
        // Absent in what was written before there were epochs: the first.
        epoch: ClusterEpoch(cluster.cluster_epoch).max(ClusterEpoch::FIRST),
    })
}

fn answer_to_wire(answer: &Answer) -> WireAnswer {
    match answer {
        Answer::Cluster(cluster) => WireAnswer::Cluster(cluster_to_wire(cluster)),
        Answer::Tenant(tenant) => WireAnswer::Tenant(stored_to_proto(tenant)),
        Answer::Tier(definition) => WireAnswer::Tier((&**definition).into()),
        Answer::Node(node) => WireAnswer::Node(node_to_proto(node)),
        Answer::Events {
            acknowledged,
            appended,
            duplicates,
            unknown_tenants,
            superseded,
        } => WireAnswer::Events(wire::EventsTaken {
            acknowledged_sequence: acknowledged.get(),
            appended: *appended,
            duplicates: *duplicates,
            unknown_tenants: *unknown_tenants,
            superseded: *superseded,
        }),
        Answer::SigningKey { key_id, signs_from } => WireAnswer::SigningKey(wire::SigningKeyChanged {
            key_id: key_id.clone(),
            signs_from_ms: signs_from.0,
        }),
        Answer::Webhook(name) => WireAnswer::WebhookId(name.to_string()),
        Answer::Reactions(reactions) => WireAnswer::Reactions(reactions.into()),
        Answer::Recorded => WireAnswer::Recorded(wire::Recorded {}),
    }
}

fn answer_from_wire(answer: WireAnswer) -> Result<Answer, InvalidField> {
    Ok(match answer {
        WireAnswer::Cluster(cluster) => Answer::Cluster(cluster_from_wire(&cluster).within("cluster")?),
        WireAnswer::Tenant(tenant) => Answer::Tenant(Arc::new(tenant.try_into().within("tenant")?)),
        WireAnswer::Tier(definition) => Answer::Tier(Box::new(definition.try_into().within("tier")?)),
        WireAnswer::Node(node) => Answer::Node(Arc::new(node.try_into().within("node")?)),
        WireAnswer::Events(events) => Answer::Events {
            acknowledged: ReportSequence(events.acknowledged_sequence),
            appended: events.appended,
            duplicates: events.duplicates,
            unknown_tenants: events.unknown_tenants,
            superseded: events.superseded,
        },
        WireAnswer::SigningKey(key) => Answer::SigningKey {
            key_id: key_id("signing_key.key_id", key.key_id)?,
            signs_from: UnixMillis(key.signs_from_ms),
        },
        WireAnswer::WebhookId(name) => Answer::Webhook(read("webhook_id", WebhookName::new(&name))?),
        WireAnswer::Reactions(reactions) => Answer::Reactions(reactions.into()),
        WireAnswer::Recorded(wire::Recorded {}) => Answer::Recorded,
    })
}

fn rejection_to_wire(rejection: &Rejection) -> wire::StoredRejection {
    let of = |reason: Reason| wire::StoredRejection {
        reason: reason.into(),
        ..Default::default()
    };
    let about = |reason, uid: &dyn ToString| wire::StoredRejection {
        uid: uid.to_string(),
        ..of(reason)
    };
    let held = |reason, name: &dyn ToString, by: &TenantUid| wire::StoredRejection {
        name: name.to_string(),
        holder_uid: by.to_string(),
        ..of(reason)
    };
    let differs = |reason, expected, actual| wire::StoredRejection {
        expected,
        actual,
        ..of(reason)
    };
    let start = |reason, node: &NodeId, given: &Incarnation, known: &Incarnation| wire::StoredRejection {
        name: node.to_string(),
        ..differs(reason, given.get(), known.get())
    };
    let named = |reason, name: &dyn ToString| wire::StoredRejection {
        name: name.to_string(),
        ..of(reason)
    };
    match rejection {
        Rejection::AlreadyInitialized { uid } => about(Reason::AlreadyInitialized, uid),
        Rejection::NotInitialized => of(Reason::NotInitialized),
        Rejection::TenantNotFound { uid } => about(Reason::TenantNotFound, uid),
        Rejection::UidTaken { uid } => about(Reason::UidTaken, uid),
        Rejection::NameTaken { name, by } => held(Reason::NameTaken, name, by),
        Rejection::UndeleteNameTaken { name, by } => held(Reason::UndeleteNameTaken, name, by),
        Rejection::DomainTaken { domain, by } => held(Reason::DomainTaken, domain, by),
        Rejection::EtagMismatch { expected, actual } => differs(Reason::EtagMismatch, expected.get(), actual.get()),
        Rejection::TenantDeleted { uid } => about(Reason::TenantDeleted, uid),
        Rejection::TenantNotDeleted { uid } => about(Reason::TenantNotDeleted, uid),
        Rejection::PurgeTimePassed { uid, purge_at } => wire::StoredRejection {
            actual: purge_at.0,
            ..about(Reason::PurgeTimePassed, uid)
        },
        Rejection::EpochMismatch { expected, actual } => differs(Reason::EpochMismatch, expected.get(), actual.get()),
        Rejection::NodeUnknown { node } => named(Reason::NodeUnknown, node),
        Rejection::StaleIncarnation { node, given, known } => start(Reason::StaleIncarnation, node, given, known),
        Rejection::IncarnationUnknown { node, given, known } => start(Reason::IncarnationUnknown, node, given, known),
        Rejection::RequestIdReused { id } => about(Reason::RequestIdReused, id),
        Rejection::RevisionNotNew { applied } => differs(Reason::RevisionNotNew, 0, applied.get()),
        Rejection::KeyIdTaken { key_id } => named(Reason::KeyIdTaken, key_id),
        Rejection::KeyNotFound { key_id } => named(Reason::KeyNotFound, key_id),
        Rejection::KeySigns { key_id } => named(Reason::KeySigns, key_id),
        Rejection::TooManyKeys { limit } => differs(Reason::TooManyKeys, 0, *limit),
        Rejection::WebhookNameTaken { name } => named(Reason::WebhookNameTaken, name),
        Rejection::WebhookNotFound { name } => named(Reason::WebhookNotFound, name),
        Rejection::WebhookChanged { expected, actual } => differs(Reason::WebhookChanged, expected.get(), actual.get()),
        Rejection::TooManyWebhooks { limit } => differs(Reason::TooManyWebhooks, 0, *limit),
    }
}

fn rejection_from_wire(stored: &wire::StoredRejection) -> Result<Rejection, InvalidField> {
    let reason = Reason::try_from(stored.reason)
        .map_err(|_| InvalidField::new("reason", format!("there is no reason {}", stored.reason)))?;
    let uid = || read("uid", stored.uid.parse::<TenantUid>());
    let by = || read("holder_uid", stored.holder_uid.parse::<TenantUid>());
    let name = || read("name", TenantName::new(&stored.name));
    let node = || read("name", NodeId::new(&stored.name));
    let key = || key_id("name", stored.name.clone());
    let webhook = || read("name", WebhookName::new(&stored.name));
    let (expected, actual) = (stored.expected, stored.actual);
    Ok(match reason {
        Reason::Unspecified => return Err(InvalidField::missing("reason")),
        Reason::AlreadyInitialized => Rejection::AlreadyInitialized {
            uid: read("uid", stored.uid.parse())?,
        },
        Reason::NotInitialized => Rejection::NotInitialized,
        Reason::TenantNotFound => Rejection::TenantNotFound { uid: uid()? },
        Reason::UidTaken => Rejection::UidTaken { uid: uid()? },
        Reason::NameTaken => Rejection::NameTaken {
            name: name()?,
            by: by()?,
        },
        Reason::UndeleteNameTaken => Rejection::UndeleteNameTaken {
            name: name()?,
            by: by()?,
        },
        Reason::DomainTaken => Rejection::DomainTaken {
            domain: read("name", DomainName::new(&stored.name))?,
            by: by()?,
        },
        Reason::EtagMismatch => Rejection::EtagMismatch {
            expected: Revision(expected),
            actual: Revision(actual),
        },
        Reason::TenantDeleted => Rejection::TenantDeleted { uid: uid()? },
        Reason::TenantNotDeleted => Rejection::TenantNotDeleted { uid: uid()? },
        Reason::PurgeTimePassed => Rejection::PurgeTimePassed {
            uid: uid()?,
            purge_at: UnixMillis(actual),
        },
        Reason::EpochMismatch => Rejection::EpochMismatch {
            expected: Epoch(expected),
            actual: Epoch(actual),
        },
        Reason::NodeUnknown => Rejection::NodeUnknown { node: node()? },
        Reason::StaleIncarnation => Rejection::StaleIncarnation {
            node: node()?,
            given: Incarnation(expected),
            known: Incarnation(actual),
        },
        Reason::IncarnationUnknown => Rejection::IncarnationUnknown {
            node: node()?,
            given: Incarnation(expected),
            known: Incarnation(actual),
        },
        Reason::RequestIdReused => Rejection::RequestIdReused {
            id: read("uid", stored.uid.parse())?,
        },
        Reason::RevisionNotNew => Rejection::RevisionNotNew {
            applied: Revision(actual),
        },
        Reason::KeyIdTaken => Rejection::KeyIdTaken { key_id: key()? },
        Reason::KeyNotFound => Rejection::KeyNotFound { key_id: key()? },
        Reason::KeySigns => Rejection::KeySigns { key_id: key()? },
        Reason::TooManyKeys => Rejection::TooManyKeys { limit: actual },
        Reason::WebhookNameTaken => Rejection::WebhookNameTaken { name: webhook()? },
        Reason::WebhookNotFound => Rejection::WebhookNotFound { name: webhook()? },
        Reason::WebhookChanged => Rejection::WebhookChanged {
            expected: Revision(expected),
            actual: Revision(actual),
        },
        Reason::TooManyWebhooks => Rejection::TooManyWebhooks { limit: actual },
    })
}

#[cfg(test)]
mod tests {
    use tenantry_types::{ClusterUid, RequestId};

    use super::*;

    /// One of every kind; a new kind does not compile until it is listed.
    fn every_rejection() -> Vec<Rejection> {
        use Rejection::*;
        let uid = TenantUid::from_u128(1);
        let by = TenantUid::from_u128(2);
        let name = TenantName::new("acme").unwrap();
        let node = NodeId::new("n1").unwrap();
        let (given, known) = (Incarnation(3), Incarnation(4));
        let all = vec![
            AlreadyInitialized {
                uid: ClusterUid::from_u128(1),
            },
            NotInitialized,
            TenantNotFound { uid },
            UidTaken { uid },
            NameTaken { name: name.clone(), by },
            UndeleteNameTaken { name, by },
            DomainTaken {
                domain: DomainName::new("a.b").unwrap(),
                by,
            },
            EtagMismatch {
                expected: Revision(5),
                actual: Revision(6),
            },
            TenantDeleted { uid },
            TenantNotDeleted { uid },
            PurgeTimePassed {
                uid,
                purge_at: UnixMillis(7),
            },
            EpochMismatch {
                expected: Epoch(8),
                actual: Epoch(9),
            },
            NodeUnknown { node: node.clone() },
            StaleIncarnation {
                node: node.clone(),
                given,
                known,
            },
            IncarnationUnknown { node, given, known },
            RequestIdReused {
                id: RequestId::from_u128(10),
            },
            RevisionNotNew { applied: Revision(11) },
            KeyIdTaken {
                key_id: "k1".to_owned(),
            },
            KeyNotFound {
                key_id: "k2".to_owned(),
            },
            KeySigns {
                key_id: "k3".to_owned(),
            },
            TooManyKeys { limit: 12 },
            WebhookNameTaken {
                name: WebhookName::new("pager").unwrap(),
            },
            WebhookNotFound {
                name: WebhookName::new("chat").unwrap(),
            },
            WebhookChanged {
                expected: Revision(13),
                actual: Revision(14),
            },
            TooManyWebhooks { limit: 15 },
        ];
        for rejection in &all {
            match rejection {
                AlreadyInitialized { .. }
                | NotInitialized
                | TenantNotFound { .. }
                | UidTaken { .. }
                | NameTaken { .. }
                | UndeleteNameTaken { .. }
                | DomainTaken { .. }
                | EtagMismatch { .. }
                | TenantDeleted { .. }
                | TenantNotDeleted { .. }
                | PurgeTimePassed { .. }
                | EpochMismatch { .. }
                | NodeUnknown { .. }
                | StaleIncarnation { .. }
                | IncarnationUnknown { .. }
                | RequestIdReused { .. }
                | RevisionNotNew { .. }
                | KeyIdTaken { .. }
                | KeyNotFound { .. }
                | KeySigns { .. }
                | TooManyKeys { .. }
                | WebhookNameTaken { .. }
                | WebhookNotFound { .. }
                | WebhookChanged { .. }
                | TooManyWebhooks { .. } => {}
            }
        }
        all
    }

    #[test]
    fn every_rejection_reads_back() {
        let all = every_rejection();
        assert_eq!(all.len(), 25);
        for rejection in all {
            assert_eq!(rejection_from_wire(&rejection_to_wire(&rejection)), Ok(rejection));
        }
    }
}
