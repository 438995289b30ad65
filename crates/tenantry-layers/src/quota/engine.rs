//! The limits of one tenant, decided in one step under the tenant's own lock. Given the time; does no I/O.
//!
//! The daily counter may admit only what a ledger on disk covers (see `ledger`). The engine says when it needs a ledger to
//! be read or written; the registry does that and tells it the outcome. A reservation is `max(1, limit / 1024)` requests;
//! the next one is asked for when half of it is spent, so that requests seldom wait for the disk.
//!
//! The daily counter runs on the tenant's own time: that of its record, advanced by the monotonic clock.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tenantry_types::{QuotaKind, TenantUid};
use tokio::sync::watch;

use super::burst::BurstLimit;
use super::crossing::{Crossing, CrossingDetector};
use super::ledger::LedgerRecord;
use super::limits::RequestLimits;
use super::pace::RefusalPace;
use super::rate_limit_fields::policy_field;
use super::rolling_day::RollingDay;
use super::standing::{BurstStanding, Refusal, Standing};
use super::sync::{AtomicU32, Mutex, Ordering};
use crate::clock::{Boot, Now};
use crate::mutants::{Mutant, mutated};

/// Reservations are this part of the daily limit.
const RESERVATIONS_PER_DAY: u64 = 1024;

/// Whether a request counts against the tenant's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// It takes one request of each limit, or is refused.
    Counted,
    /// It passes whatever the limits say.
    Free,
}

/// What became of a request.
#[derive(Debug)]
pub enum Admission {
    /// It goes on. The permit of a counted request lives as long as the request is served.
    Admitted(Option<Permit>, Standing),
    /// A limit is reached.
    Refused(Refusal),
    /// The ledger has to be read or written first; ask again then.
    NeedsLedger,
    /// This state was closed; look the tenant up again.
    Gone,
}

/// An admission and what else follows from it.
#[derive(Debug)]
pub struct Decision {
    /// What became of the request.
    pub admission: Admission,
    /// A share of the daily limit that was passed.
    pub crossing: Option<Crossing>,
    /// The reservation runs low: have the next one written, without waiting for it.
    pub reserve_ahead: bool,
    /// The value of `RateLimit-Policy`, where the tenant's state is in memory.
    pub policy: Option<HeaderValue>,
}

/// One place among the concurrent requests of a tenant; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<TenantQuota>);

impl Drop for Permit {
    fn drop(&mut self) {
        if mutated(Mutant::PlaceNotGivenBack) {
            return;
        }
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Limits and use of one tenant.
#[derive(Debug)]
pub struct TenantQuota {
    uid: TenantUid,
    /// Raised under the lock of `phase`, lowered without it.
    in_flight: AtomicU32,
    phase: Mutex<Phase>,
    /// Tells waiting requests how each piece of ledger work ended.
    pub(super) ledger_work: watch::Sender<LedgerOutcome>,
}

/// How a piece of ledger work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LedgerOutcome {
    Done,
    Failed,
}

#[derive(Debug)]
enum Phase {
    Unloaded,
    Loading,
    Ready(Box<Account>),
    Gone,
}

#[derive(Debug)]
struct Account {
    /// The tenant's time when it was loaded, and the monotonic time then.
    origin_millis: u64,
    loaded_at: Duration,
    day: RollingDay,
    burst: BurstLimit,
    refusals: RefusalPace,
    /// Limits of the last request, as answers name them.
    policy: (RequestLimits, HeaderValue),
    crossings: CrossingDetector,
    /// Requests that the ledger on disk covers and that are not admitted yet.
    unspent: u64,
    work: Work,
    /// Whether the ledger on disk differs from an exact record of this state.
    on_disk: OnDisk,
    last_request: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Idle,
    /// A reservation of that many requests is being written.
    Reserving(u64),
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDisk {
    Exact,
    Behind,
}

/// What the registry has to do for a tenant.
#[derive(Debug)]
pub(super) enum LedgerWork {
    Read,
    Write(LedgerRecord),
}

/// What was found on disk.
#[derive(Debug)]
pub(super) enum FoundLedger {
    Missing,
    Record(LedgerRecord),
    Corrupt,
}

/// What is left to do before requests can be decided.
#[derive(Debug)]
pub(super) enum NextStep {
    /// Ask for admission again.
    AskAgain,
    /// Someone else has the work in hand: wait for its outcome.
    AwaitOutcome,
    /// Do this, then report.
    Do(LedgerWork),
}

impl TenantQuota {
    pub(super) fn unloaded(uid: TenantUid) -> Self {
        Self {
            uid,
            in_flight: AtomicU32::new(0),
            phase: Mutex::new(Phase::Unloaded),
            ledger_work: watch::Sender::new(LedgerOutcome::Done),
        }
    }

    /// Whose.
    #[must_use]
    pub const fn uid(&self) -> TenantUid {
        self.uid
    }

    /// Requests being served.
    #[must_use]
    pub fn concurrent(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Checks all limits, then charges all, or none.
    pub fn admit(self: &Arc<Self>, now: Now, limits: &RequestLimits, charge: Charge) -> Decision {
        let mut phase = self.phase.lock();
        let account = match &mut *phase {
            Phase::Ready(account) if account.work != Work::Closing => account,
            Phase::Gone => return Decision::only(Admission::Gone),
            _ => return Decision::only(Admission::NeedsLedger),
        };
        account.advance(now, limits);
        let before = account.standing(limits, self.concurrent(), now);
        let policy = Some(account.policy.1.clone());
        if charge == Charge::Free {
            return Decision {
                policy,
                ..Decision::only(Admission::Admitted(None, before))
            };
        }
        account.last_request = now.monotonic;
        if let Some(mut refusal) = Refusal::of(&before) {
            refusal.hold = account.refusals.refuse(now.monotonic);
            if mutated(Mutant::RefusedIsCounted) {
                account.day.charge(1);
            }
            let has_burst_room = before.burst.is_some_and(|burst| burst.remaining > 0);
            if mutated(Mutant::RefusedIsChargedToBurst) && has_burst_room {
                account.burst.charge(now.monotonic);
            }
            return Decision {
                admission: Admission::Refused(refusal),
                crossing: account.crossings.observe(before.daily_used, limits.requests_per_day),
                reserve_ahead: false,
                policy,
            };
        }
        if account.unspent == 0 {
            return Decision::only(Admission::NeedsLedger);
        }
        account.unspent -= 1;
        account.on_disk = OnDisk::Behind;
        account.day.charge(1);
        account.burst.charge(now.monotonic);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let after = account.standing(limits, self.concurrent(), now);
        Decision {
            admission: Admission::Admitted(Some(Permit(Arc::clone(self))), after),
            crossing: account.crossings.observe(after.daily_used, limits.requests_per_day),
            reserve_ahead: account.wants_reservation(limits),
            policy,
        }
    }

    /// Counts a refusal by somebody else, at the tenant's pace of refusals. How long its answer is to be held back.
    #[must_use]
    pub fn refused_elsewhere(&self, now: Now) -> Duration {
        match &mut *self.phase.lock() {
            Phase::Ready(account) => account.refusals.refuse(now.monotonic),
            Phase::Unloaded | Phase::Loading | Phase::Gone => Duration::ZERO,
        }
    }

    /// Limits and use, without charging; `None` before the ledger is read.
    #[must_use]
    pub fn standing(&self, now: Now, limits: &RequestLimits) -> Option<Standing> {
        match &mut *self.phase.lock() {
            Phase::Ready(account) => {
                account.advance(now, limits);
                Some(account.standing(limits, self.concurrent(), now))
            }
            _ => None,
        }
    }

    /// What has to be done so that a request can be decided. `Do` is handed out to one caller, who must report.
    pub(super) fn next_step(&self, now: Now, boot: Boot, limits: &RequestLimits) -> NextStep {
        let mut phase = self.phase.lock();
        match &mut *phase {
            Phase::Unloaded => {
                *phase = Phase::Loading;
                NextStep::Do(LedgerWork::Read)
            }
            Phase::Loading => NextStep::AwaitOutcome,
            Phase::Gone => NextStep::AskAgain,
            Phase::Ready(account) => match account.work {
                Work::Closing => NextStep::AwaitOutcome,
                Work::Reserving(_) if account.unspent == 0 => NextStep::AwaitOutcome,
                Work::Reserving(_) => NextStep::AskAgain,
                Work::Idle => {
                    account.advance(now, limits);
                    if !account.wants_reservation(limits) {
                        return NextStep::AskAgain;
                    }
                    let more = account.missing_reservation(limits);
                    account.work = Work::Reserving(more);
                    if mutated(Mutant::AdmitsBeforeWrite) {
                        account.unspent += more;
                        account.work = Work::Reserving(0);
                    }
                    account.on_disk = OnDisk::Behind;
                    let unspent = account.unspent - if mutated(Mutant::AdmitsBeforeWrite) { more } else { 0 };
                    let record = account.record(self.uid, now, boot, unspent + more);
                    NextStep::Do(LedgerWork::Write(record))
                }
            },
        }
    }

    /// Reports what `LedgerWork::Read` found. A corrupt ledger makes another piece of work: to write a good one.
    pub(super) fn loaded(
        &self,
        found: &FoundLedger,
        now: Now,
        boot: Boot,
        limits: &RequestLimits,
    ) -> Option<LedgerWork> {
        let mut account = Account::new(found, now, boot, limits);
        let follow_up = matches!(found, FoundLedger::Corrupt).then(|| {
            account.work = Work::Reserving(0);
            LedgerWork::Write(account.record(self.uid, now, boot, 0))
        });
        *self.phase.lock() = Phase::Ready(Box::new(account));
        if follow_up.is_none() {
            self.ledger_work.send_replace(LedgerOutcome::Done);
        }
        follow_up
    }

    /// Reports that `LedgerWork::Read` could not be done.
    pub(super) fn load_failed(&self) {
        *self.phase.lock() = Phase::Unloaded;
        self.ledger_work.send_replace(LedgerOutcome::Failed);
    }

    /// Reports how `LedgerWork::Write` ended.
    pub(super) fn reserved(&self, outcome: LedgerOutcome) {
        if let Phase::Ready(account) = &mut *self.phase.lock()
            && let Work::Reserving(more) = account.work
        {
            account.work = Work::Idle;
            if outcome == LedgerOutcome::Done {
                account.unspent += more;
            }
        }
        if !mutated(Mutant::WaiterForgotten) {
            self.ledger_work.send_replace(outcome);
        }
    }

    /// Stops admitting. The record to be written, exact and without a reservation; `Ok(None)` when it is on disk already.
    ///
    /// # Errors
    /// When there is nothing to close now: no state is loaded, or a write is under way.
    pub(super) fn begin_close(&self, now: Now, boot: Boot) -> Result<Option<LedgerRecord>, NothingToClose> {
        self.close_in(&mut self.phase.lock(), now, boot)
    }

    /// As [`Self::begin_close`], for a tenant that serves nothing and had no request for `quiet`.
    ///
    /// # Errors
    /// When it is not so, or there is nothing to close now.
    pub(super) fn begin_forget(
        &self,
        now: Now,
        boot: Boot,
        quiet: Duration,
    ) -> Result<Option<LedgerRecord>, NothingToClose> {
        let mut phase = self.phase.lock();
        // Under the lock, so that no request comes between the look and the close: its place would be forgotten.
        if !self.is_idle_in(&phase, now, quiet) && !mutated(Mutant::ForgottenWhileServing) {
            return Err(NothingToClose);
        }
        self.close_in(&mut phase, now, boot)
    }

    fn close_in(&self, phase: &mut Phase, now: Now, boot: Boot) -> Result<Option<LedgerRecord>, NothingToClose> {
        match phase {
            Phase::Ready(account) if account.work == Work::Idle => {
                account.work = Work::Closing;
                account.day.advance(account.time_millis(now));
                Ok((account.on_disk == OnDisk::Behind).then(|| {
                    let mut record = account.record(self.uid, now, boot, 0);
                    if mutated(Mutant::CloseForgetsLatest) {
                        record.buckets.pop();
                    }
                    record
                }))
            }
            Phase::Unloaded => {
                *phase = Phase::Gone;
                Ok(None)
            }
            _ => Err(NothingToClose),
        }
    }

    /// Reports how the write of a close ended. After a failure the tenant is served on, within its old reservation.
    pub(super) fn closed(&self, outcome: LedgerOutcome) {
        let mut phase = self.phase.lock();
        match (&mut *phase, outcome) {
            (Phase::Ready(account), LedgerOutcome::Failed) => {
                account.work = Work::Idle;
                // The write may have reached the disk before it failed: without any reservation.
                if !mutated(Mutant::FailedCloseKeepsReservation) {
                    account.unspent = 0;
                }
                account.on_disk = OnDisk::Behind;
            }
            _ => *phase = Phase::Gone,
        }
        drop(phase);
        self.ledger_work.send_replace(outcome);
    }

    /// Whether no request is being served and none came for `quiet`.
    pub(super) fn is_idle(&self, now: Now, quiet: Duration) -> bool {
        self.is_idle_in(&self.phase.lock(), now, quiet)
    }

    fn is_idle_in(&self, phase: &Phase, now: Now, quiet: Duration) -> bool {
        self.concurrent() == 0
            && match phase {
                Phase::Ready(account) => {
                    account.work == Work::Idle && now.monotonic.saturating_sub(account.last_request) >= quiet
                }
                Phase::Unloaded => true,
                Phase::Loading | Phase::Gone => false,
            }
    }
}

/// There is no state that could be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NothingToClose;

impl Decision {
    const fn only(admission: Admission) -> Self {
        Self {
            admission,
            crossing: None,
            reserve_ahead: false,
            policy: None,
        }
    }
}

impl Account {
    fn new(found: &FoundLedger, now: Now, boot: Boot, limits: &RequestLimits) -> Self {
        let (origin_millis, day) = match found {
            FoundLedger::Record(_) if mutated(Mutant::RestartForgets) => {
                (now.wall.0, RollingDay::starting_at(now.wall.0))
            }
            FoundLedger::Corrupt if mutated(Mutant::DamagedIsFresh) => {
                (now.wall.0, RollingDay::starting_at(now.wall.0))
            }
            FoundLedger::Missing => (now.wall.0, RollingDay::starting_at(now.wall.0)),
            FoundLedger::Corrupt => {
                let mut day = RollingDay::starting_at(now.wall.0);
                day.charge(limits.requests_per_day);
                (now.wall.0, day)
            }
            FoundLedger::Record(record) => {
                let time = record.time_millis.saturating_add(elapsed_millis(record, now, boot));
                let mut day = RollingDay::from_buckets(record.time_millis, record.buckets.iter().copied());
                day.advance(time);
                if !mutated(Mutant::ReservationNotRead) {
                    day.charge(record.reserved);
                }
                (time, day)
            }
        };
        let mut crossings = CrossingDetector::new(QuotaKind::RequestsPerDay);
        crossings.resume(day.used(), limits.requests_per_day);
        let exact = matches!(found, FoundLedger::Record(record) if record.reserved == 0);
        Self {
            origin_millis,
            loaded_at: now.monotonic,
            day,
            burst: BurstLimit::default(),
            refusals: RefusalPace::default(),
            policy: (*limits, policy_field(limits)),
            crossings,
            unspent: 0,
            work: Work::Idle,
            on_disk: if exact { OnDisk::Exact } else { OnDisk::Behind },
            last_request: now.monotonic,
        }
    }

    fn time_millis(&self, now: Now) -> u64 {
        self.origin_millis
            .saturating_add(millis(now.monotonic.saturating_sub(self.loaded_at)))
    }

    fn advance(&mut self, now: Now, limits: &RequestLimits) {
        self.day.advance(self.time_millis(now));
        self.burst.set(limits.burst, now.monotonic);
        if self.policy.0 != *limits {
            if mutated(Mutant::ChangedLimitRefills) {
                self.day = RollingDay::starting_at(self.time_millis(now));
            }
            self.policy = (*limits, policy_field(limits));
        }
    }

    fn standing(&self, limits: &RequestLimits, concurrent: u32, now: Now) -> Standing {
        let daily_limit = limits.requests_per_day;
        let daily_used = self.day.used();
        Standing {
            daily_limit,
            daily_used,
            daily_wait: if daily_used < daily_limit {
                self.day.wait_for_next_departure()
            } else {
                self.day.wait_for_room(daily_limit)
            },
            burst: limits.burst.and_then(|limit| {
                self.burst.room(now.monotonic).map(|room| BurstStanding {
                    limit,
                    remaining: room.remaining,
                    wait: room.wait,
                })
            }),
            concurrent_limit: limits.concurrent_requests,
            concurrent,
        }
    }

    fn wants_reservation(&self, limits: &RequestLimits) -> bool {
        self.work == Work::Idle && self.unspent <= reservation(limits) / 2 && self.missing_reservation(limits) > 0
    }

    /// How much a full reservation lacks, within what the daily limit has left.
    fn missing_reservation(&self, limits: &RequestLimits) -> u64 {
        let room = limits.requests_per_day.saturating_sub(self.day.used());
        reservation(limits).min(room).saturating_sub(self.unspent)
    }

    fn record(&self, tenant: TenantUid, now: Now, boot: Boot, reserved: u64) -> LedgerRecord {
        LedgerRecord {
            tenant,
            time_millis: self.time_millis(now),
            wall: now.wall,
            boot,
            monotonic_millis: millis(now.monotonic),
            reserved,
            buckets: self.day.buckets().collect(),
        }
    }
}

fn reservation(limits: &RequestLimits) -> u64 {
    let bigger = if mutated(Mutant::ReservationTooBig) { 10 } else { 1 };
    let part = limits.requests_per_day / (RESERVATIONS_PER_DAY / bigger);
    if part == 0 { 1 } else { part }
}

/// How long ago the record was written, as far as that is known; never more.
fn elapsed_millis(record: &LedgerRecord, now: Now, boot: Boot) -> u64 {
    let elapsed = match (record.boot, boot) {
        (Boot::Known(then), Boot::Known(present)) if then == present && !mutated(Mutant::WallClockBelieved) => {
            millis(now.monotonic).saturating_sub(record.monotonic_millis)
        }
        _ => now.wall.0.saturating_sub(record.wall.0),
    };
    // Both readings are cut to milliseconds, so that what lies between them may be one less.
    elapsed.saturating_sub(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
