//! The routing table as watchers see it, derived from the state: what changed at a revision, and the digest of the whole.
//!
//! The digest is the XOR of every record's own digest, so that a change costs only the records that it touches.

use std::collections::HashMap;

use tenantry_proto::convert::digest;
use tenantry_proto::v1;
use tenantry_state::{Change, State};
use tenantry_types::{NodeId, NodeRoute, Revision, TenantUid, Tier};

/// A change of more records than this is not sent as one message: watchers start over with a snapshot instead, which they
/// share. A new definition of a tier does that to a large cluster.
const MOST_RECORDS: usize = 5_000;

/// The digests of all records that the routing table consists of.
#[derive(Debug, Default)]
pub struct RoutingView {
    tenants: HashMap<TenantUid, u64>,
    nodes: HashMap<NodeId, u64>,
    keys: HashMap<String, u64>,
    tiers: HashMap<Tier, u64>,
    whole: u64,
}

/// What became of the routing table at a revision.
#[derive(Debug, Clone, PartialEq)]
pub enum RoutingChange {
    /// Nothing that watchers see.
    None,
    /// These records.
    Delta(v1::RoutingDelta),
    /// So much that a snapshot is cheaper.
    TooMuch,
}

impl RoutingView {
    /// The view of a state that was restored as a whole.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut view = Self::default();
        for route in state.tenant_routes() {
            let uid = route.uid;
            view.put_tenant(uid, Some(&v1::TenantRoute::from(&route)));
        }
        for route in state.node_routes() {
            let id = route.id.clone();
            view.put_node(id, &v1::NodeRoute::from(&route));
        }
        view.put_keys(state);
        view.put_tiers(state);
        view
    }

    /// Digest over the whole table.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.whole
    }

    /// Takes the changes of a revision in. `state` must be the state of that revision.
    pub fn change(&mut self, state: &State, revision: Revision, changes: &[Change]) -> RoutingChange {
        let mut delta = v1::RoutingDelta {
            revision: revision.get(),
            ..v1::RoutingDelta::default()
        };
        let mut seen = false;
        let too_much = changes.len() > MOST_RECORDS;
        for change in changes {
            seen |= !matches!(change, Change::EventsAppended { .. });
            match change {
                Change::RouteUpserted { uid } | Change::RouteRemoved { uid } => match state.tenant_route(*uid) {
                    Some(route) => {
                        let route = v1::TenantRoute::from(&route);
                        self.put_tenant(*uid, Some(&route));
                        if !too_much {
                            delta.tenants.push(route);
                        }
                    }
                    None => {
                        self.put_tenant(*uid, None);
                        if !too_much {
                            delta.removed_tenant_uids.push(uid.to_string());
                        }
                    }
                },
                Change::NodeUpserted { id } => {
                    if let Some(node) = state.node(id) {
                        let route = v1::NodeRoute::from(&NodeRoute::of(node));
                        self.put_node(id.clone(), &route);
                        delta.nodes.push(route);
                    }
                }
                Change::TiersChanged => delta.tiers = self.put_tiers(state),
                Change::KeysChanged => delta.token_keys = self.put_keys(state),
                Change::EventsAppended { .. } => {}
            }
        }
        if !seen {
            RoutingChange::None
        } else if too_much {
            RoutingChange::TooMuch
        } else {
            RoutingChange::Delta(delta)
        }
    }

    fn put_tenant(&mut self, uid: TenantUid, route: Option<&v1::TenantRoute>) {
        let old = match route {
            Some(route) => {
                let new = digest::tenant_route(route);
                self.whole ^= new;
                self.tenants.insert(uid, new)
            }
            None => self.tenants.remove(&uid),
        };
        self.whole ^= old.unwrap_or(0);
    }

    fn put_node(&mut self, id: NodeId, route: &v1::NodeRoute) {
        let new = digest::node_route(route);
        self.whole ^= new ^ self.nodes.insert(id, new).unwrap_or(0);
    }

    fn put_keys(&mut self, state: &State) -> Vec<v1::TokenKey> {
        let keys: Vec<v1::TokenKey> = state.token_keys().map(|key| v1::TokenKey::from(&key)).collect();
        let digests: HashMap<String, u64> = keys
            .iter()
            .map(|key| (key.key_id.clone(), digest::token_key(key)))
            .collect();
        self.whole ^= xor(&self.keys) ^ xor(&digests);
        self.keys = digests;
        keys
    }

    fn put_tiers(&mut self, state: &State) -> Vec<v1::TierDefinition> {
        let mut tiers = Vec::new();
        let mut digests = HashMap::new();
        for definition in state.tiers().iter() {
            let message = v1::TierDefinition::from(definition);
            digests.insert(definition.tier, digest::tier(&message));
            tiers.push(message);
        }
        self.whole ^= xor(&self.tiers) ^ xor(&digests);
        self.tiers = digests;
        tiers
    }
}

fn xor<K>(digests: &HashMap<K, u64>) -> u64 {
    digests.values().fold(0, |all, one| all ^ one)
}
