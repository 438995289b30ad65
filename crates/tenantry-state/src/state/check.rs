//! What must hold in every state. For tests, simulation and restored snapshots: it looks at everything.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_types::{Condition, Epoch, EventSequence, Tier};

use super::{
    MAX_DEAD_LETTERS, MAX_EVENTS, MAX_KEYS, MAX_REQUESTS, MAX_WEBHOOKS, NodeTenants, State, TenantKey, TenantLife,
};
use crate::digest::ContentDigest;

impl State {
    /// Whether tables, indexes and digest agree with each other.
    ///
    /// # Errors
    /// Says in words what does not.
    pub fn check(&self) -> Result<(), String> {
        self.check_rows()?;
        self.check_names()?;
        self.check_domains()?;
        self.check_placements()?;
        ensure(self.content == self.content_from_scratch(), || {
            "the digest does not fit the content".to_owned()
        })
    }

    /// What rows from elsewhere can get wrong. The indexes and the digest of a state that was built from rows follow from
    /// them, so this alone is asked of a snapshot, which must be ready within moments.
    pub(super) fn check_rows(&self) -> Result<(), String> {
        self.check_cluster()?;
        self.check_tenants()?;
        self.check_uniqueness()?;
        self.check_nodes_and_cursors()?;
        self.check_events()?;
        self.check_conditions_and_moves()?;
        self.check_webhooks()?;
        self.check_requests()
    }

    /// Each active tenant has its name and its domains for itself.
    fn check_uniqueness(&self) -> Result<(), String> {
        let mut before = None;
        for key in self.by_name.iter().filter(|key| key.life == TenantLife::Active) {
            let twice = before == Some(&key.name);
            before = Some(&key.name);
            ensure(!twice, || format!("two active tenants are called `{}`", key.name))?;
        }
        for tenant in self.tenants.values().filter(|tenant| tenant.is_active()) {
            for domain in &tenant.spec.domains {
                ensure(self.by_domain.get(domain) == Some(&tenant.uid), || {
                    format!("two active tenants have the domain `{domain}`")
                })?;
            }
        }
        Ok(())
    }

    fn check_cluster(&self) -> Result<(), String> {
        let empty = self.tenants.is_empty() && self.nodes.is_empty() && self.keys.is_empty();
        ensure(self.cluster.is_some() || empty, || {
            "there are tenants, nodes or keys in a cluster without an identity".to_owned()
        })?;
        ensure(self.keys.len() <= MAX_KEYS, || {
            "there are too many signing keys".to_owned()
        })
    }

    fn check_tenants(&self) -> Result<(), String> {
        for (uid, tenant) in &self.tenants {
            ensure(*uid == tenant.uid, || {
                format!("tenant {uid} is stored as {}", tenant.uid)
            })?;
            ensure(tenant.revision <= self.revision, || {
                format!("tenant {uid} is from the future")
            })?;
            let epoch = tenant.placement.as_ref().map(|placement| placement.epoch);
            ensure(epoch != Some(Epoch::ZERO), || {
                format!("tenant {uid} is placed at epoch 0")
            })?;
            let node = tenant.placement.as_ref().map(|placement| &placement.node);
            ensure(node.is_none_or(|node| self.nodes.contains_key(node)), || {
                format!("tenant {uid} is placed on an unknown node")
            })?;
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), String> {
        let keys: BTreeSet<_> = self.tenants.values().map(|tenant| TenantKey::of(tenant)).collect();
        ensure(keys.iter().eq(self.by_name.iter()), || {
            "the name index differs from the tenants".to_owned()
        })
    }

    fn check_domains(&self) -> Result<(), String> {
        let mut owners = BTreeMap::new();
        for tenant in self.tenants.values().filter(|tenant| tenant.is_active()) {
            for domain in &tenant.spec.domains {
                owners.insert(domain, &tenant.uid);
            }
        }
        ensure(owners.into_iter().eq(self.by_domain.iter()), || {
            "the domain index differs from the tenants".to_owned()
        })
    }

    fn check_placements(&self) -> Result<(), String> {
        let mut expected: BTreeMap<_, NodeTenants> = BTreeMap::new();
        for tenant in self.tenants.values() {
            let Some(placement) = &tenant.placement else { continue };
            if tenant.is_active() {
                let on_node = expected.entry(&placement.node).or_default();
                on_node.uids.insert(tenant.uid);
                *on_node.tier_count(tenant.spec.tier) += 1;
            }
        }
        let agree = expected.len() == self.by_node.len()
            && expected.iter().all(|(node, tenants)| {
                self.by_node.get(*node).is_some_and(|indexed| {
                    indexed.uids == tenants.uids
                        && Tier::ALL
                            .into_iter()
                            .all(|tier| indexed.of_tier(tier) == tenants.of_tier(tier))
                })
            });
        ensure(agree, || "the placement index differs from the tenants".to_owned())?;
        let active = || self.tenants.values().filter(|tenant| tenant.is_active());
        ensure(active().count() as u64 == self.active, || {
            "the count of active tenants differs from the tenants".to_owned()
        })?;
        let unplaced: BTreeSet<_> = active()
            .filter(|tenant| tenant.placement.is_none())
            .map(|tenant| TenantKey::of(tenant))
            .collect();
        ensure(unplaced.iter().eq(self.unplaced.iter()), || {
            "the index of unplaced tenants differs from the tenants".to_owned()
        })
    }

    fn check_nodes_and_cursors(&self) -> Result<(), String> {
        for (id, node) in &self.nodes {
            ensure(*id == node.id, || format!("node `{id}` is stored as `{}`", node.id))?;
        }
        for (id, cursor) in &self.cursors {
            let known = self.nodes.get(id).map(|node| node.incarnation);
            ensure(known.is_some_and(|known| cursor.incarnation <= known), || {
                format!("the report cursor of `{id}` is ahead of the node")
            })?;
        }
        Ok(())
    }

    fn check_events(&self) -> Result<(), String> {
        ensure(self.events.len() <= MAX_EVENTS, || {
            "the event log is too long".to_owned()
        })?;
        let last = self.events.get_max().map(|(sequence, _)| *sequence);
        ensure(last.unwrap_or(self.last_event) == self.last_event, || {
            "the event log does not end at its last sequence".to_owned()
        })?;
        let mut before: Option<EventSequence> = None;
        for (sequence, event) in &self.events {
            let follows = before.is_none_or(|before| before.next() == *sequence);
            before = Some(*sequence);
            ensure(follows && event.sequence == *sequence, || {
                format!("a hole before event {sequence}")
            })?;
        }
        Ok(())
    }

    /// What is raised is of a tenant that its node serves, and a proposed move rests on a hot tenant of the same node.
    fn check_conditions_and_moves(&self) -> Result<(), String> {
        let node_of = |uid| {
            let tenant = self.tenants.get(uid).filter(|tenant| tenant.is_active());
            tenant.and_then(|tenant| tenant.placement.as_ref().map(|placement| &placement.node))
        };
        for ((uid, condition), active) in &self.conditions {
            ensure(node_of(uid) == Some(&active.node), || {
                format!(
                    "the {} of tenant {uid} was raised by a node that does not serve it",
                    condition.as_str()
                )
            })?;
        }
        for (uid, proposal) in &self.moves {
            ensure(node_of(uid) == Some(&proposal.node), || {
                format!("tenant {uid} should leave a node that does not serve it")
            })?;
            let hot = (proposal.cause.hot_tenant(*uid), Condition::Hotspot);
            let raised = self
                .conditions
                .get(&hot)
                .is_some_and(|active| active.node == proposal.node);
            ensure(raised, || {
                format!("tenant {uid} should move because of one that is not hot")
            })?;
        }
        let mut hot = BTreeMap::new();
        for ((_, condition), active) in &self.conditions {
            if *condition == Condition::Hotspot {
                *hot.entry(&active.node).or_insert(0_u64) += 1;
            }
        }
        ensure(
            hot.iter()
                .map(|(node, count)| (*node, count))
                .eq(self.hot_by_node.iter()),
            || "the count of hot tenants differs from the conditions".to_owned(),
        )
    }

    fn check_webhooks(&self) -> Result<(), String> {
        ensure(self.webhooks.len() <= MAX_WEBHOOKS, || {
            "there are too many webhooks".to_owned()
        })?;
        for webhook in self.webhooks.values() {
            ensure(webhook.done <= self.last_event, || {
                format!("the webhook `{}` is ahead of the log", webhook.name)
            })?;
            let letters = self.dead_letters(&webhook.name).count();
            ensure(letters <= MAX_DEAD_LETTERS, || {
                format!("the webhook `{}` has too many dead letters", webhook.name)
            })?;
        }
        let of_nobody = self
            .dead_letters
            .keys()
            .find(|(name, _)| !self.webhooks.contains_key(name));
        ensure(of_nobody.is_none(), || {
            "there are dead letters of no webhook".to_owned()
        })
    }

    fn check_requests(&self) -> Result<(), String> {
        ensure(self.requests.len() <= MAX_REQUESTS, || {
            "too many answers are kept".to_owned()
        })?;
        let agree = self.requests.len() == self.requests_by_age.len()
            && self.requests_by_age.iter().all(|(revision, id)| {
                self.requests
                    .get(id)
                    .is_some_and(|stored| stored.revision == *revision && stored.request.id == *id)
            });
        ensure(agree, || "the age index differs from the kept answers".to_owned())
    }

    fn content_from_scratch(&self) -> ContentDigest {
        let mut content = ContentDigest::default();
        self.tenants.values().for_each(|tenant| content.toggle(&**tenant));
        self.nodes.values().for_each(|node| content.toggle(&**node));
        self.events.values().for_each(|event| content.toggle(&**event));
        self.cursors
            .iter()
            .for_each(|(node, cursor)| content.toggle(&(node, *cursor)));
        self.requests.values().for_each(|stored| content.toggle(&**stored));
        self.keys.values().for_each(|key| content.toggle(&**key));
        for ((tenant, condition), active) in &self.conditions {
            content.toggle(&(*tenant, *condition, &**active));
        }
        for (tenant, proposal) in &self.moves {
            content.toggle(&(*tenant, &**proposal));
        }
        self.availability
            .iter()
            .for_each(|(node, now)| content.toggle(&(node, *now)));
        self.members.iter().for_each(|members| content.toggle(&**members));
        self.webhooks.values().for_each(|webhook| content.toggle(&**webhook));
        for ((name, _), letter) in &self.dead_letters {
            content.toggle(&(name, &**letter));
        }
        content
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
