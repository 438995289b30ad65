//! Per-tenant state in memory, sharded so that requests of different tenants do not meet on one lock.
//!
//! The lock of a shard is held for a look-up only: never across a call-out or an await.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tenantry_types::TenantUid;

const SHARDS: usize = 64;

type Shard<V> = RwLock<HashMap<TenantUid, Arc<V>>>;

/// Shared values by tenant.
#[derive(Debug)]
pub struct TenantMap<V> {
    shards: Box<[Shard<V>]>,
}

impl<V> Default for TenantMap<V> {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(RwLock::default).take(SHARDS).collect(),
        }
    }
}

impl<V> TenantMap<V> {
    /// The value of that tenant.
    #[must_use]
    pub fn get(&self, uid: TenantUid) -> Option<Arc<V>> {
        self.shard(uid).read().get(&uid).cloned()
    }

    /// The value of that tenant, made on first use.
    pub fn get_or_insert_with(&self, uid: TenantUid, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(value) = self.get(uid) {
            return value;
        }
        Arc::clone(self.shard(uid).write().entry(uid).or_insert_with(|| Arc::new(make())))
    }

    /// Removes that very value; a newer one under the same tenant stays.
    pub fn remove(&self, uid: TenantUid, value: &Arc<V>) {
        let mut shard = self.shard(uid).write();
        if shard.get(&uid).is_some_and(|held| Arc::ptr_eq(held, value)) {
            shard.remove(&uid);
        }
    }

    /// Every value held now.
    #[must_use]
    pub fn values(&self) -> Vec<Arc<V>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Whether no tenant is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tenants are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the shard")]
    fn shard(&self, uid: TenantUid) -> &Shard<V> {
        // Both halves, so that time-ordered uids spread as well as random ones.
        let bits = uid.as_u128();
        let mixed = ((bits >> 64) as u64 ^ bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 58) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_removed_only_by_its_own_handle() {
        let map = TenantMap::<u32>::default();
        let uid = TenantUid::from_u128(7);
        let first = map.get_or_insert_with(uid, || 1);
        assert_eq!(*map.get_or_insert_with(uid, || 2), 1);
        map.remove(uid, &first);
        let second = map.get_or_insert_with(uid, || 3);
        map.remove(uid, &first);
        assert_eq!(map.get(uid).as_deref(), Some(&3));
        assert_eq!((map.len(), map.values().len()), (1, 1));
        map.remove(uid, &second);
        assert_eq!(map.len(), 0);
    }
}
