//! What a leader may ask of the state machine: intentions with preconditions, not records to save.
//!
//! Whatever could differ between members (time, random ids, the choice of a node or a tier) is inside.

use std::fmt;

use tenantry_types::{
    ClusterUid, DeadLetter, Epoch, EventSequence, Incarnation, MemberId, NodeId, NodeSpec, Reachability, Reactions,
    ReportedEvent, RequestId, Revision, Scheduling, TenantName, TenantSpec, TenantUid, TierDefinition, UnixMillis,
    WebhookName, WebhookSpec,
};

use crate::{MoveDecision, RecordedMembers, TierDecision, Tiers};

/// A command with who proposed it, when, and for which request: one entry of the replicated log.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The rules that the entry was written under, and is applied by.
    pub rules: Rules,
    /// The leader's wall clock when it proposed.
    pub now: UnixMillis,
    /// The leader that proposed it; the origin of events that the command causes.
    pub proposed_by: MemberId,
    /// The caller's request, so that a retry is answered like the first call. `None`: no protection asked for.
    pub request: Option<Request>,
    /// What to do.
    pub command: Command,
}

/// By which rules a command is applied. A log may hold entries from before an upgrade, and they must come to what they came to
/// on members that applied them then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rules {
    /// Nothing follows from events but tiers; the log of events is bounded by its length alone.
    First,
    /// Conditions are raised once and cleared once, and what the control plane does is in the log of events.
    #[default]
    Conditions,
}

/// A caller's mutation, as it can be recognised when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the caller.
    pub id: RequestId,
    /// Tells a retry from another request under the same id.
    pub fingerprint: Fingerprint,
}

/// Hash over what the *caller* sent. Not over the command: a retry through another leader carries another time, another
/// fresh uid and perhaps another choice of node, and is still the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Gives a new cluster its identity. The first command of every cluster; all others are rejected before it.
    InitializeCluster {
        /// Drawn at random.
        uid: ClusterUid,
        /// What the tiers stand for.
        tiers: Box<Tiers>,
        /// Signs tenants' tokens.
        signing_key: SigningKey,
    },
    /// Adds a tenant.
    CreateTenant {
        /// Drawn at random.
        uid: TenantUid,
        /// Must be free.
        name: TenantName,
        /// Its domains must be free.
        spec: TenantSpec,
        /// Where the planner put it; `None` when no node had room.
        node: Option<NodeId>,
    },
    /// Replaces a tenant's spec.
    UpdateTenant {
        /// Which.
        uid: TenantUid,
        /// If given, the tenant must still be at this revision.
        expected: Option<Revision>,
        /// The whole new spec.
        spec: TenantSpec,
    },
    /// Stops serving a tenant; its name and domains are free at once.
    DeleteTenant {
        /// Which.
        uid: TenantUid,
        /// If given, the tenant must still be at this revision.
        expected: Option<Revision>,
        /// From when its data may be removed for good.
        purge_at: UnixMillis,
    },
    /// Serves a deleted tenant again, on the node that has its data.
    UndeleteTenant {
        /// Which.
        uid: TenantUid,
    },
    /// Makes a node serve a tenant, at the next epoch.
    PlaceTenant {
        /// Which.
        uid: TenantUid,
        /// The planner's choice.
        node: NodeId,
        /// The epoch that the choice rests on; zero for a tenant that no node serves yet.
        expected_epoch: Epoch,
    },
    /// Replaces the definition of a tier.
    UpdateTier {
        /// The whole definition; says which tier.
        definition: TierDefinition,
    },
    /// A node has started.
    RegisterNode {
        /// Which.
        id: NodeId,
        /// Larger than at any start before; equal when a start registers again.
        incarnation: Incarnation,
        /// What it says of itself.
        spec: NodeSpec,
        /// The start that began its record of what it has raised, if it says so: what earlier starts raised is over.
        record_since: Option<Incarnation>,
    },
    /// The operator's word on new placements.
    SetNodeScheduling {
        /// Which.
        id: NodeId,
        /// The word.
        scheduling: Scheduling,
    },
    /// Events from a node's outbox, and what the leader makes of them.
    RecordEvents {
        /// Who reports.
        node: NodeId,
        /// The start of the node that numbered the events.
        incarnation: Incarnation,
        /// Oldest first; those that are in the log already are skipped.
        events: Vec<ReportedEvent>,
        /// Tier changes that rest on these events.
        tier_changes: Vec<TierDecision>,
        /// Moves to propose because of these events.
        moves: Vec<MoveDecision>,
    },
    /// Revokes all tokens that a tenant has so far.
    RevokeTokens {
        /// Whose; deleted or not.
        uid: TenantUid,
    },
    /// Adds a key that signs tenants' tokens from a time on; until then nodes get to know it. The keys before it go on being
    /// verified with.
    AddSigningKey {
        /// Its id must be new.
        key: SigningKey,
    },
    /// Forgets a key that no longer signs, or not yet: what it signed is refused from now on.
    RetireSigningKey {
        /// Which.
        key_id: String,
    },
    /// What the leader makes of the nodes' signs of life, where that has changed.
    RecordAvailability {
        /// The nodes.
        changes: Vec<AvailabilityChange>,
    },
    /// Who leads and who takes part.
    RecordMembers(RecordedMembers),
    /// Switches what the control plane does by itself.
    UpdateReactions {
        /// All switches.
        reactions: Reactions,
    },
    /// Adds a webhook, which begins with the events after this.
    CreateWebhook {
        /// Must be free.
        name: WebhookName,
        /// What was asked for.
        spec: WebhookSpec,
    },
    /// Replaces a webhook's spec.
    UpdateWebhook {
        /// Which.
        name: WebhookName,
        /// If given, the webhook must still be at this revision.
        expected: Option<Revision>,
        /// The whole new spec.
        spec: WebhookSpec,
        /// Whether it delivers.
        delivery: Delivery,
    },
    /// Forgets a webhook and its dead letters.
    DeleteWebhook {
        /// Which.
        name: WebhookName,
    },
    /// How far delivery to a webhook has come.
    AdvanceWebhook {
        /// Which.
        name: WebhookName,
        /// What the delivery rests on: the spec of this revision.
        expected_revision: Revision,
        /// What the delivery rests on: all up to here was dealt with.
        expected_done: EventSequence,
        /// All events up to here are dealt with.
        done: EventSequence,
        /// What was given up on the way.
        dead_letters: Vec<DeadLetter>,
        /// What the last attempt came to.
        outcome: DeliveryOutcome,
    },
    /// Delivers again from an event on, and forgets the dead letters from there on.
    RewindWebhook {
        /// Which.
        name: WebhookName,
        /// Events after this one.
        after: EventSequence,
    },
}

/// One node's availability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailabilityChange {
    /// Which.
    pub node: NodeId,
    /// What must be recorded for the change to count.
    pub from: Option<Reachability>,
    /// What it is.
    pub to: Reachability,
}

/// Whether a webhook delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It does, from where it stands.
    Enabled,
    /// It is silent.
    Disabled,
}

/// What the last attempt to deliver came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver took the message.
    Arrived,
    /// It did not.
    Failed {
        /// What went wrong, in words.
        failure: String,
    },
    /// The receiver wants no more messages.
    Gone,
}

/// A key pair that signs tenants' tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// As in the `kid` header of a token.
    pub key_id: String,
    /// The Ed25519 public key.
    pub public: [u8; 32],
    /// The Ed25519 secret key.
    pub secret: SecretKey,
    /// From when on it signs new tokens, until the next key does. Zero for a cluster's first key.
    pub signs_from: UnixMillis,
}

/// 32 secret bytes that no log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Wraps the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for signing and for the replicated log.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_key_does_not_show_in_debug_output() {
        let key = SigningKey {
            key_id: "k1".to_owned(),
            public: [1; 32],
            secret: SecretKey::new([0xAB; 32]),
            signs_from: UnixMillis::default(),
        };
        let shown = format!("{key:?}");
        assert!(shown.contains("hidden") && !shown.contains("171"), "{shown}");
    }
}
