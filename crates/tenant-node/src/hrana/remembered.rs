//! Streams of which nothing is left but the history of their writes, whose batons had to be given out before that was known.
//!
//! They cost some hundred bytes each and are kept for long. Must not keep anything that another request could wait for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tenantry_types::TenantUid;

use crate::database::WriteHistory;

/// What is remembered, and of how many.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    streams: BTreeMap<u64, Stream>,
    /// Those of each tenant. The smallest number is the oldest.
    by_tenant: HashMap<TenantUid, BTreeSet<u64>>,
}

/// Of what is kept, the most of one tenant and of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) per_tenant: usize,
    pub(super) total: usize,
}

#[derive(Debug)]
struct Stream {
    tenant: TenantUid,
    history: WriteHistory,
    since: Instant,
}

impl Remembered {
    /// Remembers a stream. Where there is no room, the tenant's oldest is forgotten, or the oldest of all.
    pub(super) fn insert(&mut self, id: u64, tenant: TenantUid, history: WriteHistory, since: Instant, room: Room) {
        let own = self.by_tenant.get(&tenant);
        if let Some(oldest) = own.filter(|own| own.len() >= room.per_tenant).and_then(BTreeSet::first) {
            let oldest = *oldest;
            self.take(tenant, oldest);
        }
        if self.streams.len() >= room.total
            && let Some((oldest, stream)) = self.streams.first_key_value()
        {
            let (oldest, of) = (*oldest, stream.tenant);
            self.take(of, oldest);
        }
        self.by_tenant.entry(tenant).or_default().insert(id);
        let stream = Stream { tenant, history, since };
        self.streams.insert(id, stream);
    }

    /// Forgets a stream of the tenant. What was kept of it, and since when.
    pub(super) fn take(&mut self, tenant: TenantUid, id: u64) -> Option<(WriteHistory, Instant)> {
        let own = self.by_tenant.get_mut(&tenant)?;
        if !own.remove(&id) {
            return None;
        }
        if own.is_empty() {
            self.by_tenant.remove(&tenant);
        }
        let stream = self.streams.remove(&id)?;
        Some((stream.history, stream.since))
    }

    /// Forgets those that nobody has asked for since `age`. Returns how many.
    pub(super) fn expire(&mut self, now: Instant, age: Duration) -> usize {
        // A younger one among the old, which was asked for and put back, lets those behind it live a little longer.
        let expired: Vec<(TenantUid, u64)> = self
            .streams
            .iter()
            .take_while(|(_, stream)| now.saturating_duration_since(stream.since) >= age)
            .map(|(id, stream)| (stream.tenant, *id))
            .collect();
        for (tenant, id) in &expired {
            self.take(*tenant, *id);
        }
        expired.len()
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TenantUid = TenantUid::from_u128(1);
    const TWO: TenantUid = TenantUid::from_u128(2);
    const ROOM: Room = Room {
        per_tenant: 2,
        total: 3,
    };
    const HISTORY: WriteHistory = WriteHistory {
        last_insert_rowid: 7,
        changes: 1,
        total_changes: 3,
    };

    #[test]
    fn the_oldest_of_the_tenant_is_forgotten_first_and_then_the_oldest_of_all() {
        let (mut remembered, now) = (Remembered::default(), Instant::now());
        for (id, tenant) in [(1, TWO), (2, ONE), (3, ONE), (4, ONE)] {
            remembered.insert(id, tenant, HISTORY, now, ROOM);
        }
        assert_eq!(remembered.take(ONE, 2), None, "two of a tenant");
        remembered.insert(5, TWO, HISTORY, now, ROOM);
        assert_eq!(remembered.take(TWO, 1), None, "three in all");
        for (id, tenant) in [(3, ONE), (4, ONE), (5, TWO)] {
            assert_eq!(remembered.take(tenant, id), Some((HISTORY, now)));
        }
        assert!(remembered.by_tenant.is_empty() && remembered.len() == 0);
    }

    #[test]
    fn a_stream_is_remembered_for_its_tenant_and_for_a_time() {
        let (mut remembered, now) = (Remembered::default(), Instant::now());
        remembered.insert(1, ONE, HISTORY, now, ROOM);
        remembered.insert(2, ONE, HISTORY, now + Duration::from_secs(1), ROOM);
        assert_eq!(remembered.take(TWO, 1), None);
        assert_eq!(
            remembered.expire(now + Duration::from_secs(10), Duration::from_secs(10)),
            1
        );
        assert_eq!((remembered.take(ONE, 1), remembered.len()), (None, 1));
    }
}
