//! What a database thread does all its life: one job after the other, until nobody needs it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::expectation::Class;
use super::job::{Job, Turn};
use super::meter::Meter;
use super::queue::{Begun, MayBegin, Next};
use super::running::{self, Current, Ended, Purpose};
use super::slot::{Assigned, Slot};
use super::state::{LINGERING, Priority, State};
use super::threads::Shared;
use super::{Account, priority};

/// So often a thread that came from one job to the next lets others run and looks again before it sleeps: those that run are about to
/// bring what it would have to be woken for.
const LOOKS_BEFORE_SLEEP: u32 = 4;
impl Shared {
    /// `slot` is the thread's own, and may have its first job.
    pub(super) fn work(self: Arc<Self>, number: usize, priority: Priority, slot: &Slot) {
        let id = rustix::thread::gettid();
        match priority {
            Priority::Lowered => {
                priority::lower(id, self.ordinary_priority());
                running::thread_is_lowered();
            }
            Priority::Ordinary | Priority::Suspected => priority::ordinary(),
        }
        let mut meter = Meter::begin(&*self.charge);
        let mut state = self.lock();
        if let Some(thread) = state.threads.get_mut(number) {
            thread.id = Some(id);
        }
        let mut in_a_row = 0;
        let mut next = match slot.take_back() {
            Some(Assigned::Begin(begun)) => {
                drop(state);
                Some((begun, Instant::now()))
            }
            Some(Assigned::Resume | Assigned::End) | None => {
                self.wait_for_job(number, slot, state, Instant::now(), &mut in_a_row, &mut meter)
            }
        };
        while let Some((begun, began)) = next {
            let Begun {
                account,
                job,
                since,
                class,
                company: _,
            } = begun;
            let turn = if began.saturating_duration_since(since) > self.config.patience {
                Turn::Refused
            } else {
                Turn::Run
            };
            // What it uses of the processor tells whether it was expected with reason.
            let used_before = (class == Class::Long).then(priority::own_processor_time);
            meter.begin_job(account.tenant);
            running::begin(Current::new(Arc::clone(&self), number, account, class, began));
            // The caller learns of it from the job that has no result; what the job owned is dropped while unwinding.
            let ran = std::panic::catch_unwind(AssertUnwindSafe(move || job.run(turn)));
            if ran.is_err() {
                tracing::error!("a job on a database thread panicked");
            }
            let mut ended = running::end();
            if turn == Turn::Refused || matches!(ran, Ok(false)) {
                ended.purpose = Purpose::Errand;
            }
            let used = used_before.map(|before| priority::own_processor_time().saturating_sub(before));
            meter.end_job(ended.at.saturating_duration_since(began));
            in_a_row += 1;
            let mut state = self.lock();
            self.end_job(&mut state, number, account, &ended, used);
            next = self.wait_for_job(number, slot, state, ended.at, &mut in_a_row, &mut meter);
        }
    }

    /// `used` is processor time of a job that was expected to be long.
    fn end_job(&self, state: &mut State, number: usize, account: Account, ended: &Ended, used: Option<Duration>) {
        if ended.blocks {
            state.queue.end_blocking();
        }
        state.queue.charge(account, ended.ran);
        state.queue.end(account, ended.class);
        state.end_stretch(number);
        if state.priority(number) == Priority::Lowered {
            running::thread_is_lowered();
        } else if state.acquit(number) {
            priority::ordinary();
        }
        let was_long = match used {
            Some(used) => priority::is_long(used),
            None => state.priority(number) == Priority::Lowered,
        };
        // Of one that became long it was learnt when it did.
        let is_known = used.is_none() && ended.class == Class::Long;
        if ended.purpose == Purpose::Query && !is_known {
            let class = if was_long { Class::Long } else { Class::Short };
            state.queue.learn(account.tenant, class);
        }
    }

    /// The next job for this thread, and when it begins; `None` when the thread ends, and is no longer counted. `in_a_row` counts the jobs
    /// since it slept.
    fn wait_for_job<'state>(
        self: &'state Arc<Self>,
        number: usize,
        slot: &Slot,
        mut state: MutexGuard<'state, State>,
        mut now: Instant,
        in_a_row: &mut u32,
        meter: &mut Meter<'_>,
    ) -> Option<(Begun<Job>, Instant)> {
        let mut looks = 0;
        let priority = state.priority(number);
        if priority == Priority::Lowered {
            // It may have waited for the lock, on nobody's account.
            now = Instant::now();
        }
        loop {
            if priority != Priority::Lowered && state.queue.would_begin(Class::Long, self.lanes_to_serve(&state)) {
                // The place that has become free would not be seen by others.
                self.hand_out_long(state);
                state = self.lock();
            }
            let may_begin = self.may_begin_on(priority, &state);
            match state.queue.next(may_begin) {
                Some(Next::Begin(begun)) => {
                    state.count_begun(begun.class);
                    state.begin_stretch(number, now);
                    let change = state.keep_company(number, begun.company);
                    drop(state);
                    if let Some(company) = change {
                        priority::keep_company(rustix::thread::gettid(), company);
                    }
                    return Some((begun, now));
                }
                Some(Next::Resume { thread }) => {
                    let assignment = state.assign(thread, Assigned::Resume, now);
                    drop(state);
                    if let Some(assignment) = assignment {
                        assignment.hand_over();
                    }
                    state = self.lock();
                    now = Instant::now();
                    continue;
                }
                None => {}
            }
            // What still waits is taken by the threads that run: each looks here when its job has ended.
            let enough = match priority {
                Priority::Ordinary | Priority::Suspected => self.config.places,
                Priority::Lowered => self.config.long_places,
            };
            if state.stopping || state.idle(priority) >= enough {
                self.retire(number, state);
                return None;
            }
            // While something is held back there is nothing to look for: who lets it begin wakes a thread.
            let may_linger = priority != Priority::Lowered && !state.is_looked_at(now) && state.queue.waiting() == 0;
            if *in_a_row > 1 && looks < LOOKS_BEFORE_SLEEP && may_linger {
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
            state.set_idle(number);
            if state.queue.is_due() {
                // It leaves a place, and nothing of what waits for one is for this thread.
                self.hand_out(state);
            } else {
                drop(state);
            }
            meter.settle();
            let next = match slot.wait() {
                Assigned::Begin(begun) => Some(begun),
                Assigned::Resume => None,
                Assigned::End => {
                    self.retire(number, self.lock());
                    return None;
                }
            };
            let since = std::mem::replace(&mut now, Instant::now());
            // A sleep that short was hardly worth it.
            *in_a_row = u32::from(now.saturating_duration_since(since) < LINGERING);
            if let Some(begun) = next {
                return Some((begun, now));
            }
            state = self.lock();
        }
    }

    /// What a thread may begin: long jobs are for lowered ones. At a stop everybody takes what is left.
    fn may_begin_on(&self, priority: Priority, state: &State) -> MayBegin {
        let lanes = self.lanes_to_serve(state);
        if lanes == MayBegin::NOTHING.lanes {
            return MayBegin::NOTHING;
        }
        MayBegin {
            lanes,
            short: priority != Priority::Lowered || state.stopping,
            long: priority == Priority::Lowered || state.stopping,
        }
    }

    /// The thread ends. Its place, where it still has one to give, goes to whoever is due.
    fn retire(self: &Arc<Self>, number: usize, mut state: MutexGuard<'_, State>) {
        state.remove(number);
        self.ended.notify_all();
        self.hand_out(state);
    }
}
