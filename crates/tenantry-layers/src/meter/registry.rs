//! The meters of all tenants that had a request or were asked about in this process, and the totals of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
        })
    }

    /// The meter of that tenant, made on first use.
    pub fn meter(&self, uid: TenantUid, name: &TenantName) -> Arc<TenantMeter> {
        self.meters
            .get_or_insert_with(uid, || TenantMeter::new(uid, name.clone()))
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

    fn ended(&self, meter: &TenantMeter, began: Now, class: AnswerClass) {
        let now = self.clock.now();
        self.in_flight.fetch_sub(1, Relaxed);
        if let Some(count) = self.answers.get(class as usize) {
            count.fetch_add(1, Relaxed);
        }
        meter.ended(now, class, now.monotonic.saturating_sub(began.monotonic));
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
