//! Puts a database thread's processor time down to the tenants whose jobs it ran, whatever these were for.
//!
//! To ask for a thread's time is a system call. So it is asked once for a tenant's short jobs in a row, and what the thread does between two jobs,
//! which is little, is put down with them.

use std::time::Duration;

use tenantry_types::TenantUid;

use super::priority::own_processor_time;

/// Adds processor time to what a tenant has used.
pub(in crate::database) type Charge = dyn Fn(TenantUid, Duration) + Send + Sync;

/// So many jobs are put down together at most.
const TOGETHER: u32 = 16;
/// Nor more than have run for so long.
const LONGEST: Duration = Duration::from_millis(1);

/// One thread's.
pub(super) struct Meter<'threads> {
    charge: &'threads Charge,
    own_time: fn() -> Duration,
    /// The thread's time when it was asked for last.
    read: Duration,
    /// Of whom jobs were run since.
    tenant: Option<TenantUid>,
    jobs: u32,
    ran: Duration,
}

impl<'threads> Meter<'threads> {
    /// Of the calling thread, from here on.
    pub(super) fn begin(charge: &'threads Charge) -> Self {
        Self::with_time(charge, own_processor_time)
    }

    fn with_time(charge: &'threads Charge, own_time: fn() -> Duration) -> Self {
        Self {
            charge,
            own_time,
            read: own_time(),
            tenant: None,
            jobs: 0,
            ran: Duration::ZERO,
        }
    }

    /// The thread is about to run a job of `tenant`.
    pub(super) fn begin_job(&mut self, tenant: TenantUid) {
        if self.tenant != Some(tenant) {
            self.settle();
        }
        self.tenant = Some(tenant);
    }

    /// The job has ended after `ran`.
    pub(super) fn end_job(&mut self, ran: Duration) {
        self.jobs += 1;
        self.ran += ran;
        if self.jobs >= TOGETHER || self.ran >= LONGEST {
            self.settle();
        }
    }

    /// Puts down what has not been yet: to be called before the thread sleeps, and at its end.
    pub(super) fn settle(&mut self) {
        let Some(tenant) = self.tenant.take() else { return };
        let now = (self.own_time)();
        (self.charge)(tenant, now.saturating_sub(std::mem::replace(&mut self.read, now)));
        (self.jobs, self.ran) = (0, Duration::ZERO);
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    const A: TenantUid = TenantUid::from_u128(1);
    const B: TenantUid = TenantUid::from_u128(2);
    const MICRO: Duration = Duration::from_micros(1);

    thread_local! {
        static TIME: Cell<Duration> = const { Cell::new(Duration::from_secs(1)) };
        static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    fn time() -> Duration {
        ASKED.set(ASKED.get() + 1);
        TIME.get()
    }

    fn job(meter: &mut Meter<'_>, tenant: TenantUid, takes: Duration) {
        meter.begin_job(tenant);
        TIME.set(TIME.get() + takes);
        meter.end_job(takes);
    }

    fn charged(run: impl FnOnce(&mut Meter<'_>)) -> Vec<(TenantUid, Duration)> {
        let charged = Arc::<Mutex<Vec<_>>>::default();
        let noting = Arc::clone(&charged);
        let charge: Box<Charge> = Box::new(move |tenant, time| noting.lock().push((tenant, time)));
        run(&mut Meter::with_time(&*charge, time));
        std::mem::take(&mut *charged.lock())
    }

    #[test]
    fn each_tenant_is_charged_its_own_jobs() {
        let charged = charged(|meter| {
            job(meter, A, 3 * MICRO);
            job(meter, A, 4 * MICRO);
            job(meter, B, 5 * MICRO);
            job(meter, A, 6 * MICRO);
        });
        assert_eq!(charged, [(A, 7 * MICRO), (B, 5 * MICRO), (A, 6 * MICRO)]);
    }

    #[test]
    fn short_jobs_in_a_row_are_put_down_together_and_a_long_one_at_once() {
        let charged = charged(|meter| {
            for _ in 0..2 * TOGETHER {
                job(meter, A, MICRO);
            }
            assert_eq!(ASKED.get(), 3, "once at the beginning");
            job(meter, A, LONGEST);
            assert_eq!(ASKED.get(), 4);
            meter.settle();
            assert_eq!(ASKED.get(), 4, "there was nothing to put down");
        });
        let together = TOGETHER * MICRO;
        assert_eq!(charged, [(A, together), (A, together), (A, LONGEST)]);
    }
}
