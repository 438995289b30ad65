//! The order in which tenants' jobs run: start-time fair queueing over the time that each tenant has used, divided by its weight. Pure: no
//! threads, no clock.
//!
//! Every tenant has a virtual time, which grows by `time used / weight`. Of those who have something to run, the one with the least
//! virtual time is next. Whoever comes back after a pause begins at the present virtual time, so that nobody saves up for a rush; a debt is
//! kept until the others have caught up. Jobs that have run for long already, or are expected to, may take a limited number of the places
//! only, so that a short job of anybody finds one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use tenantry_types::TenantUid;

use super::Account;
use super::expectation::{Class, Expectation};
use crate::lane::{ByLane, Lane};

/// Nanoseconds of running time, divided by the weight. Scaled so that a weight of 20 loses no precision that matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct VirtualTime(u64);

impl VirtualTime {
    const SCALE: u64 = 64;

    fn after(self, ran: Duration, weight: u32) -> Self {
        let nanos = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        Self(
            self.0
                .saturating_add(nanos.saturating_mul(Self::SCALE) / u64::from(weight.max(1))),
        )
    }
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Jobs that run at a moment.
    pub(super) places: usize,
    /// While so many jobs run that do not wait for a disk, another one is not begun at once: one of them ends in a moment and its
    /// thread goes on with it, without a thread being woken.
    pub(super) eager_places: usize,
    /// Of these, jobs of [`Class::Long`].
    pub(super) long_places: usize,
    /// Jobs of one tenant that have begun and not ended, running or not.
    pub(super) begun_per_tenant: usize,
    /// Jobs of one tenant that have left for the time being, and do not count as begun meanwhile.
    pub(super) away_per_tenant: usize,
    /// Jobs that wait to begin, of all tenants.
    pub(super) waiting: usize,
    /// Jobs that wait to begin, of one tenant.
    pub(super) waiting_per_tenant: usize,
}

/// Of which classes a job may begin, those for which there is a thread, and for whom: tenants of the lanes that take their results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MayBegin {
    pub(super) short: bool,
    pub(super) long: bool,
    pub(super) lanes: ByLane<bool>,
}

impl MayBegin {
    pub(super) const NOTHING: Self = Self {
        short: false,
        long: false,
        lanes: ByLane::both(false),
    };
    #[cfg(test)]
    pub(super) const ANYTHING: Self = Self {
        short: true,
        long: true,
        lanes: ByLane::both(true),
    };

    const fn class(self, class: Class) -> bool {
        match class {
            Class::Short => self.short,
            Class::Long => self.long,
        }
    }
}

/// Whether other tenants have jobs, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// All jobs of late were short ones of one tenant, which uses much of the node.
    Alone,
    Others,
}

/// A job that begins, when it was queued, and the class in which it begins: the one that it is expected to be of.
#[derive(Debug)]
pub(super) struct Begun<J> {
    pub(super) account: Account,
    pub(super) job: J,
    pub(super) since: Instant,
    pub(super) class: Class,
    pub(super) company: Company,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next<J> {
    /// A job begins.
    Begin(Begun<J>),
    /// The thread with that number goes on with the job that it had begun.
    Resume { thread: usize },
}

/// There is no room for another waiting job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// A job that gave up its place and wants one again.
#[derive(Debug, Clone, Copy)]
struct Paused {
    thread: usize,
    class: Class,
}

#[derive(Debug)]
struct Tenant<J> {
    weight: u32,
    /// Whose workers take the results of its jobs.
    lane: Lane,
    time: VirtualTime,
    waiting: VecDeque<(J, Instant)>,
    paused: VecDeque<Paused>,
    begun: usize,
    /// Of the begun ones, those that have left for the time being.
    away: usize,
    expectation: Expectation,
}

impl<J> Tenant<J> {
    fn may_begin(&self, limits: &Limits, long_may_run: bool) -> bool {
        !self.waiting.is_empty()
            && self.begun - self.away.min(limits.away_per_tenant) < limits.begun_per_tenant
            && (long_may_run || self.expectation.class() == Class::Short)
    }

    /// Whether it has something for a place for long jobs.
    fn wants_long_place(&self, limits: &Limits) -> bool {
        self.paused.iter().any(|paused| paused.class == Class::Long)
            || (self.expectation.class() == Class::Long && self.may_begin(limits, true))
    }

    fn may_resume(&self, long_may_run: bool) -> bool {
        self.paused
            .iter()
            .any(|paused| paused.class == Class::Short || long_may_run)
    }
}

/// Everybody's jobs.
#[derive(Debug)]
pub(super) struct Queue<J> {
    limits: Limits,
    tenants: HashMap<TenantUid, Tenant<J>>,
    /// The tenants that have something waiting or paused, by virtual time.
    due: BTreeSet<(VirtualTime, TenantUid)>,
    /// The virtual time of the tenant that was chosen last. Never goes back.
    now: VirtualTime,
    /// Jobs that wait to begin, of the tenants of each lane.
    waiting: ByLane<usize>,
    running: usize,
    running_long: usize,
    /// Jobs that want a place again.
    paused: usize,
    /// Tenants of which long jobs are expected.
    expecting_long: usize,
    /// Of the running ones, those that are about to wait for a disk.
    blocking: usize,
}

impl<J> Queue<J> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            tenants: HashMap::new(),
            due: BTreeSet::new(),
            now: VirtualTime::default(),
            waiting: ByLane::both(0),
            running: 0,
            running_long: 0,
            paused: 0,
            expecting_long: 0,
            blocking: 0,
        }
    }

    /// Whether a thread that runs will come by for a short job that waits. One that is about to wait for a disk will not, nor one with a long job.
    pub(super) const fn is_attended(&self) -> bool {
        self.running.saturating_sub(self.blocking + self.running_long) >= self.limits.eager_places
    }

    /// Whether all jobs since the idle ones were forgotten last are one tenant's.
    pub(super) fn has_one_tenant(&self) -> bool {
        self.tenants.len() <= 1
    }

    /// Behind a long job, whoever displaces nobody would wait for long.
    fn has_only_short_jobs_of_one_tenant(&self) -> bool {
        self.has_one_tenant() && self.running_long == 0 && self.expecting_long == 0
    }

    /// A running job is about to wait for a disk.
    pub(super) const fn begin_blocking(&mut self) {
        self.blocking += 1;
    }

    /// It waits no more.
    pub(super) const fn end_blocking(&mut self) {
        self.blocking -= 1;
    }

    /// Adds a job whose result is for a task of `lane`, unless there are too many.
    ///
    /// # Errors
    /// Gives the job back when the node or the tenant has too many waiting ones.
    pub(super) fn push(&mut self, account: Account, lane: Lane, job: J, now: Instant) -> Result<(), (Full, J)> {
        let own = self
            .tenants
            .get(&account.tenant)
            .map_or(0, |tenant| tenant.waiting.len());
        if self.waiting() >= self.limits.waiting || own >= self.limits.waiting_per_tenant {
            return Err((Full, job));
        }
        self.push_unbounded(account, job, now);
        self.move_to(account.tenant, lane);
        Ok(())
    }

    /// Adds a job that must not be refused.
    pub(super) fn push_unbounded(&mut self, account: Account, job: J, now: Instant) {
        let lane = self.change(account, |tenant| {
            tenant.waiting.push_back((job, now));
            tenant.lane
        });
        *self.waiting.of_mut(lane) += 1;
    }

    /// Jobs that have a place.
    pub(super) const fn running(&self) -> usize {
        self.running
    }

    /// Jobs that wait to begin.
    pub(super) const fn waiting(&self) -> usize {
        *self.waiting.of(Lane::Quiet) + *self.waiting.of(Lane::Busy)
    }

    /// Lanes whose tenants have any.
    pub(super) fn lanes_that_wait(&self) -> ByLane<bool> {
        ByLane::each(|lane| *self.waiting.of(lane) > 0)
    }

    /// Whether a job of that class would begin for tenants of `lanes`, if there were a thread for it.
    pub(super) fn would_begin(&self, class: Class, lanes: ByLane<bool>) -> bool {
        let long_may_run = self.long_may_run();
        let is_possible = match class {
            Class::Short => true,
            Class::Long => long_may_run && self.expecting_long > 0,
        };
        is_possible
            && self.running < self.limits.places
            && self.due.iter().any(|(_, uid)| {
                let tenant = self.tenants.get(uid);
                tenant.is_some_and(|tenant| {
                    *lanes.of(tenant.lane)
                        && tenant.expectation.class() == class
                        && tenant.may_begin(&self.limits, long_may_run)
                })
            })
    }

    /// Whether something waits for a place or for a thread.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Who is next, and whether a job of theirs begins.
    fn choose(&self, may_begin: MayBegin) -> Option<(VirtualTime, TenantUid, bool)> {
        let long_may_begin = may_begin.long && self.expecting_long > 0;
        if self.running >= self.limits.places || !(may_begin.short || long_may_begin || self.paused > 0) {
            return None;
        }
        let long_may_run = self.long_may_run();
        self.due.iter().find_map(|(time, uid)| {
            let tenant = self.tenants.get(uid)?;
            // What has begun holds locks and memory: it goes first.
            if tenant.may_resume(long_may_run) {
                return Some((*time, *uid, false));
            }
            let begins = *may_begin.lanes.of(tenant.lane)
                && may_begin.class(tenant.expectation.class())
                && tenant.may_begin(&self.limits, long_may_run);
            begins.then_some((*time, *uid, true))
        })
    }

    /// Takes what is next, if a place is free.
    pub(super) fn next(&mut self, may_begin: MayBegin) -> Option<Next<J>> {
        let (time, uid, begins) = self.choose(may_begin)?;
        let (long_may_run, is_alone) = (self.long_may_run(), self.has_only_short_jobs_of_one_tenant());
        self.now = self.now.max(time);
        self.running += 1;
        let tenant = self.tenants.get_mut(&uid)?;
        let next = if begins {
            let (job, since) = tenant.waiting.pop_front()?;
            tenant.begun += 1;
            *self.waiting.of_mut(tenant.lane) -= 1;
            let (weight, class) = (tenant.weight, tenant.expectation.class());
            if class == Class::Long {
                self.running_long += 1;
            }
            Next::Begin(Begun {
                account: Account { tenant: uid, weight },
                job,
                since,
                class,
                company: match (is_alone, tenant.lane) {
                    (true, Lane::Busy) => Company::Alone,
                    (true, Lane::Quiet) | (false, _) => Company::Others,
                },
            })
        } else {
            let position = tenant
                .paused
                .iter()
                .position(|paused| paused.class == Class::Short || long_may_run)?;
            let paused = tenant.paused.remove(position)?;
            self.paused -= 1;
            if paused.class == Class::Long {
                self.running_long += 1;
            }
            Next::Resume { thread: paused.thread }
        };
        if tenant.waiting.is_empty() && tenant.paused.is_empty() {
            self.due.remove(&(time, uid));
        }
        Some(next)
    }

    /// Puts a job back that was to begin and for which no thread could be had, in front of its tenant's others.
    pub(super) fn put_back(&mut self, begun: Begun<J>) {
        self.free_place(begun.class);
        let lane = self.change(begun.account, |tenant| {
            tenant.begun -= 1;
            tenant.waiting.push_front((begun.job, begun.since));
            tenant.lane
        });
        *self.waiting.of_mut(lane) += 1;
    }

    /// Whether a running job of that tenant has to make room: somebody who is due before it has no place.
    pub(super) fn must_give_way(&self, tenant: TenantUid, class: Class) -> bool {
        let is_long = class == Class::Long;
        if is_long && self.running_long > self.limits.long_places {
            return true;
        }
        let (full, full_of_long) = (self.running >= self.limits.places, is_long && !self.long_may_run());
        if !full && !full_of_long {
            return false;
        }
        // What the place would be free for.
        let long_would_run = is_long || self.long_may_run();
        let wants_place = |other: &Tenant<J>| match full {
            true => other.may_resume(long_would_run) || other.may_begin(&self.limits, long_would_run),
            false => other.wants_long_place(&self.limits),
        };
        let own = self.tenants.get(&tenant).map_or(self.now, |tenant| tenant.time);
        self.due
            .iter()
            .take_while(|(time, _)| *time < own)
            .filter_map(|(_, uid)| self.tenants.get(uid))
            .any(wants_place)
    }

    /// What class the next job of a tenant would begin in.
    pub(super) fn expected(&self, tenant: TenantUid) -> Class {
        self.tenants
            .get(&tenant)
            .map_or(Class::Short, |tenant| tenant.expectation.class())
    }

    /// Notes what a job of the tenant was like, now that it has ended.
    pub(super) fn learn(&mut self, tenant: TenantUid, class: Class) {
        let Some(tenant) = self.tenants.get_mut(&tenant) else {
            return;
        };
        let was_long = tenant.expectation.class() == Class::Long;
        tenant.expectation.learn(class);
        let is_long = tenant.expectation.class() == Class::Long;
        self.expecting_long = self.expecting_long + usize::from(is_long) - usize::from(was_long);
    }

    const fn long_may_run(&self) -> bool {
        self.running_long < self.limits.long_places
    }

    /// Notes that a running job has run for so long that it counts as long from now on.
    pub(super) fn becomes_long(&mut self) {
        self.running_long += 1;
    }

    /// Puts the time that a job of the account has run on its account.
    pub(super) fn charge(&mut self, account: Account, ran: Duration) {
        self.change(account, |tenant| tenant.time = tenant.time.after(ran, tenant.weight));
    }

    /// A running job gives up its place and wants one again.
    pub(super) fn pause(&mut self, account: Account, thread: usize, class: Class) {
        self.free_place(class);
        self.paused += 1;
        self.change(account, |tenant| tenant.paused.push_back(Paused { thread, class }));
    }

    /// A running job gives up its place for the time being.
    pub(super) fn leave(&mut self, account: Account, class: Class) {
        self.free_place(class);
        self.change(account, |tenant| tenant.away += 1);
    }

    /// A job that had left wants a place again.
    pub(super) fn come_back(&mut self, account: Account, thread: usize, class: Class) {
        self.paused += 1;
        self.change(account, |tenant| {
            tenant.away -= 1;
            tenant.paused.push_back(Paused { thread, class });
        });
    }

    const fn free_place(&mut self, class: Class) {
        self.running -= 1;
        if matches!(class, Class::Long) {
            self.running_long -= 1;
        }
    }

    /// A running job has ended.
    pub(super) fn end(&mut self, account: Account, class: Class) {
        self.free_place(class);
        self.change(account, |tenant| tenant.begun -= 1);
    }

    /// Forgets tenants that have nothing to run and owe nothing.
    pub(super) fn forget_idle(&mut self) {
        let now = self.now;
        let mut expecting_long = 0;
        self.tenants.retain(|_, tenant| {
            let is_idle =
                tenant.begun == 0 && tenant.waiting.is_empty() && tenant.paused.is_empty() && tenant.time <= now;
            expecting_long += usize::from(!is_idle && tenant.expectation.class() == Class::Long);
            !is_idle
        });
        self.expecting_long = expecting_long;
    }

    /// Takes out the jobs that have waited to begin since before `since`.
    pub(super) fn take_waiting_since_before(&mut self, since: Instant) -> Vec<J> {
        let mut taken = Vec::new();
        let late: Vec<TenantUid> = self
            .tenants
            .iter()
            .filter(|(_, tenant)| tenant.waiting.front().is_some_and(|(_, queued)| *queued < since))
            .map(|(uid, _)| *uid)
            .collect();
        for uid in late {
            let Some(tenant) = self.tenants.get_mut(&uid) else {
                continue;
            };
            while tenant.waiting.front().is_some_and(|(_, queued)| *queued < since) {
                taken.extend(tenant.waiting.pop_front().map(|(job, _)| job));
                *self.waiting.of_mut(tenant.lane) -= 1;
            }
            if tenant.waiting.is_empty() && tenant.paused.is_empty() {
                self.due.remove(&(tenant.time, uid));
            }
        }
        taken
    }

    /// The tenant's connections are in that lane now.
    fn move_to(&mut self, tenant: TenantUid, lane: Lane) {
        if let Some(tenant) = self.tenants.get_mut(&tenant)
            && tenant.lane != lane
        {
            *self.waiting.of_mut(tenant.lane) -= tenant.waiting.len();
            *self.waiting.of_mut(lane) += tenant.waiting.len();
            tenant.lane = lane;
        }
    }

    /// Changes a tenant and keeps `due` true.
    fn change<T>(&mut self, account: Account, change: impl FnOnce(&mut Tenant<J>) -> T) -> T {
        let now = self.now;
        let tenant = self.tenants.entry(account.tenant).or_insert_with(|| Tenant {
            weight: account.weight,
            lane: Lane::Quiet,
            time: now,
            waiting: VecDeque::new(),
            paused: VecDeque::new(),
            begun: 0,
            away: 0,
            expectation: Expectation::default(),
        });
        let was_due = !tenant.waiting.is_empty() || !tenant.paused.is_empty();
        let before = tenant.time;
        tenant.weight = account.weight;
        if !was_due && tenant.begun == 0 {
            // Idle time is not saved up.
            tenant.time = tenant.time.max(now);
        }
        let changed = change(tenant);
        let is_due = !tenant.waiting.is_empty() || !tenant.paused.is_empty();
        let after = tenant.time;
        if was_due && (before != after || !is_due) {
            self.due.remove(&(before, account.tenant));
        }
        if is_due && (before != after || !was_due) {
            self.due.insert((after, account.tenant));
        }
        changed
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
