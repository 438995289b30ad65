//! The routing table: an immutable value that is replaced as a whole, so that readers never wait.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use imbl::HashMap;
use tenantry_proto::convert::digest;
use tenantry_proto::v1;
use tenantry_types::{
    ClusterEpoch, ClusterUid, DomainName, NodeId, NodeRoute, Revision, TenantName, TenantRoute, TenantUid, Tier,
    TierDefinition, TokenKey,
};
use tokio::sync::Notify;

use super::refused::Refused;

/// Every tenant's route at one revision. Copies share their content.
#[derive(Debug, Clone)]
pub struct RoutingTable {
    /// The revision that it shows; zero while nothing was ever received.
    pub revision: Revision,
    /// The cluster that it came from.
    pub cluster: Option<ClusterUid>,
    /// That cluster's epoch: higher after the control plane was restored from a snapshot.
    pub cluster_epoch: ClusterEpoch,
    tenants: HashMap<TenantUid, Arc<TenantRoute>>,
    by_name: HashMap<TenantName, TenantUid>,
    by_domain: HashMap<DomainName, TenantUid>,
    nodes: HashMap<NodeId, NodeRoute>,
    token_keys: Listed<TokenKey>,
    tiers: Listed<TierDefinition>,
    refused: Refused,
    /// One of the refused records, and what is wrong with it.
    refused_example: Arc<str>,
    digest: u64,
}

/// Of a refused record so much is told, in bytes: its name is the control plane's, and may be anything.
const LONGEST_EXAMPLE: usize = 300;

/// Records that are only sent all together.
#[derive(Debug, Clone)]
pub(super) struct Listed<T> {
    /// Those in force.
    pub(super) records: Arc<[T]>,
    /// The digest over the list as the control plane has it.
    pub(super) digest: u64,
    /// How many of the control plane's were refused.
    pub(super) refused: usize,
}

impl Default for RoutingTable {
    fn default() -> Self {
        let tiers = TierDefinition::defaults();
        Self {
            revision: Revision::ZERO,
            cluster: None,
            cluster_epoch: ClusterEpoch::ZERO,
            tenants: HashMap::new(),
            by_name: HashMap::new(),
            by_domain: HashMap::new(),
            nodes: HashMap::new(),
            token_keys: Listed::of(Vec::new(), 0),
            refused: Refused::default(),
            refused_example: Arc::from(""),
            digest: of_tiers(&tiers),
            tiers: Listed::of(tiers.to_vec(), of_tiers(&tiers)),
        }
    }
}

impl RoutingTable {
    /// Whether anything was ever received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revision == Revision::ZERO
    }

    /// A tenant by its uid.
    #[must_use]
    pub fn tenant(&self, uid: TenantUid) -> Option<&Arc<TenantRoute>> {
        self.tenants.get(&uid)
    }

    /// A tenant by its name.
    #[must_use]
    pub fn by_name(&self, name: &TenantName) -> Option<&Arc<TenantRoute>> {
        self.tenants.get(self.by_name.get(name)?)
    }

    /// A tenant by a registered domain.
    #[must_use]
    pub fn by_domain(&self, domain: &DomainName) -> Option<&Arc<TenantRoute>> {
        self.tenants.get(self.by_domain.get(domain)?)
    }

    /// A node by its id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&NodeRoute> {
        self.nodes.get(id)
    }

    /// All tiers' definitions.
    #[must_use]
    pub fn tiers(&self) -> &[TierDefinition] {
        &self.tiers.records
    }

    /// The share of a tenant of that tier beside others.
    #[must_use]
    pub fn weight(&self, tier: Tier) -> u32 {
        let definition = self.tiers().iter().find(|definition| definition.tier == tier);
        definition.map_or(1, |definition| definition.weight)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<TenantRoute>> {
        self.tenants.values()
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRoute> {
        self.nodes.values()
    }

    /// All token keys.
    #[must_use]
    pub fn token_keys(&self) -> &[TokenKey] {
        &self.token_keys.records
    }

    /// How many records of the control plane are not in force as it has them, since they made no sense.
    #[must_use]
    pub fn refused_records(&self) -> usize {
        self.refused.len() + self.token_keys.refused + self.tiers.refused
    }

    /// The record that was refused last, and what is wrong with it. Says nothing when none is refused now.
    #[must_use]
    pub fn refused_example(&self) -> &str {
        &self.refused_example
    }

    pub(crate) fn tell_of_refused(&mut self, example: &str) {
        let end = example.floor_char_boundary(LONGEST_EXAMPLE);
        self.refused_example = example[..end].into();
    }

    /// The digest that the control plane has for the same table: the XOR over all records. Kept with every change, so that a
    /// change of one tenant does not cost a pass over all. A refused record counts as the control plane has it: what is sent
    /// again would be refused again.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Adds a tenant or replaces what was known of it. An equal route leaves the one that is there.
    pub fn put_tenant(&mut self, route: TenantRoute) {
        let known = self.tenant(route.uid).is_some_and(|known| **known == route);
        if known && !self.refused.tenant(route.uid) {
            return;
        }
        self.remove_tenant(route.uid);
        self.by_name.insert(route.name.clone(), route.uid);
        for domain in &route.domains {
            self.by_domain.insert(domain.clone(), route.uid);
        }
        self.digest ^= of_tenant(&route);
        self.tenants.insert(route.uid, Arc::new(route));
    }

    /// Takes note of a record of a tenant that makes no sense, with what stays in force of it, if anything was there. A name
    /// or domain that leads to another tenant by now stays that one's.
    pub(crate) fn refuse_tenant(&mut self, uid: &str, digest: u64, kept: Option<TenantRoute>) {
        match uid.parse::<TenantUid>() {
            Ok(uid) => {
                self.remove_tenant(uid);
                self.refused.put_tenant(uid.to_string(), digest);
            }
            Err(_) => {
                self.forget_refused_tenant(uid);
                self.refused.put_tenant(uid.to_owned(), digest);
            }
        }
        self.digest ^= digest;
        if let Some(route) = kept {
            self.by_name.entry(route.name.clone()).or_insert(route.uid);
            for domain in &route.domains {
                self.by_domain.entry(domain.clone()).or_insert(route.uid);
            }
            self.tenants.insert(route.uid, Arc::new(route));
        }
    }

    /// Forgets a refused record whose uid is none.
    pub(crate) fn forget_refused_tenant(&mut self, uid: &str) {
        self.digest ^= self.refused.forget_tenant(uid).unwrap_or(0);
    }

    /// Forgets a tenant. Names and domains that lead to another by now stay.
    pub fn remove_tenant(&mut self, uid: TenantUid) {
        let refused = self.refused.forget_tenant(&uid.to_string());
        let old = self.tenants.remove(&uid);
        self.digest ^= refused.or_else(|| old.as_deref().map(of_tenant)).unwrap_or(0);
        let Some(old) = old else { return };
        if self.by_name.get(&old.name) == Some(&uid) {
            self.by_name.remove(&old.name);
        }
        for domain in &old.domains {
            if self.by_domain.get(domain) == Some(&uid) {
                self.by_domain.remove(domain);
            }
        }
    }

    /// Adds a node or replaces what was known of it.
    pub fn put_node(&mut self, node: NodeRoute) {
        let refused = self.refused.forget_node(node.id.as_str());
        self.digest ^= of_node(&node);
        let old = self.nodes.insert(node.id.clone(), node);
        self.digest ^= refused.or_else(|| old.as_ref().map(of_node)).unwrap_or(0);
    }

    /// Takes note of a record of a node that makes no sense, with what stays in force of it, if anything was there.
    pub(super) fn refuse_node(&mut self, id: &str, digest: u64, kept: Option<NodeRoute>) {
        let refused = self.refused.forget_node(id);
        let old = NodeId::new(id).ok().and_then(|id| self.nodes.remove(&id));
        self.digest ^= refused.or_else(|| old.as_ref().map(of_node)).unwrap_or(0) ^ digest;
        self.refused.put_node(id, digest);
        if let Some(node) = kept {
            self.nodes.insert(node.id.clone(), node);
        }
    }

    /// Replaces all token keys.
    pub fn set_token_keys(&mut self, keys: Vec<TokenKey>) {
        let digest = of_keys(&keys);
        self.list_token_keys(Listed::of(keys, digest));
    }

    pub(super) fn list_token_keys(&mut self, keys: Listed<TokenKey>) {
        self.digest ^= self.token_keys.digest ^ keys.digest;
        self.token_keys = keys;
    }

    /// Replaces all tiers' definitions.
    pub fn set_tiers(&mut self, tiers: Vec<TierDefinition>) {
        let digest = of_tiers(&tiers);
        self.list_tiers(Listed::of(tiers, digest));
    }

    pub(super) fn list_tiers(&mut self, tiers: Listed<TierDefinition>) {
        self.digest ^= self.tiers.digest ^ tiers.digest;
        self.tiers = tiers;
    }
}

impl<T> Listed<T> {
    fn of(records: Vec<T>, digest: u64) -> Self {
        Self {
            records: records.into(),
            digest,
            refused: 0,
        }
    }
}

fn of_tenant(route: &TenantRoute) -> u64 {
    digest::tenant_route(&v1::TenantRoute::from(route))
}

fn of_node(node: &NodeRoute) -> u64 {
    digest::node_route(&v1::NodeRoute::from(node))
}

fn of_keys(keys: &[TokenKey]) -> u64 {
    let digests = keys.iter().map(|key| digest::token_key(&v1::TokenKey::from(key)));
    digests.fold(0, |all, one| all ^ one)
}

fn of_tiers(tiers: &[TierDefinition]) -> u64 {
    let digests = tiers.iter().map(|tier| digest::tier(&v1::TierDefinition::from(tier)));
    digests.fold(0, |all, one| all ^ one)
}

/// The table in force. Cheap to clone and to read; replaced by the placement watch alone.
#[derive(Debug, Clone, Default)]
pub struct SharedRoutingTable(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: ArcSwap<RoutingTable>,
    followed: AtomicBool,
    replaced: Notify,
    refresh: Notify,
}

impl SharedRoutingTable {
    /// Starts with the given table.
    #[must_use]
    pub fn new(table: RoutingTable) -> Self {
        let shared = Self::default();
        shared.0.table.store(Arc::new(table));
        shared
    }

    /// The table in force now; stays as it is while the caller holds it.
    #[must_use]
    pub fn current(&self) -> Arc<RoutingTable> {
        self.0.table.load_full()
    }

    /// Puts another table in force.
    pub fn replace(&self, table: Arc<RoutingTable>) {
        self.0.table.store(table);
        self.0.followed.store(true, Ordering::Release);
        self.0.replaced.notify_waiters();
    }

    /// Whether the table came from the control plane since the start. What its copy on disk says of refused records is
    /// less than the truth.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.0.followed.load(Ordering::Acquire)
    }

    /// The first table for which `condition` holds, from now on. May never come: bound the wait.
    pub async fn wait_for(&self, condition: impl Fn(&RoutingTable) -> bool) -> Arc<RoutingTable> {
        let mut replaced = pin!(self.0.replaced.notified());
        loop {
            // Listens before it looks, so that a table between the two is not missed.
            replaced.as_mut().enable();
            let table = self.current();
            if condition(&table) {
                return table;
            }
            replaced.as_mut().await;
            replaced.set(self.0.replaced.notified());
        }
    }

    /// Says that another node knows more: whoever follows the control plane should lose no time.
    pub fn ask_for_refresh(&self) {
        self.0.refresh.notify_one();
    }

    /// Completes after [`Self::ask_for_refresh`]. For the one who follows.
    pub async fn refresh_asked(&self) {
        self.0.refresh.notified().await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! Also the fixtures of the layers' tests.
    use tenantry_types::{Durability, Epoch, Placement, Tier, TokenGeneration};

    use super::*;

    pub(crate) fn route(uid: u128, name: &str, node: &str) -> TenantRoute {
        TenantRoute {
            uid: TenantUid::from_u128(uid),
            name: TenantName::new(name).unwrap(),
            domains: vec![DomainName::new(&format!("db.{name}.example")).unwrap()],
            placement: Some(Placement {
                node: NodeId::new(node).unwrap(),
                epoch: Epoch(1),
            }),
            tier: Tier::Small,
            quota: TierDefinition::defaults()[1].quota,
            durability: Durability::Local,
            token_generation: TokenGeneration::ZERO,
        }
    }

    #[test]
    fn a_tenant_is_found_by_uid_name_and_domain_until_it_is_removed() {
        let mut table = RoutingTable::default();
        table.put_tenant(route(1, "acme", "node-1"));
        let name = TenantName::new("acme").unwrap();
        let domain = DomainName::new("db.acme.example").unwrap();
        assert_eq!(table.by_name(&name).unwrap().uid, TenantUid::from_u128(1));
        assert_eq!(table.by_domain(&domain).unwrap().uid, TenantUid::from_u128(1));
        table.remove_tenant(TenantUid::from_u128(1));
        assert!(table.by_name(&name).is_none() && table.by_domain(&domain).is_none());
    }

    #[test]
    fn a_name_that_was_taken_over_survives_the_removal_of_its_old_owner() {
        let mut table = RoutingTable::default();
        table.put_tenant(route(1, "acme", "node-1"));
        table.put_tenant(route(2, "acme", "node-2"));
        table.remove_tenant(TenantUid::from_u128(1));
        assert_eq!(
            table.by_name(&TenantName::new("acme").unwrap()).unwrap().uid,
            TenantUid::from_u128(2)
        );
    }

    #[test]
    fn the_kept_digest_is_the_one_over_all_records_after_any_change() {
        let from_scratch = |table: &RoutingTable| {
            let tenants = table.tenants().fold(0, |all, route| all ^ of_tenant(route));
            let nodes = table.nodes().fold(0, |all, node| all ^ of_node(node));
            tenants ^ nodes ^ of_keys(table.token_keys()) ^ of_tiers(table.tiers())
        };
        let node = |address: &str| NodeRoute {
            id: NodeId::new("node-1").unwrap(),
            peer_address: address.into(),
        };
        let key = |byte| TokenKey {
            id: "k1".into(),
            public_key: [byte; 32],
        };
        let changed_tier = TierDefinition {
            weight: 77,
            ..TierDefinition::defaults()[0]
        };
        let changes: [fn(&mut RoutingTable); 4] = [
            |table| table.put_tenant(route(1, "acme", "node-1")),
            |table| table.put_tenant(route(2, "other", "node-2")),
            |table| table.put_tenant(route(1, "acme", "node-2")),
            |table| table.remove_tenant(TenantUid::from_u128(2)),
        ];
        let mut table = RoutingTable::default();
        assert_eq!(table.digest(), from_scratch(&table));
        for change in changes {
            let before = table.digest();
            change(&mut table);
            assert_ne!(table.digest(), before);
            assert_eq!(table.digest(), from_scratch(&table));
        }
        table.put_node(node("127.0.0.1:1"));
        table.put_node(node("127.0.0.1:2"));
        table.set_token_keys(vec![key(1)]);
        table.set_token_keys(vec![key(2)]);
        table.set_tiers(vec![changed_tier]);
        assert_eq!(table.digest(), from_scratch(&table));
    }
}
