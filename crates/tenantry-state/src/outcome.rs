//! What came of a command: an answer or a rejection, and what watchers must be told.

use std::sync::Arc;

use tenantry_types::{
    ClusterUid, DomainName, Epoch, EventSequence, Incarnation, Node, NodeId, Reactions, ReportSequence, RequestId,
    Revision, Tenant, TenantName, TenantUid, TierDefinition, UnixMillis, WebhookName,
};

use crate::ClusterInfo;

/// What [`apply`](crate::apply) gives back.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// For the caller.
    pub outcome: Outcome,
    /// For watchers; empty when nothing changed.
    pub changes: Vec<Change>,
    /// Answers kept for retries that were dropped before their time, since more came in than are kept.
    pub evicted_answers: u64,
}

/// A rejection is a result like any other: replicated, and the same on all members.
pub type Outcome = Result<Answer, Rejection>;

/// What a command did.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The cluster has its identity.
    Cluster(ClusterInfo),
    /// The tenant as it is after the command.
    Tenant(Arc<Tenant>),
    /// The tier as it is after the command.
    Tier(Box<TierDefinition>),
    /// The node as it is after the command.
    Node(Arc<Node>),
    /// A batch of events was taken.
    Events {
        /// All events of the incarnation up to here are dealt with; the node may forget them.
        acknowledged: ReportSequence,
        /// How many were appended to the log.
        appended: u64,
        /// How many were in the log before.
        duplicates: u64,
        /// How many were about a tenant that does not exist, and were left out.
        unknown_tenants: u64,
        /// How many told of a condition what was known, or what another node has to tell, and were left out.
        superseded: u64,
    },
    /// The signing key that was added or retired. Without its secret: answers are kept longer than retired keys.
    SigningKey {
        /// Which.
        key_id: String,
        /// From when on it signs, or was to sign.
        signs_from: UnixMillis,
    },
    /// The webhook that was created, changed or deleted. What it is now is in the state: answers are kept, secrets are not.
    Webhook(WebhookName),
    /// The switches after the command.
    Reactions(Reactions),
    /// What the leader wanted recorded is, as far as it was news.
    Recorded,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Only the first initialization counts.
    #[error("the cluster already has the identity {uid}")]
    AlreadyInitialized {
        /// The identity that stays.
        uid: ClusterUid,
    },
    /// Nothing can happen before the cluster has an identity.
    #[error("the cluster has no identity yet")]
    NotInitialized,
    /// No tenant has this uid.
    #[error("there is no tenant with the uid {uid}")]
    TenantNotFound {
        /// The uid.
        uid: TenantUid,
    },
    /// A uid is never reused.
    #[error("a tenant with the uid {uid} exists or existed")]
    UidTaken {
        /// The uid.
        uid: TenantUid,
    },
    /// Another tenant has the name.
    #[error("the name `{name}` is taken by the tenant with the uid {by}")]
    NameTaken {
        /// The name.
        name: TenantName,
        /// Who has it.
        by: TenantUid,
    },
    /// Another tenant has taken a deleted tenant's name since.
    #[error("the deleted tenant cannot return: its name `{name}` was taken by the tenant with the uid {by}")]
    UndeleteNameTaken {
        /// The name.
        name: TenantName,
        /// Who has it.
        by: TenantUid,
    },
    /// Another tenant has the domain.
    #[error("the domain `{domain}` is taken by the tenant with the uid {by}")]
    DomainTaken {
        /// The domain.
        domain: DomainName,
        /// Who has it.
        by: TenantUid,
    },
    /// The tenant has changed since the caller read it.
    #[error("the tenant is at revision {actual}, not at {expected}: read it again")]
    EtagMismatch {
        /// What the caller had seen.
        expected: Revision,
        /// What is.
        actual: Revision,
    },
    /// The tenant is deleted.
    #[error("the tenant with the uid {uid} is deleted")]
    TenantDeleted {
        /// The uid.
        uid: TenantUid,
    },
    /// The tenant is not deleted.
    #[error("the tenant with the uid {uid} is not deleted")]
    TenantNotDeleted {
        /// The uid.
        uid: TenantUid,
    },
    /// The data of a deleted tenant may be gone.
    #[error("the tenant with the uid {uid} can no longer return: its data may be gone since {purge_at}")]
    PurgeTimePassed {
        /// The uid.
        uid: TenantUid,
        /// Since when.
        purge_at: UnixMillis,
    },
    /// The tenant was placed anew since the leader decided.
    #[error("the tenant is placed at epoch {actual}, not at {expected}")]
    EpochMismatch {
        /// What the decision rests on.
        expected: Epoch,
        /// What is.
        actual: Epoch,
    },
    /// No node with this id has registered.
    #[error("the node `{node}` has never registered")]
    NodeUnknown {
        /// The id.
        node: NodeId,
    },
    /// A later start of the node is known.
    #[error("the node `{node}` is at incarnation {known}; {given} is an earlier start")]
    StaleIncarnation {
        /// The id.
        node: NodeId,
        /// What came.
        given: Incarnation,
        /// What is known.
        known: Incarnation,
    },
    /// This start of the node has not registered.
    #[error("the node `{node}` is registered at incarnation {known}; {given} must register first")]
    IncarnationUnknown {
        /// The id.
        node: NodeId,
        /// What came.
        given: Incarnation,
        /// What is known.
        known: Incarnation,
    },
    /// The request id stands for another request.
    #[error("the request id {id} was used for another request")]
    RequestIdReused {
        /// The id.
        id: RequestId,
    },
    /// A key id is never given twice.
    #[error("a signing key with the id `{key_id}` exists")]
    KeyIdTaken {
        /// The id.
        key_id: String,
    },
    /// No key has this id.
    #[error("there is no signing key with the id `{key_id}`")]
    KeyNotFound {
        /// The id.
        key_id: String,
    },
    /// New tokens are being signed with the key.
    #[error("the key `{key_id}` signs new tokens: rotate, and retire it once another one signs")]
    KeySigns {
        /// The id.
        key_id: String,
    },
    /// Every node looks through all keys.
    #[error("there are {limit} signing keys: retire one first")]
    TooManyKeys {
        /// How many there may be.
        limit: u64,
    },
    /// Another webhook has the name.
    #[error("there is a webhook `{name}` already")]
    WebhookNameTaken {
        /// The name.
        name: WebhookName,
    },
    /// No webhook has this name.
    #[error("there is no webhook `{name}`")]
    WebhookNotFound {
        /// The name.
        name: WebhookName,
    },
    /// The webhook has changed since the caller read it.
    #[error("the webhook is at revision {actual}, not at {expected}: read it again")]
    WebhookChanged {
        /// What the caller had seen.
        expected: Revision,
        /// What is.
        actual: Revision,
    },
    /// The leader delivers to each at the same time.
    #[error("there are {limit} webhooks: delete one first")]
    TooManyWebhooks {
        /// How many there may be.
        limit: u64,
    },
    /// The log was replayed from too early a point; the state is left as it is.
    #[error("revision {applied} is applied already")]
    RevisionNotNew {
        /// The last applied revision.
        applied: Revision,
    },
}

/// What became different at a revision. Says where to look in the state of that revision, not what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The route of a tenant is new or different.
    RouteUpserted {
        /// Whose.
        uid: TenantUid,
    },
    /// A tenant has no route any more.
    RouteRemoved {
        /// Whose.
        uid: TenantUid,
    },
    /// A node is new or different.
    NodeUpserted {
        /// Which.
        id: NodeId,
    },
    /// The definition of a tier is different. Routes that it changes are listed, too.
    TiersChanged,
    /// The set of signing keys is different.
    KeysChanged,
    /// The event log grew.
    EventsAppended {
        /// The first new one.
        first: EventSequence,
        /// The last new one.
        last: EventSequence,
    },
}
