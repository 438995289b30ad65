//! The meters of all tenants that had a request or were asked about in this process, and the totals of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tenantry_types::{TenantName, TenantUid};

use super::answer::{AnswerClass, ClassCounts};
use super::tenant_meter::TenantMeter;
use crate::clock::{Clock, Now};
use crate::tenant_map::TenantMap;

/// Tenants' meters.
pub struct MeterRegistry {
    meters: TenantMap<TenantMeter>,
    clock: Arc<dyn Clock>,
    answers: [AtomicU64; AnswerClass::ALL.len()],
    in_flight: AtomicU64,
    /// Meters that were made, or counted an answer, since they were taken last: each once.
    active: Mutex<Vec<Arc<TenantMeter>>>,
}

impl MeterRegistry {
    /// No tenant yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            meters: TenantMap::default(),
            clock,
            answers: Default::default(),
            in_flight: AtomicU64::new(0),
            active: Mutex::default(),
        })
    }

    /// The meter of that tenant, made on first use.
    pub fn meter(&self, uid: TenantUid, name: &TenantName) -> Arc<TenantMeter> {
        if let Some(meter) = self.meters.get(uid) {
            return meter;
        }
        let meter = self
            .meters
            .get_or_insert_with(uid, || TenantMeter::new(uid, name.clone()));
        self.note(&meter);
        meter
    }

    /// The meter of that tenant, if it has one.
    #[must_use]
    pub fn metered_tenant(&self, uid: TenantUid) -> Option<Arc<TenantMeter>> {
        self.meters.get(uid)
    }

    /// The meters that were made, or counted an answer, since the last call; in no order. What a look at all tenants in turn
    /// would find out at the cost of all of them. For one caller.
    #[must_use]
    pub fn take_active(&self) -> Vec<Arc<TenantMeter>> {
        let active = std::mem::take(&mut *self.active.lock());
        // Before anything of them is read: what they count from now on is noted again.
        active.iter().for_each(|meter| meter.was_taken());
        active
    }

    fn note(&self, meter: &Arc<TenantMeter>) {
        if meter.note() {
            self.active.lock().push(Arc::clone(meter));
        }
    }

    /// All meters, in no order.
    #[must_use]
    pub fn metered(&self) -> Vec<Arc<TenantMeter>> {
        self.meters.values()
    }

    /// Forgets a tenant that is no longer served here. Publish its last figures before.
    pub fn forget(&self, uid: TenantUid) {
        if let Some(meter) = self.meters.get(uid) {
            self.meters.remove(uid, &meter);
        }
    }

    /// Counts a request until its answer ended.
    #[must_use]
    pub(crate) fn begin(self: &Arc<Self>, uid: TenantUid, name: &TenantName) -> InFlight {
        let began = self.clock.now();
        let meter = self.meter(uid, name);
        self.in_flight.fetch_add(1, Relaxed);
        meter.began(began);
        InFlight {
            registry: Arc::clone(self),
            meter,
            began,
            class: AnswerClass::Abandoned,
        }
    }

    /// Tenants with a meter.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.meters.len()
    }

    /// Answers of all tenants since the process started.
    #[must_use]
    pub fn answers(&self) -> ClassCounts {
        ClassCounts::from_atomics(&self.answers)
    }

    /// Requests of all tenants being served.
    #[must_use]
    pub fn concurrent(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    fn ended(&self, meter: &Arc<TenantMeter>, began: Now, class: AnswerClass) {
        let now = self.clock.now();
        self.in_flight.fetch_sub(1, Relaxed);
        if let Some(count) = self.answers.get(class as usize) {
            count.fetch_add(1, Relaxed);
        }
        meter.ended(now, class, now.monotonic.saturating_sub(began.monotonic));
        self.note(meter);
    }
}

impl std::fmt::Debug for MeterRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeterRegistry")
            .field("tenants", &self.meters.len())
            .finish_non_exhaustive()
    }
}

/// A request from its arrival to the end of its answer; counted when dropped.
pub(crate) struct InFlight {
    registry: Arc<MeterRegistry>,
    meter: Arc<TenantMeter>,
    began: Now,
    class: AnswerClass,
}

impl InFlight {
    /// What kind of answer it is. Without a call the request counts as abandoned.
    pub(crate) const fn answered(&mut self, class: AnswerClass) {
        self.class = class;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.registry.ended(&self.meter, self.began, self.class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_tenant_is_active_when_it_is_new_and_after_each_answer() {
        let registry = MeterRegistry::new(Arc::new(ManualClock::at(0)));
        let name = TenantName::new("acme").unwrap();
        let active = |registry: &MeterRegistry| {
            let mut uids: Vec<_> = registry
                .take_active()
                .iter()
                .map(|meter| meter.uid().as_u128())
                .collect();
            uids.sort_unstable();
            uids
        };
        let request = |uid| drop(registry.begin(TenantUid::from_u128(uid), &name));
        registry.meter(TenantUid::from_u128(1), &name);
        request(2);
        request(2);
        assert_eq!(active(&registry), [1, 2]);
        assert_eq!(active(&registry), []);
        registry.meter(TenantUid::from_u128(1), &name);
        request(2);
        assert_eq!(active(&registry), [2]);
        let under_way = registry.begin(TenantUid::from_u128(1), &name);
        assert_eq!(active(&registry), [], "not before its answer");
        drop(under_way);
        assert_eq!(active(&registry), [1]);
        assert!(registry.metered_tenant(TenantUid::from_u128(3)).is_none());
    }
}
