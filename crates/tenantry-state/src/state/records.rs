//! The state as a sequence of records, for snapshots, and back.
//!
//! Indexes are not written: they follow from the tables and are built again. A restored state is checked before it is
//! handed out.

use std::sync::Arc;

use tenantry_types::{
    ActiveCondition, Condition, DeadLetter, Event, EventSequence, MoveProposal, Node, NodeId, Reachability, Reactions,
    RequestId, Revision, Tenant, TenantUid, UnixMillis, Webhook, WebhookName,
};

use super::{ClusterInfo, RecordedMembers, ReportCursor, State, StoredRequest, Tiers};
use crate::SigningKey;

/// One row of one table, or the head.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// What is there once. Always the first record.
    Head {
        /// The last applied revision.
        revision: Revision,
        /// The replicated clock.
        clock: UnixMillis,
        /// The newest event's sequence.
        last_event: EventSequence,
        /// The cluster's identity.
        cluster: Option<ClusterInfo>,
        /// What the tiers stand for.
        tiers: Box<Tiers>,
        /// What the control plane does by itself.
        reactions: Reactions,
    },
    /// A tenant.
    Tenant(Arc<Tenant>),
    /// A node.
    Node(Arc<Node>),
    /// An event.
    Event(Arc<Event>),
    /// How far a node's outbox is in the log.
    Cursor(NodeId, ReportCursor),
    /// An answer kept for retries.
    Request(Arc<StoredRequest>),
    /// A signing key.
    Key(Arc<SigningKey>),
    /// A condition that is raised.
    Condition(TenantUid, Condition, Arc<ActiveCondition>),
    /// A move that is proposed.
    Move(TenantUid, Arc<MoveProposal>),
    /// What was last recorded of a node's availability.
    Availability(NodeId, Reachability),
    /// Who was last recorded to lead and to take part.
    Members(Arc<RecordedMembers>),
    /// A webhook.
    Webhook(Arc<Webhook>),
    /// What was given up for a webhook.
    DeadLetter(WebhookName, Arc<DeadLetter>),
}

/// Records that do not make up a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The head must come first, once.
    #[error("the head record is missing, not the first one, or there twice")]
    Head,
    /// A tenant is there twice.
    #[error("the tenant {0} is there twice")]
    DuplicateTenant(TenantUid),
    /// A node is there twice.
    #[error("the node `{0}` is there twice")]
    DuplicateNode(NodeId),
    /// An event is there twice.
    #[error("the event {0} is there twice")]
    DuplicateEvent(EventSequence),
    /// A node's cursor is there twice.
    #[error("the report cursor of node `{0}` is there twice")]
    DuplicateCursor(NodeId),
    /// A request is there twice.
    #[error("the request {0} is there twice")]
    DuplicateRequest(RequestId),
    /// A key is there twice.
    #[error("the signing key `{0}` is there twice")]
    DuplicateKey(String),
    /// A condition is there twice.
    #[error("the condition {1:?} of tenant {0} is there twice")]
    DuplicateCondition(TenantUid, Condition),
    /// A proposed move is there twice.
    #[error("the proposed move of tenant {0} is there twice")]
    DuplicateMove(TenantUid),
    /// A node's availability is there twice.
    #[error("the availability of node `{0}` is there twice")]
    DuplicateAvailability(NodeId),
    /// Who takes part is there twice.
    #[error("the record of the members is there twice")]
    DuplicateMembers,
    /// A webhook is there twice.
    #[error("the webhook `{0}` is there twice")]
    DuplicateWebhook(WebhookName),
    /// A dead letter is there twice.
    #[error("the dead letter {1} of webhook `{0}` is there twice")]
    DuplicateDeadLetter(WebhookName, EventSequence),
    /// The tables contradict each other.
    #[error("the restored state contradicts itself: {0}")]
    Inconsistent(String),
}

impl State {
    /// Everything that a snapshot must hold, table by table, in a fixed order.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        // A new table must be named here, or the state does not compile.
        let Self {
            revision,
            clock,
            cluster,
            tiers,
            tenants,
            nodes,
            events,
            last_event,
            cursors,
            requests,
            keys,
            reactions,
            conditions,
            moves,
            availability,
            members,
            webhooks,
            dead_letters,
            hot_by_node: _,
            by_name: _,
            by_domain: _,
            by_node: _,
            unplaced: _,
            active: _,
            requests_by_age: _,
            content: _,
        } = self;
        let head = Record::Head {
            revision: *revision,
            clock: *clock,
            last_event: *last_event,
            cluster: *cluster,
            tiers: Box::new(tiers.clone()),
            reactions: *reactions,
        };
        std::iter::once(head)
            .chain(tenants.values().cloned().map(Record::Tenant))
            .chain(nodes.values().cloned().map(Record::Node))
            .chain(events.values().cloned().map(Record::Event))
            .chain(
                cursors
                    .iter()
                    .map(|(node, cursor)| Record::Cursor(node.clone(), *cursor)),
            )
            .chain(requests.values().cloned().map(Record::Request))
            .chain(keys.values().cloned().map(Record::Key))
            .chain(
                conditions
                    .iter()
                    .map(|((tenant, condition), active)| Record::Condition(*tenant, *condition, Arc::clone(active))),
            )
            .chain(
                moves
                    .iter()
                    .map(|(tenant, proposal)| Record::Move(*tenant, Arc::clone(proposal))),
            )
            .chain(
                availability
                    .iter()
                    .map(|(node, now)| Record::Availability(node.clone(), *now)),
            )
            .chain(members.iter().cloned().map(Record::Members))
            .chain(webhooks.values().cloned().map(Record::Webhook))
            .chain(
                dead_letters
                    .iter()
                    .map(|((name, _), letter)| Record::DeadLetter(name.clone(), Arc::clone(letter))),
            )
    }
}

/// Builds a state from records.
#[derive(Debug, Default)]
pub struct Restorer {
    state: Option<State>,
}

impl Restorer {
    /// Has seen no record yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// When the record is out of place or was there before.
    pub fn add(&mut self, record: Record) -> Result<(), RestoreError> {
        if let Record::Head { .. } = record {
            return self.start(record);
        }
        let state = self.state.as_mut().ok_or(RestoreError::Head)?;
        match record {
            Record::Head { .. } => return Err(RestoreError::Head),
            Record::Tenant(tenant) => {
                if state.tenants.contains_key(&tenant.uid) {
                    return Err(RestoreError::DuplicateTenant(tenant.uid));
                }
                state.put_tenant(Arc::unwrap_or_clone(tenant));
            }
            Record::Node(node) => {
                if state.nodes.contains_key(&node.id) {
                    return Err(RestoreError::DuplicateNode(node.id.clone()));
                }
                state.put_node(Arc::unwrap_or_clone(node));
            }
            Record::Event(event) => {
                if state.events.contains_key(&event.sequence) {
                    return Err(RestoreError::DuplicateEvent(event.sequence));
                }
                state.put_event(Arc::unwrap_or_clone(event));
            }
            Record::Cursor(node, cursor) => {
                if state.cursors.contains_key(&node) {
                    return Err(RestoreError::DuplicateCursor(node));
                }
                state.put_cursor(&node, cursor);
            }
            Record::Request(stored) => {
                let id = stored.request.id;
                if state.requests.contains_key(&id) || state.requests_by_age.contains_key(&stored.revision) {
                    return Err(RestoreError::DuplicateRequest(id));
                }
                state.put_request(Arc::unwrap_or_clone(stored));
            }
            Record::Key(key) => {
                if state.keys.contains_key(&key.key_id) {
                    return Err(RestoreError::DuplicateKey(key.key_id.clone()));
                }
                state.put_key(Arc::unwrap_or_clone(key));
            }
            Record::Condition(tenant, condition, active) => {
                if state.condition(tenant, condition).is_some() {
                    return Err(RestoreError::DuplicateCondition(tenant, condition));
                }
                state.put_condition(tenant, condition, Arc::unwrap_or_clone(active));
            }
            Record::Move(tenant, proposal) => {
                if state.moves.contains_key(&tenant) {
                    return Err(RestoreError::DuplicateMove(tenant));
                }
                state.put_move(tenant, Arc::unwrap_or_clone(proposal));
            }
            Record::Availability(node, now) => {
                if state.availability.contains_key(&node) {
                    return Err(RestoreError::DuplicateAvailability(node));
                }
                state.put_availability(&node, now);
            }
            Record::Members(members) => {
                if state.members.is_some() {
                    return Err(RestoreError::DuplicateMembers);
                }
                state.put_members(Arc::unwrap_or_clone(members));
            }
            Record::Webhook(webhook) => {
                if state.webhooks.contains_key(&webhook.name) {
                    return Err(RestoreError::DuplicateWebhook(webhook.name.clone()));
                }
                state.put_webhook(Arc::unwrap_or_clone(webhook));
            }
            Record::DeadLetter(name, letter) => {
                if state.dead_letters.contains_key(&(name.clone(), letter.first)) {
                    return Err(RestoreError::DuplicateDeadLetter(name, letter.first));
                }
                state.put_dead_letter(&name, Arc::unwrap_or_clone(letter));
            }
        }
        Ok(())
    }

    fn start(&mut self, head: Record) -> Result<(), RestoreError> {
        let (
            None,
            Record::Head {
                revision,
                clock,
                last_event,
                cluster,
                tiers,
                reactions,
            },
        ) = (&self.state, head)
        else {
            return Err(RestoreError::Head);
        };
        self.state = Some(State {
            revision,
            clock,
            last_event,
            cluster,
            tiers: *tiers,
            reactions,
            ..State::new()
        });
        Ok(())
    }

    /// The state, once all records are in.
    ///
    /// # Errors
    /// When no head was seen, or the tables contradict each other.
    pub fn finish(self) -> Result<State, RestoreError> {
        let state = self.state.ok_or(RestoreError::Head)?;
        state.check_rows().map_err(RestoreError::Inconsistent)?;
        Ok(state)
    }
}
