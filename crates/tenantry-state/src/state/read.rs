//! Reading the state.

use std::ops::Bound;
use std::sync::Arc;

use tenantry_types::{
    DomainName, EffectiveQuota, Event, EventSequence, Node, NodeId, NodeRoute, Reactions, Revision, Tenant, TenantName,
    TenantRoute, TenantUid, Tier, UnixMillis,
};

use super::{ClusterInfo, NodeTenants, ReportCursor, State, TenantKey, TenantLife, Tiers};

/// Which tenants a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantFilter {
    /// Only names that start with this.
    pub name_prefix: String,
    /// Only those placed on this node.
    pub node: Option<NodeId>,
    /// Only those of this contracted tier.
    pub tier: Option<Tier>,
    /// Whether deleted ones are shown.
    pub deleted: DeletedTenants,
}

/// Whether a list shows deleted tenants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeletedTenants {
    /// It does not.
    #[default]
    Hidden,
    /// It does.
    Shown,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantPage {
    /// In the order of [`TenantKey`].
    pub tenants: Vec<Arc<Tenant>>,
    /// Resume after this; `None`: that was all.
    pub next: Option<TenantKey>,
}

impl TenantFilter {
    fn shows(&self, tenant: &Tenant) -> bool {
        let on_node = |node: &NodeId| {
            tenant
                .placement
                .as_ref()
                .is_some_and(|placement| placement.node == *node)
        };
        (tenant.is_active() || self.deleted == DeletedTenants::Shown)
            && self.node.as_ref().is_none_or(on_node)
            && self.tier.is_none_or(|tier| tier == tenant.spec.tier)
    }
}

impl State {
    /// The Raft index of the last applied command.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The latest time that any command carried; never goes back.
    #[must_use]
    pub const fn clock(&self) -> UnixMillis {
        self.clock
    }

    /// The cluster's identity; `None` until it has one.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterInfo> {
        self.cluster.as_ref()
    }

    /// What each tier stands for.
    #[must_use]
    pub const fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    /// A tenant, deleted or not.
    #[must_use]
    pub fn tenant(&self, uid: TenantUid) -> Option<&Arc<Tenant>> {
        self.tenants.get(&uid)
    }

    /// The active tenant of this name.
    #[must_use]
    pub fn tenant_by_name(&self, name: &TenantName) -> Option<&Arc<Tenant>> {
        let first = TenantKey {
            name: name.clone(),
            life: TenantLife::Active,
            uid: TenantUid::from_u128(0),
        };
        let key = self.by_name.range(first..).next()?;
        let found = key.name == *name && key.life == TenantLife::Active;
        found.then(|| self.tenants.get(&key.uid)).flatten()
    }

    /// The active tenant that this domain leads to.
    #[must_use]
    pub fn tenant_by_domain(&self, domain: &DomainName) -> Option<&Arc<Tenant>> {
        self.tenants.get(self.by_domain.get(domain)?)
    }

    /// All tenants in the order of [`TenantKey`], from behind `after` on.
    pub fn tenants_after(&self, after: Option<&TenantKey>) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants_from("", after)
    }

    /// At most `limit` tenants from behind `after` on. A tenant that is there before the first page and after the last
    /// one, with the same name and life, is on exactly one page, whatever else changes in between.
    #[must_use]
    pub fn tenants_page(&self, filter: &TenantFilter, after: Option<&TenantKey>, limit: usize) -> TenantPage {
        let before_prefix = |key: &&Arc<Tenant>| key.name.as_str() < filter.name_prefix.as_str();
        let mut found = self
            .tenants_from(&filter.name_prefix, after)
            .skip_while(before_prefix)
            .take_while(|tenant| tenant.name.as_str().starts_with(&filter.name_prefix))
            .filter(|tenant| filter.shows(tenant));
        let tenants: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let next = found
            .next()
            .and_then(|_| tenants.last().map(|tenant| TenantKey::of(tenant)));
        TenantPage { tenants, next }
    }

    /// Tenants behind `after`, without those before the prefix if that is itself a valid name.
    fn tenants_from(&self, prefix: &str, after: Option<&TenantKey>) -> impl Iterator<Item = &Arc<Tenant>> {
        let prefix_key = TenantName::new(prefix).ok().map(|name| TenantKey {
            name,
            life: TenantLife::Active,
            uid: TenantUid::from_u128(0),
        });
        let start = match (prefix_key, after) {
            (Some(prefix), Some(after)) if prefix > *after => Bound::Included(prefix),
            (_, Some(after)) => Bound::Excluded(after.clone()),
            (Some(prefix), None) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        };
        self.by_name
            .range((start, Bound::Unbounded))
            .filter_map(|key| self.tenants.get(&key.uid))
    }

    /// How many tenants are not deleted. Kept with every change.
    #[must_use]
    pub const fn active_tenants(&self) -> u64 {
        self.active
    }

    /// The active tenants that no node serves yet, in the order of [`TenantKey`]. Kept with every change: the cost is that
    /// of what is taken.
    pub fn unplaced_tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.unplaced.iter().filter_map(|key| self.tenants.get(&key.uid))
    }

    /// The limits in force for `tenant`.
    #[must_use]
    pub fn effective_quota(&self, tenant: &Tenant) -> EffectiveQuota {
        tenant.effective_quota(self.tiers.get(tenant.spec.tier))
    }

    /// What nodes must know of a tenant; `None` when it is deleted or unknown.
    #[must_use]
    pub fn tenant_route(&self, uid: TenantUid) -> Option<TenantRoute> {
        self.tenant(uid).and_then(|tenant| self.route_of(tenant))
    }

    /// The routes of all active tenants, in the order of [`TenantKey`].
    pub fn tenant_routes(&self) -> impl Iterator<Item = TenantRoute> {
        self.tenants_after(None).filter_map(|tenant| self.route_of(tenant))
    }

    pub(crate) fn route_of(&self, tenant: &Tenant) -> Option<TenantRoute> {
        tenant
            .is_active()
            .then(|| TenantRoute::of(tenant, self.tiers.get(tenant.spec.tier)))
    }

    /// A registered node.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    /// How many nodes have registered.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes in the order of their ids, from behind `after` on.
    pub fn nodes_after(&self, after: Option<&NodeId>) -> impl Iterator<Item = &Arc<Node>> {
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.clone()));
        self.nodes.range((start, Bound::Unbounded)).map(|(_, node)| node)
    }

    /// What nodes must know of each other, in the order of their ids.
    pub fn node_routes(&self) -> impl Iterator<Item = NodeRoute> {
        self.nodes.values().map(|node| NodeRoute::of(node))
    }

    /// The active tenants that a node serves; `None` when there are none.
    #[must_use]
    pub fn tenants_on(&self, node: &NodeId) -> Option<&NodeTenants> {
        self.by_node.get(node)
    }

    /// The weights of the active tenants on a node, summed up.
    #[must_use]
    pub fn weight_on(&self, node: &NodeId) -> u64 {
        let weight_of = |tenants: &NodeTenants, tier| {
            tenants
                .of_tier(tier)
                .saturating_mul(u64::from(self.tiers.get(tier).weight))
        };
        self.by_node.get(node).map_or(0, |tenants| {
            Tier::ALL
                .into_iter()
                .fold(0, |sum: u64, tier| sum.saturating_add(weight_of(tenants, tier)))
        })
    }

    /// Events behind `after`, oldest first, as far as they are kept.
    pub fn events_after(&self, after: EventSequence) -> impl Iterator<Item = &Arc<Event>> {
        self.events
            .range((Bound::Excluded(after), Bound::Unbounded))
            .map(|(_, event)| event)
    }

    /// Events ahead of `before`, newest first, as far as they are kept.
    pub fn events_before(&self, before: EventSequence) -> impl Iterator<Item = &Arc<Event>> {
        self.events.range(..before).rev().map(|(_, event)| event)
    }

    /// The oldest event that is kept; the next one to come when the log is empty.
    #[must_use]
    pub fn oldest_event(&self) -> EventSequence {
        let oldest = self.events.get_min().map(|(sequence, _)| *sequence);
        oldest.unwrap_or_else(|| self.last_event.next())
    }

    /// The newest event's sequence; zero before the first.
    #[must_use]
    pub const fn last_event(&self) -> EventSequence {
        self.last_event
    }

    /// What the control plane does by itself.
    #[must_use]
    pub const fn reactions(&self) -> &Reactions {
        &self.reactions
    }

    /// How far a node's outbox is in the log; `None` before its first report.
    #[must_use]
    pub fn report_cursor(&self, node: &NodeId) -> Option<ReportCursor> {
        self.cursors.get(node).copied()
    }
}
