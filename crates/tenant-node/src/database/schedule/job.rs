//! A job on its way to a database thread and its result on the way back, in one allocation that both sides share.
//!
//! The task that asks makes it and, as a rule, frees it: the thread lets go of it before it wakes the task. What one thread allocates and
//! another one frees goes through the allocator's locks, where the threads of many short queries wait for each other. Must not know what a
//! job does, nor whose turn it is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// What a job is told when it is its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Run,
    /// It is not to run, and whoever asked for it gets a refusal.
    Refused,
}

/// The queue's side: to be run once. Dropped without that, it has no result.
pub(super) struct Job(Option<Arc<dyn Runs>>);

/// The side of the task that asks: waits for the result, which is `None` where the job panicked or was dropped. Dropped before, it has
/// the job not begin; the result of one that has begun is dropped by its thread.
pub(super) struct Outcome<W, T>(Arc<Shared<W, T>>);

trait Runs: Send + Sync {
    /// Whether the work was done.
    fn run(self: Arc<Self>, turn: Turn) -> bool;
    fn lose(self: Arc<Self>);
}

struct Shared<W, T>(Mutex<State<W, T>>);

struct State<W, T> {
    stage: Stage<W, T>,
    waker: Option<Waker>,
}

enum Stage<W, T> {
    Queued(W),
    Begun,
    Done(T),
    /// There is no result, or it was taken.
    Over,
    /// Nobody waits any more. What was not begun is left to the thread to drop.
    Abandoned(Option<W>),
}

impl Job {
    /// Work that somebody waits for.
    pub(super) fn new<W, T>(work: W) -> (Self, Outcome<W, T>)
    where
        W: FnOnce(Turn) -> T + Send + 'static,
        T: Send + 'static,
    {
        let shared = Arc::new(Shared(Mutex::new(State {
            stage: Stage::Queued(work),
            waker: None,
        })));
        let outcome = Outcome(Arc::clone(&shared));
        (Self(Some(shared)), outcome)
    }

    /// Work that nobody waits for, and that is never refused.
    pub(super) fn unattended(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Arc::new(Shared(Mutex::new(State {
            stage: Stage::Queued(move |_: Turn| work()),
            waker: None,
        })))))
    }

    /// Blocks for as long as the work takes. Panics where it does. Whether somebody still waited for it.
    pub(super) fn run(mut self, turn: Turn) -> bool {
        self.0.take().is_some_and(|shared| shared.run(turn))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.lose();
        }
    }
}

impl<W, T> Runs for Shared<W, T>
where
    W: FnOnce(Turn) -> T + Send,
    T: Send,
{
    fn run(self: Arc<Self>, turn: Turn) -> bool {
        let stage = std::mem::replace(&mut self.0.lock().stage, Stage::Begun);
        let Stage::Queued(work) = stage else {
            // Nobody waits for it: it is dropped here, and nothing else happens.
            return false;
        };
        let mut unless_done = LostUnlessDone(Some(self));
        let result = work(turn);
        if let Some(shared) = unless_done.0.take() {
            shared.end(Stage::Done(result));
        }
        true
    }

    fn lose(self: Arc<Self>) {
        self.end(Stage::Over);
    }
}

/// A job that panics has no result.
struct LostUnlessDone<W, T>(Option<Arc<Shared<W, T>>>);

impl<W, T> Drop for LostUnlessDone<W, T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.end(Stage::Over);
        }
    }
}

impl<W, T> Shared<W, T> {
    fn end(self: Arc<Self>, stage: Stage<W, T>) {
        let mut state = self.0.lock();
        if matches!(state.stage, Stage::Abandoned(_)) {
            drop(state);
            // What it owns may take locks when it is dropped.
            drop(stage);
            return;
        }
        let before = std::mem::replace(&mut state.stage, stage);
        let waker = state.waker.take();
        drop(state);
        drop(before);
        // First: the task is the one that frees it.
        drop(self);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<W, T> Future for Outcome<W, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.0.lock();
        if matches!(state.stage, Stage::Done(_) | Stage::Over) {
            let stage = std::mem::replace(&mut state.stage, Stage::Over);
            return Poll::Ready(match stage {
                Stage::Done(result) => Some(result),
                _ => None,
            });
        }
        if !state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl<W, T> Drop for Outcome<W, T> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        let stage = std::mem::replace(&mut state.stage, Stage::Abandoned(None));
        let (before, waker) = match stage {
            Stage::Queued(work) => {
                state.stage = Stage::Abandoned(Some(work));
                (None, state.waker.take())
            }
            other => (Some(other), state.waker.take()),
        };
        drop(state);
        drop((before, waker));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_job_that_was_run_has_its_result_and_one_that_was_dropped_has_none() {
        let (job, mut outcome) = Job::new(|turn| turn);
        assert!(poll!(&mut outcome).is_pending());
        job.run(Turn::Refused);
        assert_eq!(outcome.await, Some(Turn::Refused));
        let (job, outcome) = Job::new(|turn| turn);
        drop(job);
        assert_eq!(outcome.await, None);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        for ends in [|job: Job| assert!(job.run(Turn::Run)), |job: Job| drop(job)] {
            let (job, outcome) = Job::new(|_| ());
            let waiting = tokio::spawn(outcome);
            tokio::task::yield_now().await;
            tokio::task::spawn_blocking(move || ends(job)).await.unwrap();
            waiting.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_job_that_panics_has_no_result() {
        let (job, outcome) = Job::new(|_| panic!("on purpose"));
        let run = tokio::task::spawn_blocking(move || job.run(Turn::Run));
        assert!(run.await.unwrap_err().is_panic());
        assert_eq!(outcome.await, None::<()>);
    }

    #[test]
    fn what_nobody_waits_for_is_not_begun_and_dropped_where_it_would_run() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let (begun, counted) = (Arc::new(AtomicUsize::new(0)), Counted(Arc::clone(&dropped)));
        let begins = Arc::clone(&begun);
        let (job, outcome) = Job::new(move |_| {
            begins.fetch_add(1, SeqCst);
            drop(counted);
        });
        drop(outcome);
        assert_eq!(dropped.load(SeqCst), 0);
        job.run(Turn::Run);
        assert_eq!((begun.load(SeqCst), dropped.load(SeqCst)), (0, 1));
        // The result of one that has begun.
        let counted = Counted(Arc::clone(&dropped));
        let (give, given) = std::sync::mpsc::channel::<Outcome<_, _>>();
        let (job, outcome) = Job::new(Box::new(move |_| {
            drop(given.recv());
            counted
        }) as Box<dyn FnOnce(Turn) -> Counted + Send>);
        give.send(outcome).unwrap();
        job.run(Turn::Run);
        assert_eq!(dropped.load(SeqCst), 2);
    }
}
