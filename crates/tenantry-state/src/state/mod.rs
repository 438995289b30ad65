//! The replicated state: tables, the indexes over them, and the only functions that change either.
//!
//! Everything is a persistent map, so that a clone is O(1) and is a consistent cut. Whoever changes a table goes through
//! the functions here, which keep the indexes and the digest in step; rules about *when* a change is allowed are in
//! `apply`.

mod check;
mod cluster_facts;
mod conditions;
mod keys;
mod new_epoch;
mod read;
mod records;
mod requests;
#[cfg(test)]
mod tests;
mod tiers;
mod webhooks;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use tenantry_types::{
    ActiveCondition, ClusterEpoch, ClusterUid, Condition, DeadLetter, DomainName, Event, EventSequence, Incarnation,
    MoveProposal, Node, NodeId, Placement, Reachability, Reactions, ReportSequence, RequestId, Revision, Tenant,
    TenantName, TenantState, TenantUid, Tier, TierDefinition, UnixMillis, Webhook, WebhookName,
};

use crate::SigningKey;
use crate::digest::ContentDigest;

pub use cluster_facts::RecordedMembers;
pub use keys::{KeyPhase, LONGEST_TOKEN_TTL, MAX_KEYS};
pub use new_epoch::NewEpochError;
pub use read::{DeletedTenants, TenantFilter, TenantPage};
pub use records::{Record, RestoreError, Restorer};
pub use requests::{MAX_REQUESTS, REQUEST_LIFETIME, StoredRequest};
pub use tiers::Tiers;
pub use webhooks::{MAX_DEAD_LETTERS, MAX_WEBHOOKS};

/// How many events the log keeps; older ones are dropped.
pub const MAX_EVENTS: usize = 10_000;

/// How long the log keeps an event, by the clock of the leader that proposes: 30 days, in milliseconds.
pub const EVENT_LIFETIME_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// Everything that the members agree on. Cloning is O(1).
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    revision: Revision,
    /// The latest time that any command carried; never goes back.
    clock: UnixMillis,
    cluster: Option<ClusterInfo>,
    tiers: Tiers,
    tenants: OrdMap<TenantUid, Arc<Tenant>>,
    by_name: OrdSet<TenantKey>,
    by_domain: OrdMap<DomainName, TenantUid>,
    by_node: OrdMap<NodeId, NodeTenants>,
    /// Active tenants that no node serves yet.
    unplaced: OrdSet<TenantKey>,
    /// How many tenants are active.
    active: u64,
    nodes: OrdMap<NodeId, Arc<Node>>,
    events: OrdMap<EventSequence, Arc<Event>>,
    last_event: EventSequence,
    cursors: OrdMap<NodeId, ReportCursor>,
    requests: OrdMap<RequestId, Arc<StoredRequest>>,
    requests_by_age: OrdMap<Revision, RequestId>,
    keys: OrdMap<String, Arc<SigningKey>>,
    /// What the control plane does by itself.
    reactions: Reactions,
    /// What is raised.
    conditions: OrdMap<(TenantUid, Condition), Arc<ActiveCondition>>,
    /// How many of a node's tenants are hot.
    hot_by_node: OrdMap<NodeId, u64>,
    /// Tenants that should leave their nodes.
    moves: OrdMap<TenantUid, Arc<MoveProposal>>,
    availability: OrdMap<NodeId, Reachability>,
    members: Option<Arc<RecordedMembers>>,
    webhooks: OrdMap<WebhookName, Arc<Webhook>>,
    dead_letters: OrdMap<(WebhookName, EventSequence), Arc<DeadLetter>>,
    content: ContentDigest,
}

/// A cluster's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Never changes.
    pub uid: ClusterUid,
    /// When it was given.
    pub created_at: UnixMillis,
    /// Which of its lives this is; raised by a restore.
    pub epoch: ClusterEpoch,
}

/// Where a tenant stands in lists: by name, the living before the deleted, then by uid. Also the place to resume after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantKey {
    /// Its name.
    pub name: TenantName,
    /// Living or deleted.
    pub life: TenantLife,
    /// Its uid.
    pub uid: TenantUid,
}

/// Whether a tenant is served, without the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TenantLife {
    /// Served; at most one per name.
    Active,
    /// Not served.
    Deleted,
}

impl TenantKey {
    /// The key of `tenant`.
    #[must_use]
    pub fn of(tenant: &Tenant) -> Self {
        let life = match tenant.state {
            TenantState::Active => TenantLife::Active,
            TenantState::Deleted { .. } => TenantLife::Deleted,
        };
        Self {
            name: tenant.name.clone(),
            life,
            uid: tenant.uid,
        }
    }
}

/// The active tenants that one node serves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeTenants {
    uids: OrdSet<TenantUid>,
    /// How many of each tier, smallest first.
    by_tier: [u64; 5],
}

impl NodeTenants {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.by_tier.iter().sum()
    }

    /// How many are of `tier`.
    #[must_use]
    pub fn of_tier(&self, tier: Tier) -> u64 {
        Tier::ALL
            .iter()
            .zip(self.by_tier)
            .find_map(|(each, count)| (*each == tier).then_some(count))
            .unwrap_or(0)
    }

    /// Which.
    pub fn uids(&self) -> impl Iterator<Item = TenantUid> + '_ {
        self.uids.iter().copied()
    }

    fn tier_count(&mut self, tier: Tier) -> &mut u64 {
        let [micro, small, medium, large, enterprise] = &mut self.by_tier;
        match tier {
            Tier::Micro => micro,
            Tier::Small => small,
            Tier::Medium => medium,
            Tier::Large => large,
            Tier::Enterprise => enterprise,
        }
    }
}

/// How far a node's outbox is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReportCursor {
    /// The start that numbered the events.
    pub incarnation: Incarnation,
    /// The highest sequence that was dealt with.
    pub sequence: ReportSequence,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// The state of a cluster that nothing has happened to.
    #[must_use]
    pub fn new() -> Self {
        Self {
            revision: Revision::ZERO,
            clock: UnixMillis::default(),
            cluster: None,
            tiers: Tiers::default(),
            tenants: OrdMap::new(),
            by_name: OrdSet::new(),
            by_domain: OrdMap::new(),
            by_node: OrdMap::new(),
            unplaced: OrdSet::new(),
            active: 0,
            nodes: OrdMap::new(),
            events: OrdMap::new(),
            last_event: EventSequence::ZERO,
            cursors: OrdMap::new(),
            requests: OrdMap::new(),
            requests_by_age: OrdMap::new(),
            keys: OrdMap::new(),
            reactions: Reactions::default(),
            conditions: OrdMap::new(),
            hot_by_node: OrdMap::new(),
            moves: OrdMap::new(),
            availability: OrdMap::new(),
            members: None,
            webhooks: OrdMap::new(),
            dead_letters: OrdMap::new(),
            content: ContentDigest::default(),
        }
    }

    /// Hash over the content, kept up to date change by change.
    ///
    /// Members at the same revision with different digests have different content. The same digest on both means the
    /// same content, but for an accident of about one in 2^64; it is no protection against somebody who forges content.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.content.sealed(
            self.revision,
            self.clock,
            self.last_event,
            self.cluster.as_ref(),
            &self.tiers,
            &self.reactions,
        )
    }

    pub(crate) fn advance(&mut self, revision: Revision) {
        self.revision = revision;
    }

    pub(crate) fn observe_time(&mut self, now: UnixMillis) {
        self.clock = self.clock.max(now);
    }

    pub(crate) fn set_cluster(&mut self, cluster: ClusterInfo) {
        self.cluster = Some(cluster);
    }

    pub(crate) fn set_tiers(&mut self, tiers: Tiers) {
        self.tiers = tiers;
    }

    pub(crate) fn set_reactions(&mut self, reactions: Reactions) {
        self.reactions = reactions;
    }

    pub(crate) fn put_tier(&mut self, definition: TierDefinition) {
        self.tiers.put(definition);
    }

    /// Adds or replaces a tenant.
    pub(crate) fn put_tenant(&mut self, tenant: Tenant) -> Arc<Tenant> {
        let tenant = Arc::new(tenant);
        if let Some(before) = self.tenants.insert(tenant.uid, Arc::clone(&tenant)) {
            self.content.toggle(&*before);
            self.forget_in_indexes(&before);
        }
        self.content.toggle(&*tenant);
        self.enter_in_indexes(&tenant);
        tenant
    }

    fn enter_in_indexes(&mut self, tenant: &Tenant) {
        self.by_name.insert(TenantKey::of(tenant));
        if !tenant.is_active() {
            return;
        }
        self.active += 1;
        for domain in &tenant.spec.domains {
            self.by_domain.insert(domain.clone(), tenant.uid);
        }
        if tenant.placement.is_none() {
            self.unplaced.insert(TenantKey::of(tenant));
        }
        if let Some(Placement { node, .. }) = &tenant.placement {
            // In place: a copy that is put back would make every change of a large node's set a change of a shared one.
            let on_node = self.by_node.entry(node.clone()).or_default();
            on_node.uids.insert(tenant.uid);
            *on_node.tier_count(tenant.spec.tier) += 1;
        }
    }

    fn forget_in_indexes(&mut self, tenant: &Tenant) {
        self.by_name.remove(&TenantKey::of(tenant));
        if !tenant.is_active() {
            return;
        }
        self.active = self.active.saturating_sub(1);
        for domain in &tenant.spec.domains {
            self.by_domain.remove(domain);
        }
        if tenant.placement.is_none() {
            self.unplaced.remove(&TenantKey::of(tenant));
        }
        if let Some(Placement { node, .. }) = &tenant.placement
            && let Some(on_node) = self.by_node.get_mut(node)
        {
            on_node.uids.remove(&tenant.uid);
            let count = on_node.tier_count(tenant.spec.tier);
            *count = count.saturating_sub(1);
            if on_node.uids.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    /// Adds or replaces a node.
    pub(crate) fn put_node(&mut self, node: Node) -> Arc<Node> {
        let node = Arc::new(node);
        if let Some(before) = self.nodes.insert(node.id.clone(), Arc::clone(&node)) {
            self.content.toggle(&*before);
        }
        self.content.toggle(&*node);
        node
    }

    /// Appends to the log under the next sequence, and drops the oldest event when the log is full.
    pub(crate) fn append_event(&mut self, number: impl FnOnce(EventSequence) -> Event) -> EventSequence {
        let sequence = self.last_event.next();
        self.put_event(Event {
            sequence,
            ..number(sequence)
        });
        self.last_event = sequence;
        while self.events.len() > MAX_EVENTS {
            self.drop_oldest_event();
        }
        sequence
    }

    /// Drops events from the old end of the log that are older than it keeps them at `now`, the proposing leader's clock: the
    /// replicated one never goes back, and a clock that was wrong once would empty the log for as long as it was wrong by.
    pub(crate) fn expire_events(&mut self, now: UnixMillis) {
        while let Some((_, oldest)) = self.events.get_min()
            && now.0.saturating_sub(oldest.occurred_at.0) > EVENT_LIFETIME_MS
        {
            self.drop_oldest_event();
        }
    }

    fn drop_oldest_event(&mut self) {
        if let (Some((_, oldest)), rest) = self.events.without_min_with_key() {
            self.content.toggle(&*oldest);
            self.events = rest;
        }
    }

    fn put_event(&mut self, event: Event) {
        self.content.toggle(&event);
        self.events.insert(event.sequence, Arc::new(event));
    }

    /// Notes how far a node's outbox is in the log.
    pub(crate) fn put_cursor(&mut self, node: &NodeId, cursor: ReportCursor) {
        if let Some(before) = self.cursors.insert(node.clone(), cursor) {
            self.content.toggle(&(node, before));
        }
        self.content.toggle(&(node, cursor));
    }

    /// Adds a signing key.
    pub(crate) fn put_key(&mut self, key: SigningKey) {
        let key = Arc::new(key);
        if let Some(before) = self.keys.insert(key.key_id.clone(), Arc::clone(&key)) {
            self.content.toggle(&*before);
        }
        self.content.toggle(&*key);
    }

    /// Forgets a signing key, its secret included.
    pub(crate) fn remove_key(&mut self, key_id: &str) {
        if let Some(key) = self.keys.remove(key_id) {
            self.content.toggle(&*key);
        }
    }
}
