//! What is raised at this moment, and which moves are proposed because of it.

use std::sync::Arc;

use tenantry_types::{ActiveCondition, Condition, MoveProposal, NodeId, TenantUid};

use super::State;

impl State {
    /// A condition of a tenant, while it is raised.
    #[must_use]
    pub fn condition(&self, tenant: TenantUid, condition: Condition) -> Option<&Arc<ActiveCondition>> {
        self.conditions.get(&(tenant, condition))
    }

    /// All conditions that are raised, by tenant.
    pub fn conditions(&self) -> impl Iterator<Item = (TenantUid, Condition, &Arc<ActiveCondition>)> {
        self.conditions
            .iter()
            .map(|((tenant, condition), active)| (*tenant, *condition, active))
    }

    /// How many tenants of `node` are hot.
    #[must_use]
    pub fn hot_tenants_on(&self, node: &NodeId) -> u64 {
        self.hot_by_node.get(node).copied().unwrap_or(0)
    }

    /// A proposal to move a tenant.
    #[must_use]
    pub fn move_proposal(&self, tenant: TenantUid) -> Option<&Arc<MoveProposal>> {
        self.moves.get(&tenant)
    }

    /// All proposals, by tenant.
    pub fn move_proposals(&self) -> impl Iterator<Item = (TenantUid, &Arc<MoveProposal>)> {
        self.moves.iter().map(|(tenant, proposal)| (*tenant, proposal))
    }

    pub(crate) fn put_condition(&mut self, tenant: TenantUid, condition: Condition, active: ActiveCondition) {
        self.remove_condition(tenant, condition);
        let active = Arc::new(active);
        self.content.toggle(&(tenant, condition, &*active));
        if condition == Condition::Hotspot {
            *self.hot_by_node.entry(active.node.clone()).or_default() += 1;
        }
        self.conditions.insert((tenant, condition), active);
    }

    pub(crate) fn remove_condition(&mut self, tenant: TenantUid, condition: Condition) -> Option<Arc<ActiveCondition>> {
        let active = self.conditions.remove(&(tenant, condition))?;
        self.content.toggle(&(tenant, condition, &*active));
        if condition == Condition::Hotspot
            && let Some(count) = self.hot_by_node.get_mut(&active.node)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.hot_by_node.remove(&active.node);
            }
        }
        Some(active)
    }

    pub(crate) fn put_move(&mut self, tenant: TenantUid, proposal: MoveProposal) {
        self.remove_move(tenant);
        let proposal = Arc::new(proposal);
        self.content.toggle(&(tenant, &*proposal));
        self.moves.insert(tenant, proposal);
    }

    pub(crate) fn remove_move(&mut self, tenant: TenantUid) -> Option<Arc<MoveProposal>> {
        let proposal = self.moves.remove(&tenant)?;
        self.content.toggle(&(tenant, &*proposal));
        Some(proposal)
    }
}
