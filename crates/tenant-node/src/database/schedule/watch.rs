//! The watch over the database threads, which looks every millisecond while there is something to do: somebody takes what waits, and those that
//! do not come back are in nobody's way. Runs no job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::priority::{self, Verdict};
use super::state::{Priority, State, Thread};
use super::threads::Shared;

/// A job that waits for a thread that runs waits no longer than this, as a rule.
const WATCH: Duration = Duration::from_millis(1);
/// After so many looks with nothing to do the watch sleeps until it is called.
const QUIET_LOOKS: u32 = 50;
/// Where a machine has no more threads to give.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

impl Shared {
    /// Wakes a thread for what waits while none comes back, and sees to it that those who do not come back are in nobody's way.
    pub(super) fn watch(self: Arc<Self>) {
        let (mut begun, mut quiet_looks, mut no_spare_before) = (0, 0, None);
        let mut state = self.state.lock();
        while !state.stopping {
            if state.queue.is_due() {
                // Short jobs that wait are taken by threads that look for them, where any begin.
                let is_wanted = std::mem::take(&mut state.wants_thread);
                if is_wanted {
                    self.ask_for_ordinary_priority();
                }
                match is_wanted || state.begun == begun {
                    true => self.hand_out(state),
                    false => self.hand_out_long(state),
                }
                state = self.state.lock();
            }
            self.lower_too_long(&mut state);
            if no_spare_before.is_none_or(|then| Instant::now() >= then) {
                no_spare_before = self.keep_spare(&mut state).err();
            }
            let quiet = !state.queue.is_due() && state.queue.running() == 0;
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

    /// Puts threads behind the others that have been at one thing for long, and lowers the priority of those that have used the processor for
    /// too long meanwhile.
    fn lower_too_long(&self, state: &mut MutexGuard<'_, State>) {
        let now = Instant::now();
        let suspicious = |(number, thread): (usize, &Thread)| {
            let stretch = thread.stretch.as_ref().filter(|stretch| stretch.is_suspicious(now))?;
            let is_lowered = thread.priority == Priority::Lowered;
            (!is_lowered).then_some((number, thread.id?, stretch.began()))
        };
        let suspicious: Vec<_> = state.threads.iter().enumerate().filter_map(suspicious).collect();
        for (number, id, began) in suspicious {
            let used = MutexGuard::unlocked(state, || priority::processor_time(id));
            let thread = state.threads.get_mut(number);
            if let (Some(thread), Some(used)) = (thread, used)
                && let Some(stretch) = thread.stretch.as_mut().filter(|stretch| stretch.began() == began)
            {
                // Under the lock: the thread has not begun anything else.
                match (stretch.judge(used), thread.priority) {
                    (Verdict::TooLong, _) => {
                        priority::lower(id, self.ordinary_priority());
                        state.set_lowered(number);
                    }
                    (Verdict::InTheWay, Priority::Ordinary) => {
                        priority::suspect(id, self.ordinary_priority());
                        state.set_suspected(number);
                    }
                    (Verdict::InTheWay | Verdict::Fine, _) => {}
                }
            }
        }
    }

    /// While threads are lowered, has one ready for what comes next: one that has to be started then begins behind those that run.
    ///
    /// # Errors
    /// When it could not be started: when to try again.
    fn keep_spare(self: &Arc<Self>, state: &mut State) -> Result<(), Instant> {
        // Where enough run, what waits is taken by those.
        let has_one = state.idle(Priority::Ordinary) > 0 || state.is_one_starting() || state.queue.is_attended();
        if state.lowered() == 0 || has_one || state.alive >= self.config.most_threads || state.stopping {
            return Ok(());
        }
        self.spawn(state, Priority::Ordinary, None)
            .map_err(|(error, _nothing)| {
                tracing::debug!(%error, "a spare database thread could not be started");
                Instant::now() + BETWEEN_TRIES
            })
    }
}
