//! The threads that run SQL. There are as many as have a job that has begun, and a few idle ones; how many of them run at a moment is the
//! queue's to say.
//!
//! Waking a thread costs more than a short query. So a job that comes while the cores are busy is left to the threads that run; a watch
//! sees to it that somebody else takes it where they do not come back in time.
//!
//! A thread whose job became a long one has been given a lower priority by then, which an ordinary process cannot take back. From then on
//! it is for jobs that are expected to be long, and others are started for the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Account;
use super::delivery::{Deliveries, Delivery};
use super::expectation::Class;
use super::job::{Job, Turn};
use super::meter::Charge;
use super::priority;
use super::queue::{Begun, Limits, MayBegin, Next, Queue};
use super::running::{self, Current, Purpose};
use super::slot::{Assigned, Assignment, Slot};
use super::state::{Priority, State, Thread};
use crate::database::{DatabaseError, StartError};
use crate::lane::{ByLane, Lane};
use crate::thread_slices::niceness;

/// A full queue drains within this, as a rule.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So many times as many results may be under way while there is no other tenant to be fair to. A thread that can go on is not woken again.
const ALONE: usize = 8;
/// So often a lowered thread tries before it stands in the row for the lock after all, and this long it waits in between.
const LOOKS_BEFORE_ROW: u32 = 16;
const BETWEEN_LOOKS: Duration = Duration::from_micros(20);

/// Settings of [`DatabaseThreads`].
#[derive(Debug, Clone, Copy)]
pub(in crate::database) struct ThreadsConfig {
    /// Jobs that run at a moment.
    pub(in crate::database) places: usize,
    /// As many of them as should be filled at once, even if a thread has to be woken for it: one for each core.
    pub(in crate::database) eager_places: usize,
    /// Of these, jobs that have run for longer than `long_after`, or are expected to.
    pub(in crate::database) long_places: usize,
    /// Jobs of one tenant that have begun and not ended, those included that made room for others.
    pub(in crate::database) begun_per_tenant: usize,
    /// Beside these, jobs of one tenant that wait for something outside.
    pub(in crate::database) away_per_tenant: usize,
    /// Results that wait for the tasks that asked for them, beyond which nothing new begins.
    pub(in crate::database) most_undelivered: usize,
    /// Threads in all: jobs of all tenants that have begun and not ended.
    pub(in crate::database) most_threads: usize,
    /// Jobs that wait to begin, in all; of one tenant, a quarter of that.
    pub(in crate::database) waiting: usize,
    /// A job that has waited this long to begin is refused.
    pub(in crate::database) patience: Duration,
    /// After so long a job makes room for one that is due before it.
    pub(in crate::database) slice: Duration,
    /// A job that has run for this long is a long one.
    pub(in crate::database) long_after: Duration,
}

/// Owns the threads.
pub(in crate::database) struct DatabaseThreads {
    shared: Arc<Shared>,
    /// Lets jobs begin that were held back.
    resume: Arc<dyn Fn() + Send + Sync>,
    watch: Mutex<Option<JoinHandle<()>>>,
}

/// Why work did not run to its end.
#[derive(Debug)]
pub(in crate::database) struct NotRun<S> {
    pub(in crate::database) error: DatabaseError,
    /// What it would have worked with, where it was not begun.
    pub(in crate::database) state: Option<S>,
}

pub(super) struct Shared {
    pub(super) config: ThreadsConfig,
    deliveries: Arc<Deliveries>,
    pub(super) state: Mutex<State>,
    /// Held by the one lowered thread that waits for the lock.
    lowered_row: Mutex<()>,
    /// Told when a thread has ended.
    pub(super) ended: Condvar,
    /// Told when there is something for the watch.
    pub(super) call_watch: Condvar,
    /// Is told what tenants use of the processor.
    pub(super) charge: Box<Charge>,
    /// What threads have before their priority is lowered, as `nice` has it. Whoever runs the node may change it for all of them.
    ordinary_priority: AtomicI32,
}

impl DatabaseThreads {
    /// Starts the first thread, so that a machine that cannot have any says so now. `charge` is told on these threads what tenants use of the processor.
    pub(in crate::database) fn start(config: ThreadsConfig, charge: Box<Charge>) -> Result<Self, StartError> {
        let places = config.places.max(1);
        let config = ThreadsConfig {
            places,
            long_places: config.long_places.clamp(1, places),
            ..config
        };
        let limits = Limits {
            places,
            eager_places: config.eager_places.max(1),
            long_places: config.long_places,
            begun_per_tenant: config.begun_per_tenant.max(1),
            away_per_tenant: config.away_per_tenant,
            waiting: config.waiting,
            waiting_per_tenant: config.waiting.div_ceil(4),
        };
        let shared = Arc::new(Shared {
            config,
            deliveries: Arc::default(),
            state: Mutex::new(State::new(Queue::new(limits))),
            lowered_row: Mutex::new(()),
            ended: Condvar::new(),
            call_watch: Condvar::new(),
            charge,
            ordinary_priority: AtomicI32::new(niceness()),
        });
        let mut state = shared.lock();
        shared
            .spawn(&mut state, Priority::Ordinary, None)
            .map_err(|(error, _)| StartError::Thread(error))?;
        drop(state);
        let watching = Arc::clone(&shared);
        let watch = std::thread::Builder::new()
            .name("database-watch".to_owned())
            .spawn(move || watching.watch())
            .map_err(StartError::Thread)?;
        let resuming = Arc::downgrade(&shared);
        let resume = Arc::new(move || {
            if let Some(shared) = resuming.upgrade() {
                let state = shared.lock();
                match state.is_looked_at(Instant::now()) {
                    true => shared.hand_out_long(state),
                    false => shared.hand_out(state),
                }
            }
        });
        Ok(Self {
            shared,
            resume,
            watch: Mutex::new(Some(watch)),
        })
    }

    /// Runs `work` on a database thread. If the caller stops waiting after it has begun, it still runs to its end, and its result is
    /// dropped on that thread.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full or the wait was too long, `Stopping` after [`Self::stop`], `Crashed` when `work` panicked.
    pub(in crate::database) async fn run<T: Send + 'static>(
        &self,
        account: Account,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let ran = self.run_with(account, (), |()| work()).await;
        ran.map_err(|not_run| not_run.error)
    }

    /// The same for `work` that takes `state`, which is given back where the work was not begun.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(in crate::database) async fn run_with<S: Send + 'static, T: Send + 'static>(
        &self,
        account: Account,
        state: S,
        work: impl FnOnce(S) -> T + Send + 'static,
    ) -> Result<T, NotRun<S>> {
        let (deliveries, resume) = (Arc::clone(&self.shared.deliveries), Arc::clone(&self.resume));
        let lane = Lane::here();
        let (job, outcome) = Job::new(move |turn| {
            let result = match turn {
                Turn::Run => Ok(work(state)),
                Turn::Refused => Err(state),
            };
            Delivery::new(result, lane, &deliveries, &resume)
        });
        let refused_at_once = self.shared.push(account, lane, job).err();
        match outcome.await.and_then(Delivery::take) {
            Some(Ok(output)) => Ok(output),
            Some(Err(state)) => Err(NotRun {
                error: refused_at_once.unwrap_or_else(|| overloaded("database thread")),
                state: Some(state),
            }),
            None => Err(NotRun {
                error: DatabaseError::Crashed,
                state: None,
            }),
        }
    }

    /// Runs clean-up work that must not be refused, such as a rollback. Bounded by the number of open connections. After
    /// [`Self::stop`] it runs on the calling thread.
    pub(in crate::database) fn clean_up(&self, account: Account, work: impl FnOnce() + Send + 'static) {
        self.run_unattended(account, move || {
            running::is_errand();
            work();
        });
    }

    /// The same for queries that somebody waits for in another way.
    pub(in crate::database) fn run_unattended(&self, account: Account, work: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.lock();
        if state.stopping {
            drop(state);
            work();
        } else {
            let now = Instant::now();
            state.queue.push_unbounded(account, Job::unattended(work), now);
            self.shared.attend(state, account, now);
        }
    }

    /// Refuses the jobs that have waited too long, which only happens while no place becomes free, and forgets tenants that are idle.
    pub(in crate::database) fn refuse_late(&self, now: Instant) {
        let mut state = self.shared.lock();
        state.queue.forget_idle();
        let late = now
            .checked_sub(self.shared.config.patience)
            .map(|since| state.queue.take_waiting_since_before(since));
        drop(state);
        for job in late.into_iter().flatten() {
            job.run(Turn::Refused);
        }
    }

    /// Takes no further jobs, runs those that wait, and returns when all threads have ended. Blocks.
    pub(in crate::database) fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        let ending = state.end_idle(Instant::now());
        drop(state);
        ending.into_iter().for_each(Assignment::hand_over);
        self.shared.call_watch.notify_one();
        let mut state = self.shared.lock();
        if std::mem::take(&mut state.wants_thread) {
            // The watch ends, too.
            self.shared.hand_out(state);
            state = self.shared.lock();
        }
        while state.alive > 0 {
            self.shared.ended.wait(&mut state);
        }
        drop(state);
        if let Some(watch) = self.watch.lock().take()
            && watch.join().is_err()
        {
            tracing::error!("the watch over the database threads panicked");
        }
    }
}

fn overloaded(what: &'static str) -> DatabaseError {
    DatabaseError::Overloaded {
        what,
        retry_after: RETRY_AFTER,
    }
}

impl Shared {
    /// Queues a job. One that is refused at once has been told so.
    fn push(self: &Arc<Self>, account: Account, lane: Lane, job: Job) -> Result<(), DatabaseError> {
        let now = Instant::now();
        let mut state = self.lock();
        let (error, job) = if state.stopping {
            (DatabaseError::Stopping, job)
        } else {
            match state.queue.push(account, lane, job, now) {
                Ok(()) => {
                    self.attend(state, account, now);
                    return Ok(());
                }
                Err((_full, job)) => (overloaded("place in the queue of its database threads"), job),
            }
        };
        // What it owns may take the lock when it is dropped.
        drop(state);
        job.run(Turn::Refused);
        Err(error)
    }

    /// Sees to it that a job that has just been queued is run.
    fn attend(self: &Arc<Self>, state: MutexGuard<'_, State>, account: Account, now: Instant) {
        if state.queue.expected(account.tenant) == Class::Long {
            return self.hand_out_long(state);
        }
        if !state.is_attended(now) && !state.is_looked_at(now) {
            return self.hand_out(state);
        }
        if state.watch_sleeps {
            drop(state);
            self.call_watch.notify_one();
        }
    }

    /// Takes the lock. Whoever waits for it is woken in the order of coming, and a lowered thread may be long in coming: it waits without standing
    /// in that row, and one at a time.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        if !running::is_on_lowered_thread() {
            return self.state.lock();
        }
        let _one_at_a_time = self.lowered_row.lock();
        for _ in 0..LOOKS_BEFORE_ROW {
            if let Some(state) = self.state.try_lock() {
                return state;
            }
            // Not `yield_now`: a thread with long slices that gives one up is behind the others for many of theirs.
            std::thread::sleep(BETWEEN_LOOKS);
        }
        self.state.lock()
    }

    /// Gives free places to whoever is due, but no more than one to short jobs that begin: whoever ends one looks for the next.
    pub(super) fn hand_out(self: &Arc<Self>, state: MutexGuard<'_, State>) {
        self.hand_out_for(state, true);
    }

    /// The same without short jobs that begin: there are threads for those that look themselves.
    pub(super) fn hand_out_long(self: &Arc<Self>, state: MutexGuard<'_, State>) {
        self.hand_out_for(state, false);
    }

    fn hand_out_for(self: &Arc<Self>, mut state: MutexGuard<'_, State>, mut short: bool) {
        let now = Instant::now();
        if short && running::is_on_lowered_thread() && !state.stopping {
            // This one may be displaced before it has handed over what it took: that is for the watch.
            short = false;
            state.wants_thread |=
                state.queue.would_begin(Class::Short, self.lanes_to_serve(&state)) && !state.is_attended(now);
        }
        let (mut assignments, mut refused) = (Vec::new(), None);
        loop {
            let may_begin = self.have_threads(&mut state, short);
            match state.queue.next(may_begin) {
                None => break,
                Some(Next::Resume { thread }) => assignments.extend(state.assign(thread, Assigned::Resume, now)),
                Some(Next::Begin(begun)) => {
                    let class = begun.class;
                    short &= class == Class::Long;
                    state.count_begun(class);
                    if let Some(thread) = state.take_idle(class) {
                        assignments.extend(state.assign(thread, Assigned::Begin(begun), now));
                    } else if let Err((error, begun)) = self.spawn(&mut state, Priority::of(class), Some(begun)) {
                        tracing::error!(%error, "a database thread could not be started");
                        refused = begun.and_then(|begun| Self::put_back(&mut state, begun));
                        break;
                    }
                }
            }
        }
        assignments.extend(self.make_room(&mut state, now));
        let call_watch = state.wants_thread || (state.watch_sleeps && state.queue.is_due());
        drop(state);
        assignments.into_iter().for_each(Assignment::hand_over);
        if call_watch {
            self.call_watch.notify_one();
        }
        if let Some(begun) = refused {
            begun.job.run(Turn::Refused);
        }
    }

    /// No thread could be had for the job: it waits for one, and the watch tries again. Gives it back where there is no time for that.
    fn put_back(state: &mut State, begun: Begun<Job>) -> Option<Begun<Job>> {
        if state.stopping {
            state.queue.end(begun.account, begun.class);
            return Some(begun);
        }
        state.queue.put_back(begun);
        None
    }

    /// Where there are as many threads as there may be, has one end that waits for other jobs than those that wait for a thread.
    fn make_room(&self, state: &mut State, now: Instant) -> Option<Assignment> {
        let is_full = state.alive >= self.config.most_threads;
        if !is_full || state.makes_room {
            return None;
        }
        let lanes = self.lanes_to_serve(state);
        let other = [(Class::Short, Class::Long), (Class::Long, Class::Short)];
        let (_, idle) = other
            .into_iter()
            .find(|(missing, _)| state.idle(Priority::of(*missing)) == 0 && state.queue.would_begin(*missing, lanes))?;
        let number = state.take_idle(idle)?;
        state.makes_room = true;
        state.assign(number, Assigned::End, now)
    }

    /// For which jobs there is a thread, or one can be started; for short ones only where they are asked for.
    fn have_threads(&self, state: &mut State, short: bool) -> MayBegin {
        let lanes = self.lanes_to_serve(state);
        if lanes == MayBegin::NOTHING.lanes {
            return MayBegin::NOTHING;
        }
        let mut may_begin = MayBegin {
            lanes,
            short: short && state.idle(Priority::Ordinary) > 0,
            long: state.idle(Priority::Lowered) > 0,
        };
        let lacks_short = short && !may_begin.short && state.queue.would_begin(Class::Short, lanes);
        let lacks_long = !may_begin.long && state.queue.would_begin(Class::Long, lanes);
        if (lacks_short || lacks_long) && state.alive < self.config.most_threads {
            // A thread inherits the priority of the one that starts it, and is started under the lock: a lowered one leaves that to the watch.
            let may_start = niceness() <= self.ordinary_priority() || state.stopping;
            state.wants_thread |= !may_start;
            may_begin.short |= lacks_short && may_start;
            may_begin.long |= lacks_long && may_start;
        }
        may_begin
    }

    /// For tenants of which lanes something waits that may begin, as far as the results before it are concerned.
    pub(super) fn lanes_to_serve(&self, state: &State) -> ByLane<bool> {
        let waiting = state.queue.lanes_that_wait();
        if state.stopping {
            return waiting;
        }
        let most = match state.queue.has_one_tenant() {
            true => ALONE * self.config.most_undelivered,
            false => self.config.most_undelivered,
        };
        ByLane::each(|lane| *waiting.of(lane) && self.deliveries.may_begin(lane, most))
    }

    /// Starts a thread, with a job or without. Gives the job back where that fails.
    pub(super) fn spawn(
        self: &Arc<Self>,
        state: &mut State,
        priority: Priority,
        begun: Option<Begun<Job>>,
    ) -> Result<(), (std::io::Error, Option<Begun<Job>>)> {
        let thread = Thread::new(priority);
        let slot = Arc::clone(&thread.slot);
        let number = state.add(thread);
        if let Some(begun) = begun
            && let Some(first) = state.assign(number, Assigned::Begin(begun), Instant::now())
        {
            first.hand_over();
        }
        let (shared, own_slot) = (Arc::clone(self), Arc::clone(&slot));
        let spawned = std::thread::Builder::new()
            .name(format!("database-{number}"))
            .spawn(move || shared.work(number, priority, &own_slot));
        match spawned {
            Ok(_detached) => Ok(()),
            Err(error) => {
                state.remove(number);
                match slot.take_back() {
                    Some(Assigned::Begin(begun)) => Err((error, Some(begun))),
                    Some(Assigned::Resume | Assigned::End) | None => Err((error, None)),
                }
            }
        }
    }

    pub(super) fn ordinary_priority(&self) -> i32 {
        self.ordinary_priority.load(Relaxed)
    }

    /// To be called by a thread that is never lowered.
    pub(super) fn ask_for_ordinary_priority(&self) {
        self.ordinary_priority.store(niceness(), Relaxed);
    }

    pub(super) const fn config(&self) -> &ThreadsConfig {
        &self.config
    }

    /// Notes what a job has run so far, and whether it counts as long from now on. Where somebody else is due, gives the place up and
    /// waits until it has one again.
    pub(super) fn end_of_slice(self: &Arc<Self>, current: &mut Current, ran: Duration, became_long: bool) {
        let mut state = self.lock();
        state.queue.charge(current.account, ran);
        if became_long {
            state.queue.becomes_long();
            if current.purpose == Purpose::Query {
                state.queue.learn(current.account.tenant, Class::Long);
            }
            // From here on the watch takes nothing of that back.
            state.set_lowered(current.thread);
        }
        // Not under the lock: it can be what the kernel takes the processor away for.
        let lower = || {
            if became_long {
                priority::lower(rustix::thread::gettid(), self.ordinary_priority());
                running::thread_is_lowered();
            }
        };
        if state.queue.must_give_way(current.account.tenant, current.class) {
            state.end_blocking(current);
            state.end_stretch(current.thread);
            state.queue.pause(current.account, current.thread, current.class);
            let slot = state.slot(current.thread);
            self.hand_out(state);
            lower();
            Self::wait_for_place(&slot);
        } else {
            state.begin_stretch(current.thread, Instant::now());
            if state.queue.is_due() {
                // This one does not come back at once.
                self.hand_out(state);
            } else {
                drop(state);
            }
            lower();
        }
    }

    /// The job is about to wait for a disk: others need not wait for its thread.
    pub(super) fn begin_blocking(self: &Arc<Self>, current: &mut Current) {
        if current.class == Class::Short && !std::mem::replace(&mut current.blocks, true) {
            let mut state = self.lock();
            state.queue.begin_blocking();
            if state.queue.is_due() {
                self.hand_out(state);
            }
        }
    }

    /// Gives the place up.
    pub(super) fn leave(self: &Arc<Self>, current: &mut Current, ran: Duration) {
        let mut state = self.lock();
        state.end_blocking(current);
        state.end_stretch(current.thread);
        state.queue.charge(current.account, ran);
        state.queue.leave(current.account, current.class);
        self.hand_out(state);
    }

    /// Waits until it has a place again.
    pub(super) fn come_back(self: &Arc<Self>, current: &Current) {
        let mut state = self.lock();
        state.queue.come_back(current.account, current.thread, current.class);
        let slot = state.slot(current.thread);
        self.hand_out(state);
        Self::wait_for_place(&slot);
    }

    /// Waits for what a thread with a job is given: nothing but that it is to go on.
    fn wait_for_place(slot: &Slot) {
        while !matches!(slot.wait(), Assigned::Resume) {}
    }
}

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lowered_tests.rs"]
mod lowered_tests;
