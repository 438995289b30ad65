//! How many bytes of SQL texts the streams of each tenant keep, those under way included. Must not know the texts.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_types::TenantUid;

use super::remembered::Room;

/// The bytes of all tenants.
#[derive(Debug)]
pub(super) struct StoredBytes {
    room: Room,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    /// Of those who have texts.
    tenants: HashMap<TenantUid, usize>,
}

/// The bytes of one tenant.
#[derive(Debug, Clone)]
pub(super) struct OfTenant {
    all: Arc<StoredBytes>,
    tenant: TenantUid,
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    of: OfTenant,
    bytes: usize,
}

/// There is none for a further text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("the tenant's streams store at most {limit_bytes} bytes of SQL texts together; close texts or streams")]
    OfTenant { limit_bytes: usize },
    #[error("the node stores no further SQL texts of streams at the moment")]
    OfNode,
}

impl StoredBytes {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            counts: Mutex::default(),
        }
    }

    pub(super) fn of(self: &Arc<Self>, tenant: TenantUid) -> OfTenant {
        OfTenant {
            all: Arc::clone(self),
            tenant,
        }
    }
}

impl OfTenant {
    /// # Errors
    /// When the tenant or the node would hold more than it may.
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, NoRoom> {
        let all = &self.all;
        let mut counts = all.counts.lock();
        let own = counts.tenants.get(&self.tenant).copied().unwrap_or(0);
        if bytes > all.room.per_tenant.saturating_sub(own) {
            return Err(NoRoom::OfTenant {
                limit_bytes: all.room.per_tenant,
            });
        }
        if bytes > all.room.total.saturating_sub(counts.total) {
            return Err(NoRoom::OfNode);
        }
        counts.total += bytes;
        counts.tenants.insert(self.tenant, own + bytes);
        Ok(Held {
            of: self.clone(),
            bytes,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.of.all.counts.lock();
        counts.total -= self.bytes;
        if let Some(own) = counts.tenants.get_mut(&self.of.tenant) {
            *own -= self.bytes;
            if *own == 0 {
                counts.tenants.remove(&self.of.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_and_all_together_hold_so_much_and_no_more_until_something_is_dropped() {
        let all = Arc::new(StoredBytes::new(Room {
            per_tenant: 10,
            total: 15,
        }));
        let [one, two] = [1, 2].map(|uid| all.of(TenantUid::from_u128(uid)));
        let held = one.hold(10).unwrap();
        assert_eq!(one.hold(1).err(), Some(NoRoom::OfTenant { limit_bytes: 10 }));
        assert_eq!(two.hold(6).err(), Some(NoRoom::OfNode));
        let others = two.hold(5).unwrap();
        assert_eq!(two.hold(usize::MAX).err(), Some(NoRoom::OfTenant { limit_bytes: 10 }));
        drop(held);
        drop((one.hold(10).unwrap(), others, two.hold(0).unwrap()));
        let counts = all.counts.lock();
        assert_eq!((counts.total, counts.tenants.len()), (0, 0));
    }
}
