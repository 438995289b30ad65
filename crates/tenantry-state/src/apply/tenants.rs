//! Tenants and tiers.

use std::sync::Arc;

use tenantry_types::{
    DomainName, EndReason, Epoch, EventDetail, NodeId, Placement, Revision, Tenant, TenantName, TenantSpec,
    TenantState, TenantUid, Tier, TierDefinition, TokenGeneration, UnixMillis,
};

use super::announce::announce;
use super::{Context, conditions};
use crate::{Answer, Change, Outcome, Rejection, Rules, State};

/// A tenant to add.
pub(super) struct New {
    pub(super) uid: TenantUid,
    pub(super) name: TenantName,
    pub(super) spec: TenantSpec,
    pub(super) node: Option<NodeId>,
}

pub(super) fn create(state: &mut State, context: &Context, new: New, changes: &mut Vec<Change>) -> Outcome {
    let New { uid, name, spec, node } = new;
    if state.tenant(uid).is_some() {
        return Err(Rejection::UidTaken { uid });
    }
    if let Some(holder) = state.tenant_by_name(&name) {
        return Err(Rejection::NameTaken { name, by: holder.uid });
    }
    domains_free(state, &spec.domains, uid)?;
    let placement = node.map(|node| first_placement(state, node)).transpose()?;
    let tenant = Tenant {
        uid,
        name,
        spec,
        state: TenantState::Active,
        placement,
        observed_class: None,
        token_generation: TokenGeneration::ZERO,
        created_at: context.now,
        updated_at: context.now,
        revision: context.revision,
    };
    Ok(Answer::Tenant(store(state, context, tenant, changes)))
}

pub(super) fn update(
    state: &mut State,
    context: &Context,
    uid: TenantUid,
    expected: Option<Revision>,
    spec: TenantSpec,
    changes: &mut Vec<Change>,
) -> Outcome {
    let tenant = Arc::clone(active(state, uid)?);
    unchanged_since(&tenant, expected)?;
    if tenant.spec == spec {
        return Ok(Answer::Tenant(tenant));
    }
    domains_free(state, &spec.domains, uid)?;
    let updated = Tenant {
        spec,
        ..Arc::unwrap_or_clone(tenant)
    };
    Ok(Answer::Tenant(store(
        state,
        context,
        stamped(updated, context),
        changes,
    )))
}

pub(super) fn delete(
    state: &mut State,
    context: &Context,
    uid: TenantUid,
    expected: Option<Revision>,
    purge_at: UnixMillis,
    changes: &mut Vec<Change>,
) -> Outcome {
    let tenant = Arc::clone(active(state, uid)?);
    unchanged_since(&tenant, expected)?;
    let deleted = Tenant {
        state: TenantState::Deleted {
            deleted_at: context.now,
            purge_at,
        },
        ..Arc::unwrap_or_clone(tenant)
    };
    Ok(Answer::Tenant(store(
        state,
        context,
        stamped(deleted, context),
        changes,
    )))
}

pub(super) fn undelete(state: &mut State, context: &Context, uid: TenantUid, changes: &mut Vec<Change>) -> Outcome {
    let tenant = state.tenant(uid).ok_or(Rejection::TenantNotFound { uid })?;
    let TenantState::Deleted { purge_at, .. } = tenant.state else {
        return Err(Rejection::TenantNotDeleted { uid });
    };
    if context.now >= purge_at {
        return Err(Rejection::PurgeTimePassed { uid, purge_at });
    }
    if let Some(holder) = state.tenant_by_name(&tenant.name) {
        return Err(Rejection::UndeleteNameTaken {
            name: tenant.name.clone(),
            by: holder.uid,
        });
    }
    domains_free(state, &tenant.spec.domains, uid)?;
    let mut restored = Tenant {
        state: TenantState::Active,
        ..Tenant::clone(tenant)
    };
    if let Some(placement) = restored
        .placement
        .as_mut()
        .filter(|_| context.rules >= Rules::Conditions)
    {
        // A placement of its own: the node may not have noticed that the tenant was away, and what it tells of before is over.
        placement.epoch = placement.epoch.next();
    }
    Ok(Answer::Tenant(store(
        state,
        context,
        stamped(restored, context),
        changes,
    )))
}

pub(super) fn place(
    state: &mut State,
    context: &Context,
    uid: TenantUid,
    node: NodeId,
    expected: Epoch,
    changes: &mut Vec<Change>,
) -> Outcome {
    let tenant = Arc::clone(active(state, uid)?);
    let actual = tenant
        .placement
        .as_ref()
        .map_or(Epoch::ZERO, |placement| placement.epoch);
    if actual != expected {
        return Err(Rejection::EpochMismatch { expected, actual });
    }
    let placement = match &tenant.placement {
        None => first_placement(state, node)?,
        // The epoch grows when the serving node changes, and this one serves already.
        Some(placement) if placement.node == node => return Ok(Answer::Tenant(tenant)),
        Some(placement) => Placement {
            epoch: placement.epoch.next(),
            ..first_placement(state, node)?
        },
    };
    let placed = Tenant {
        placement: Some(placement),
        ..Arc::unwrap_or_clone(tenant)
    };
    Ok(Answer::Tenant(store(state, context, stamped(placed, context), changes)))
}

pub(super) fn update_tier(state: &mut State, definition: TierDefinition, changes: &mut Vec<Change>) -> Answer {
    let answer = Answer::Tier(Box::new(definition));
    let before = *state.tiers().get(definition.tier);
    if before == definition {
        return answer;
    }
    changes.push(Change::TiersChanged);
    let differs = |tenant: &Tenant| tenant.effective_quota(&before) != tenant.effective_quota(&definition);
    changes.extend(
        state
            .tenants_after(None)
            .filter(|tenant| tenant.is_active() && tenant.spec.tier == definition.tier && differs(tenant))
            .map(|tenant| Change::RouteUpserted { uid: tenant.uid }),
    );
    state.put_tier(definition);
    answer
}

/// Stores a tenant, tells watchers what became of its route, and ends what its former node had raised.
pub(super) fn store(state: &mut State, context: &Context, tenant: Tenant, changes: &mut Vec<Change>) -> Arc<Tenant> {
    let uid = tenant.uid;
    let former = state.tenant(uid).cloned();
    let before = state.tenant_route(uid);
    let stored = state.put_tenant(tenant);
    let after = state.route_of(&stored);
    if before != after {
        changes.push(match after {
            Some(_) => Change::RouteUpserted { uid },
            None => Change::RouteRemoved { uid },
        });
    }
    let node_of = |tenant: &Tenant| tenant.placement.as_ref().map(|placement| placement.node.clone());
    let former_node = former.as_deref().and_then(node_of);
    if !stored.is_active() {
        conditions::end_all_of(state, context, &stored, EndReason::TenantDeleted);
    } else if former_node.is_some() && former_node != node_of(&stored) {
        conditions::end_all_of(state, context, &stored, EndReason::TenantMoved);
    }
    ask_for_node(state, context, former.as_deref(), &stored);
    stored
}

/// Says that an enterprise tenant shares its node, when it has come to be one or has come to that node.
fn ask_for_node(state: &mut State, context: &Context, former: Option<&Tenant>, tenant: &Tenant) {
    let wants = |tenant: &Tenant| tenant.is_active() && tenant.spec.tier == Tier::Enterprise;
    let Some(placement) = tenant.placement.as_ref().filter(|_| wants(tenant)) else {
        return;
    };
    let as_before = former.is_some_and(|former| {
        let node = former.placement.as_ref().map(|placement| &placement.node);
        wants(former) && node == Some(&placement.node)
    });
    let beside = state.tenants_on(&placement.node).map_or(0, |tenants| tenants.count());
    let neighbours = beside.saturating_sub(1);
    let unheard_of = context.rules < Rules::Conditions;
    if unheard_of || as_before || neighbours == 0 || !state.reactions().dedicated_nodes.is_on() {
        return;
    }
    let wanted = EventDetail::DedicatedNodeWanted {
        node: placement.node.clone(),
        neighbours,
    };
    announce(state, context, Some(tenant), wanted);
}

/// The tenant with the time and revision of this change.
pub(super) fn stamped(tenant: Tenant, context: &Context) -> Tenant {
    Tenant {
        updated_at: context.now,
        revision: context.revision,
        ..tenant
    }
}

fn active(state: &State, uid: TenantUid) -> Result<&Arc<Tenant>, Rejection> {
    let tenant = state.tenant(uid).ok_or(Rejection::TenantNotFound { uid })?;
    if tenant.is_active() {
        Ok(tenant)
    } else {
        Err(Rejection::TenantDeleted { uid })
    }
}

fn unchanged_since(tenant: &Tenant, expected: Option<Revision>) -> Result<(), Rejection> {
    match expected {
        Some(expected) if expected != tenant.revision => Err(Rejection::EtagMismatch {
            expected,
            actual: tenant.revision,
        }),
        _ => Ok(()),
    }
}

fn domains_free(state: &State, domains: &[DomainName], uid: TenantUid) -> Result<(), Rejection> {
    for domain in domains {
        if let Some(holder) = state.tenant_by_domain(domain)
            && holder.uid != uid
        {
            return Err(Rejection::DomainTaken {
                domain: domain.clone(),
                by: holder.uid,
            });
        }
    }
    Ok(())
}

fn first_placement(state: &State, node: NodeId) -> Result<Placement, Rejection> {
    if state.node(&node).is_none() {
        return Err(Rejection::NodeUnknown { node });
    }
    let floor = state
        .cluster()
        .map_or(Epoch::ZERO, |cluster| cluster.epoch.placement_floor());
    Ok(Placement {
        node,
        epoch: floor.next(),
    })
}
