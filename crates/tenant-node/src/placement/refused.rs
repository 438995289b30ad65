//! Which records of the control plane make no sense here, with the digests that they have there.
//!
//! A node that refuses a record must know so much of it: without its digest the whole table would look different from the
//! control plane's, and be fetched anew for ever.

use imbl::HashMap;
use tenantry_types::TenantUid;

/// Refused records of tenants, by the texts of their uids, and of nodes, by their ids. Copies share their content.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused {
    tenants: HashMap<String, u64>,
    nodes: HashMap<String, u64>,
}

impl Refused {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.tenants.len() + self.nodes.len()
    }

    /// Whether the last record of that tenant was refused.
    pub(super) fn tenant(&self, uid: TenantUid) -> bool {
        // Nearly always there is none, and then nothing need be written out.
        !self.tenants.is_empty() && self.tenants.contains_key(&uid.to_string())
    }

    pub(super) fn put_tenant(&mut self, uid: String, digest: u64) {
        self.tenants.insert(uid, digest);
    }

    /// The digest of the tenant's refused record, which is refused no longer.
    pub(super) fn forget_tenant(&mut self, uid: &str) -> Option<u64> {
        self.tenants.remove(uid)
    }

    pub(super) fn put_node(&mut self, id: &str, digest: u64) {
        self.nodes.insert(id.to_owned(), digest);
    }

    /// The digest of the node's refused record, which is refused no longer.
    pub(super) fn forget_node(&mut self, id: &str) -> Option<u64> {
        self.nodes.remove(id)
    }
}
