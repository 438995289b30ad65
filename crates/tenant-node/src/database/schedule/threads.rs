//! The threads that run SQL. There are as many as have a job that has begun, and a few idle ones; how many of them run at a moment is the
//! queue's to say.
//!
//! Waking a thread costs more than a short query. So a job that comes while the cores are busy is left to the threads that run; a watch
//! sees to it that somebody else takes it where they do not come back in time.
//!
//! A thread whose job became a long one has been given a lower priority by then, which an ordinary process cannot take back: it ends with
//! the job, and another is started when it is needed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::process::Pid;

use super::Account;
use super::delivery::{Deliveries, Delivery};
use super::job::{Job, Turn};
use super::priority::{self, Stretch};
use super::queue::{Class, Limits, Next, Queue};
use super::running::{self, Current};
use crate::database::{DatabaseError, StartError};

/// A full queue drains within this, as a rule.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A job that waits for a thread that runs waits no longer than this, as a rule.
const WATCH: Duration = Duration::from_millis(1);
/// After so many looks with nothing to do the watch sleeps until it is called.
const QUIET_LOOKS: u32 = 50;

/// So many times as many results may be under way while there is no other tenant to be fair to. A thread that can go on is not woken again.
const ALONE: usize = 8;
/// So often a thread that came from one job to the next lets others run and looks again before it sleeps: those that run are about to
/// bring what it would have to be woken for.
const LOOKS_BEFORE_SLEEP: u32 = 4;
/// It is relied on for this long. Then it is one that the kernel has no processor for, and another one is woken.
const LINGERING: Duration = Duration::from_micros(50);

/// Settings of [`DatabaseThreads`].
#[derive(Debug, Clone, Copy)]
pub(in crate::database) struct ThreadsConfig {
    /// Jobs that run at a moment.
    pub(in crate::database) places: usize,
    /// As many of them as should be filled at once, even if a thread has to be woken for it: one for each core.
    pub(in crate::database) eager_places: usize,
    /// Of these, jobs that have run for longer than `long_after`.
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

pub(super) struct Shared {
    config: ThreadsConfig,
    deliveries: Arc<Deliveries>,
    state: Mutex<State>,
    /// Told when a thread has ended.
    ended: Condvar,
    /// Told when there is something for the watch.
    call_watch: Condvar,
    /// What threads have before their priority is lowered, as `nice` has it.
    ordinary_priority: i32,
}

struct State {
    queue: Queue<Job>,
    threads: Vec<Thread>,
    idle: Vec<usize>,
    /// Numbers of threads that have ended.
    unused: Vec<usize>,
    alive: usize,
    /// Jobs that have begun since the start.
    begun: u64,
    watch_sleeps: bool,
    /// The thread that is about to look for a job once more, and since when.
    lingering: Option<(usize, Instant)>,
    /// Whether the watch is to hand out: a job waits for a thread that nobody with the ordinary priority has come by to start.
    wants_thread: bool,
    stopping: bool,
}

struct Thread {
    wake: Arc<Condvar>,
    assigned: Option<Assigned>,
    /// The kernel's number; `None` until it runs.
    id: Option<Pid>,
    /// What it is busy with, unless it waits for its turn or a client.
    stretch: Option<Stretch>,
    priority: Priority,
}

/// A thread's, beside the others of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    Ordinary,
    /// The watch has lowered it.
    Lowered,
}

impl Thread {
    fn new() -> Self {
        Self {
            wake: Arc::default(),
            assigned: None,
            id: None,
            stretch: None,
            priority: Priority::Ordinary,
        }
    }
}

enum Assigned {
    Begin(Begun),
    Resume,
}

/// A job and when it was queued.
struct Begun {
    account: Account,
    job: Job,
    since: Instant,
}

impl DatabaseThreads {
    /// Starts the first thread, so that a machine that cannot have any says so now.
    pub(in crate::database) fn start(config: ThreadsConfig) -> Result<Self, StartError> {
        let limits = Limits {
            places: config.places.max(1),
            eager_places: config.eager_places.max(1),
            long_places: config.long_places.clamp(1, config.places.max(1)),
            begun_per_tenant: config.begun_per_tenant.max(1),
            away_per_tenant: config.away_per_tenant,
            waiting: config.waiting,
            waiting_per_tenant: config.waiting.div_ceil(4),
        };
        let shared = Arc::new(Shared {
            config,
            deliveries: Arc::default(),
            state: Mutex::new(State::new(Queue::new(limits))),
            ended: Condvar::new(),
            call_watch: Condvar::new(),
            ordinary_priority: priority::own(),
        });
        let mut state = shared.state.lock();
        shared
            .spawn(&mut state, None)
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
                let state = shared.state.lock();
                if !state.is_looked_at(Instant::now()) {
                    shared.hand_out(state);
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
        let (deliveries, resume) = (Arc::clone(&self.shared.deliveries), Arc::clone(&self.resume));
        let (job, outcome) = Job::new(move |turn| {
            let result = match turn {
                Turn::Run => Ok(work()),
                Turn::TooLate => Err(overloaded("database thread")),
            };
            Delivery::new(result, &deliveries, &resume)
        });
        self.shared.push(account, job)?;
        let delivered = outcome.await.ok_or(DatabaseError::Crashed)?;
        delivered.take().unwrap_or(Err(DatabaseError::Crashed))
    }

    /// Runs clean-up work that must not be refused, such as a rollback. Bounded by the number of open connections. After
    /// [`Self::stop`] it runs on the calling thread.
    pub(in crate::database) fn clean_up(&self, account: Account, work: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if state.stopping {
            drop(state);
            work();
        } else {
            let now = Instant::now();
            state.queue.push_unbounded(account, Job::unattended(work), now);
            self.shared.attend(state, now);
        }
    }

    /// Refuses the jobs that have waited too long, which only happens while no place becomes free, and forgets tenants that are idle.
    pub(in crate::database) fn refuse_late(&self, now: Instant) {
        let mut state = self.shared.state.lock();
        state.queue.forget_idle();
        let late = now
            .checked_sub(self.shared.config.patience)
            .map(|since| state.queue.take_waiting_since_before(since));
        drop(state);
        for job in late.into_iter().flatten() {
            job.run(Turn::TooLate);
        }
    }

    /// Takes no further jobs, runs those that wait, and returns when all threads have ended. Blocks.
    pub(in crate::database) fn stop(&self) {
        let mut state = self.shared.state.lock();
        state.stopping = true;
        for thread in &state.threads {
            thread.wake.notify_one();
        }
        self.shared.call_watch.notify_one();
        if std::mem::take(&mut state.wants_thread) {
            // The watch ends, too.
            self.shared.hand_out(state);
            state = self.shared.state.lock();
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
    fn push(self: &Arc<Self>, account: Account, job: Job) -> Result<(), DatabaseError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.stopping {
            return Err(DatabaseError::Stopping);
        }
        if let Err((_full, job)) = state.queue.push(account, job, now) {
            drop(state);
            // What it owns may take the lock when it is dropped.
            drop(job);
            return Err(overloaded("place in the queue of its database threads"));
        }
        self.attend(state, now);
        Ok(())
    }

    /// Sees to it that a job that has just been queued is run.
    fn attend(self: &Arc<Self>, state: MutexGuard<'_, State>, now: Instant) {
        if !state.is_attended(now) && !state.is_looked_at(now) {
            return self.hand_out(state);
        }
        if state.watch_sleeps {
            drop(state);
            self.call_watch.notify_one();
        }
    }

    /// Wakes a thread for what waits while none comes back, and sees to it that those who do not come back are in nobody's way.
    fn watch(self: Arc<Self>) {
        let (mut begun, mut quiet_looks) = (0, 0);
        let mut state = self.state.lock();
        while !state.stopping {
            if state.queue.waiting() > 0 && (state.begun == begun || std::mem::take(&mut state.wants_thread)) {
                self.hand_out(state);
                state = self.state.lock();
            }
            self.lower_too_long(&mut state);
            let quiet = state.queue.waiting() == 0 && state.queue.running() == 0;
            quiet_looks = if quiet { quiet_looks + 1 } else { 0 };
            begun = state.begun;
            if state.stopping {
                return;
            }
            if quiet_looks < QUIET_LOOKS {
                let _timed_out = self.call_watch.wait_for(&mut state, WATCH);
            } else {
                state.watch_sleeps = true;
                self.call_watch.wait(&mut state);
                state.watch_sleeps = false;
                quiet_looks = 0;
            }
        }
    }

    /// Lowers the priority of threads that have used the processor for too long without looking up.
    fn lower_too_long(&self, state: &mut MutexGuard<'_, State>) {
        let now = Instant::now();
        let suspicious = |(number, thread): (usize, &Thread)| {
            let stretch = thread.stretch.as_ref().filter(|stretch| stretch.is_suspicious(now))?;
            let ordinary = thread.priority == Priority::Ordinary;
            ordinary.then_some((number, thread.id?, stretch.began()))
        };
        let suspicious: Vec<_> = state.threads.iter().enumerate().filter_map(suspicious).collect();
        for (number, id, began) in suspicious {
            let used = MutexGuard::unlocked(state, || priority::processor_time(id));
            let thread = state.threads.get_mut(number);
            if let (Some(thread), Some(used)) = (thread, used)
                && let Some(stretch) = thread.stretch.as_mut().filter(|stretch| stretch.began() == began)
                && stretch.is_too_long(used)
            {
                // Under the lock: the thread has not begun anything else.
                priority::lower(id);
                thread.priority = Priority::Lowered;
            }
        }
    }

    /// Gives one free place, if there is one, to whoever is due.
    fn hand_out(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut has_thread = !state.idle.is_empty();
        if !has_thread && state.alive < self.config.most_threads {
            // A thread inherits the priority of the one that starts it: one that was lowered leaves that to the watch.
            let may_start = || priority::own() <= self.ordinary_priority || state.stopping;
            has_thread = state.queue.waiting() == 0 || may_start();
            state.wants_thread |= !has_thread;
        }
        let may_begin = has_thread && self.may_begin(&state);
        let wake = match state.queue.next(may_begin) {
            None => None,
            Some(Next::Resume { thread }) => state.assign(thread, Assigned::Resume),
            Some(Next::Begin { account, job, since }) => {
                state.begun += 1;
                let begun = Begun { account, job, since };
                match state.idle.pop() {
                    Some(thread) => state.assign(thread, Assigned::Begin(begun)),
                    None => {
                        if let Err((error, begun)) = self.spawn(&mut state, Some(begun)) {
                            tracing::error!(%error, "a database thread could not be started");
                            state.queue.end(account, Class::Short);
                            drop(state);
                            if let Some(begun) = begun {
                                begun.job.run(Turn::TooLate);
                            }
                            return;
                        }
                        None
                    }
                }
            }
        };
        let call_watch = state.wants_thread || (state.watch_sleeps && state.queue.running() > 0);
        drop(state);
        if let Some(wake) = wake {
            wake.notify_one();
        }
        if call_watch {
            self.call_watch.notify_one();
        }
    }

    /// Whether what waits may begin as far as the results before it are concerned.
    fn may_begin(&self, state: &State) -> bool {
        let most = match state.queue.has_one_tenant() {
            true => ALONE * self.config.most_undelivered,
            false => self.config.most_undelivered,
        };
        state.queue.waiting() == 0 || self.deliveries.may_begin(most)
    }

    /// Starts a thread, with a job or without. Gives the job back where that fails.
    fn spawn(self: &Arc<Self>, state: &mut State, begun: Option<Begun>) -> Result<(), (std::io::Error, Option<Begun>)> {
        let number = state.unused.pop().unwrap_or_else(|| {
            state.threads.push(Thread::new());
            state.threads.len() - 1
        });
        if let Some(thread) = state.threads.get_mut(number) {
            *thread = Thread {
                assigned: begun.map(Assigned::Begin),
                ..Thread::new()
            };
        }
        let shared = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name(format!("database-{number}"))
            .spawn(move || shared.work(number));
        match spawned {
            Ok(_detached) => {
                state.alive += 1;
                Ok(())
            }
            Err(error) => {
                state.unused.push(number);
                let begun = state.threads.get_mut(number).and_then(|thread| thread.assigned.take());
                let begun = match begun {
                    Some(Assigned::Begin(begun)) => Some(begun),
                    Some(Assigned::Resume) | None => None,
                };
                Err((error, begun))
            }
        }
    }

    fn work(self: Arc<Self>, number: usize) {
        let mut state = self.state.lock();
        if let Some(thread) = state.threads.get_mut(number) {
            thread.id = Some(rustix::thread::gettid());
        }
        let mut in_a_row = 0;
        let mut next = self.wait_for_job(number, state, Instant::now(), &mut in_a_row);
        while let Some((Begun { account, job, since }, began)) = next {
            let turn = if began.saturating_duration_since(since) > self.config.patience {
                Turn::TooLate
            } else {
                Turn::Run
            };
            running::begin(Current::new(Arc::clone(&self), number, account, began));
            // The caller learns of it from the job that has no result; what the job owned is dropped while unwinding.
            if std::panic::catch_unwind(AssertUnwindSafe(move || job.run(turn))).is_err() {
                tracing::error!("a job on a database thread panicked");
            }
            let ended = running::end();
            in_a_row += 1;
            let mut state = self.state.lock();
            if ended.blocks {
                state.queue.end_blocking();
            }
            state.queue.charge(account, ended.ran);
            state.queue.end(account, ended.class);
            let priority = state.end_stretch(number);
            if ended.class == Class::Long || priority == Priority::Lowered {
                return self.retire(number, state);
            }
            next = self.wait_for_job(number, state, ended.at, &mut in_a_row);
        }
        let state = self.state.lock();
        self.retire(number, state);
    }

    /// The next job for this thread, and when it begins; `None` when the thread is to end. `in_a_row` counts the jobs since it slept.
    fn wait_for_job(
        self: &Arc<Self>,
        number: usize,
        mut state: MutexGuard<'_, State>,
        mut now: Instant,
        in_a_row: &mut u32,
    ) -> Option<(Begun, Instant)> {
        let mut looks = 0;
        loop {
            if let Some(Assigned::Begin(begun)) = state.take(number) {
                state.begin_stretch(number, now);
                return Some((begun, now));
            }
            let may_begin = self.may_begin(&state);
            match state.queue.next(may_begin) {
                Some(Next::Begin { account, job, since }) => {
                    state.begun += 1;
                    state.begin_stretch(number, now);
                    return Some((Begun { account, job, since }, now));
                }
                Some(Next::Resume { thread }) => {
                    if let Some(wake) = state.assign(thread, Assigned::Resume) {
                        MutexGuard::unlocked(&mut state, || wake.notify_one());
                    }
                    continue;
                }
                None => {}
            }
            // What still waits is taken by the threads that run: each looks here when its job has ended.
            if state.stopping || state.idle.len() >= self.config.places {
                return None;
            }
            // While something is held back there is nothing to look for: who lets it begin wakes a thread.
            let others_linger = state.is_looked_at(now);
            if *in_a_row > 1 && looks < LOOKS_BEFORE_SLEEP && !others_linger && state.queue.waiting() == 0 {
                looks += 1;
                state.lingering = Some((number, now));
                MutexGuard::unlocked(&mut state, std::thread::yield_now);
                if state.lingering.is_some_and(|(thread, _)| thread == number) {
                    state.lingering = None;
                }
                now = Instant::now();
                continue;
            }
            looks = 0;
            let wake = state.threads.get(number).map(|thread| Arc::clone(&thread.wake))?;
            state.idle.push(number);
            while state
                .threads
                .get(number)
                .is_some_and(|thread| thread.assigned.is_none())
            {
                wake.wait(&mut state);
                if state.stopping && state.idle.contains(&number) {
                    state.idle.retain(|idle| *idle != number);
                    break;
                }
            }
            let since = std::mem::replace(&mut now, Instant::now());
            // A sleep that short was hardly worth it.
            *in_a_row = u32::from(now.saturating_duration_since(since) < LINGERING);
        }
    }

    /// The thread ends. Its place, where it still has one to give, goes to whoever is due.
    fn retire(self: &Arc<Self>, number: usize, mut state: MutexGuard<'_, State>) {
        state.alive -= 1;
        if let Some(thread) = state.threads.get_mut(number) {
            // The kernel gives its number to others.
            *thread = Thread::new();
        }
        state.unused.push(number);
        self.ended.notify_all();
        self.hand_out(state);
    }

    pub(super) const fn config(&self) -> &ThreadsConfig {
        &self.config
    }

    /// Notes what a job has run so far, and whether it counts as long from now on. Where somebody else is due, gives the place up and
    /// waits until it has one again.
    pub(super) fn end_of_slice(self: &Arc<Self>, current: &mut Current, ran: Duration, became_long: bool) {
        let mut state = self.state.lock();
        state.queue.charge(current.account, ran);
        if became_long {
            state.queue.becomes_long();
        }
        if state.queue.must_give_way(current.account.tenant, current.class) {
            state.end_blocking(current);
            state.end_stretch(current.thread);
            state.queue.pause(current.account, current.thread, current.class);
            self.hand_out(state);
            self.wait_for_place(current.thread);
        } else {
            state.begin_stretch(current.thread, Instant::now());
            if state.queue.waiting() > 0 {
                // This one does not come back at once.
                self.hand_out(state);
            }
        }
    }

    /// The job is about to wait for a disk: others need not wait for its thread.
    pub(super) fn begin_blocking(self: &Arc<Self>, current: &mut Current) {
        if !std::mem::replace(&mut current.blocks, true) {
            let mut state = self.state.lock();
            state.queue.begin_blocking();
            if state.queue.waiting() > 0 {
                self.hand_out(state);
            }
        }
    }

    /// Gives the place up.
    pub(super) fn leave(self: &Arc<Self>, current: &mut Current, ran: Duration) {
        let mut state = self.state.lock();
        state.end_blocking(current);
        state.end_stretch(current.thread);
        state.queue.charge(current.account, ran);
        state.queue.leave(current.account, current.class);
        self.hand_out(state);
    }

    /// Waits until it has a place again.
    pub(super) fn come_back(self: &Arc<Self>, current: &Current) {
        let mut state = self.state.lock();
        state.queue.come_back(current.account, current.thread, current.class);
        self.hand_out(state);
        self.wait_for_place(current.thread);
    }

    fn wait_for_place(&self, number: usize) {
        let mut state = self.state.lock();
        let Some(wake) = state.threads.get(number).map(|thread| Arc::clone(&thread.wake)) else {
            return;
        };
        while state.take(number).is_none() {
            wake.wait(&mut state);
        }
        state.begin_stretch(number, Instant::now());
    }
}

impl State {
    const fn new(queue: Queue<Job>) -> Self {
        Self {
            queue,
            threads: Vec::new(),
            idle: Vec::new(),
            unused: Vec::new(),
            alive: 0,
            begun: 0,
            watch_sleeps: false,
            lingering: None,
            wants_thread: false,
            stopping: false,
        }
    }

    /// Whether a thread that runs, or was woken a moment ago, will come by for what waits, and soon: none of those will that have been at the
    /// same thing for long.
    fn is_attended(&self, now: Instant) -> bool {
        let comes_soon = |thread: &Thread| {
            let is_fresh = |stretch: &Stretch| !stretch.is_suspicious(now);
            thread.assigned.is_some() || thread.stretch.as_ref().is_some_and(is_fresh)
        };
        self.queue.is_attended() && self.threads.iter().any(comes_soon)
    }

    /// Whether a thread is about to look for what waits without being woken.
    fn is_looked_at(&self, now: Instant) -> bool {
        self.lingering
            .is_some_and(|(_, since)| now.saturating_duration_since(since) < LINGERING)
    }

    fn end_blocking(&mut self, current: &mut Current) {
        if std::mem::take(&mut current.blocks) {
            self.queue.end_blocking();
        }
    }

    /// The thread is busy from here on.
    fn begin_stretch(&mut self, number: usize, now: Instant) {
        if let Some(thread) = self.threads.get_mut(number) {
            thread.stretch = Some(Stretch::begin(now));
        }
    }

    /// The thread waits from here on, or may. Its priority.
    fn end_stretch(&mut self, number: usize) -> Priority {
        self.threads.get_mut(number).map_or(Priority::Ordinary, |thread| {
            thread.stretch = None;
            thread.priority
        })
    }

    fn assign(&mut self, number: usize, assigned: Assigned) -> Option<Arc<Condvar>> {
        let thread = self.threads.get_mut(number)?;
        thread.assigned = Some(assigned);
        Some(Arc::clone(&thread.wake))
    }

    fn take(&mut self, number: usize) -> Option<Assigned> {
        self.threads.get_mut(number)?.assigned.take()
    }
}

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;
