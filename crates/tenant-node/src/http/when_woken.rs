//! A future beside another one in the same task, which is asked only when it was woken itself.
//!
//! A connection's task is woken for each request. What it waits for besides, its end, would be asked as often, and asks for locks that all
//! connections share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

/// Wakes the task that asked last, and says for whom.
struct Alarm {
    rang: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Seen by whoever is woken, and by a task that comes to ask meanwhile.
        self.rang.store(true, Ordering::Release);
        self.task.wake();
    }
}

pin_project! {
    /// Polls the future the first time, and then whenever its own waker was called. May move from task to task.
    pub(super) struct WhenWoken<F> {
        #[pin]
        future: F,
        alarm: Arc<Alarm>,
        waker: Waker,
    }
}

impl<F: Future> WhenWoken<F> {
    pub(super) fn new(future: F) -> Self {
        let alarm = Arc::new(Alarm {
            rang: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        let waker = Waker::from(Arc::clone(&alarm));
        Self { future, alarm, waker }
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Before the look: who rings after it wakes this task.
        this.alarm.task.register(context.waker());
        if this.alarm.rang.swap(false, Ordering::AcqRel) {
            this.future.poll(&mut Context::from_waker(this.waker))
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    /// A task, as far as those see it who wake it.
    #[derive(Default)]
    struct Task {
        woken: AtomicUsize,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, SeqCst);
        }
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>, task: &Arc<Task>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(task));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Waits for `bell`, and counts how often it is asked.
    async fn wait(bell: Arc<Notify>, asked: Arc<AtomicUsize>) {
        let mut heard = std::pin::pin!(bell.notified());
        std::future::poll_fn(|context| {
            asked.fetch_add(1, SeqCst);
            heard.as_mut().poll(context)
        })
        .await;
    }

    #[test]
    fn it_is_asked_once_and_then_when_it_was_woken_by_whichever_task_asked_last() {
        let (asked, bell) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let mut future = Box::pin(WhenWoken::new(wait(Arc::clone(&bell), Arc::clone(&asked))));
        let (before, after) = (Arc::<Task>::default(), Arc::<Task>::default());
        for task in [&before, &before, &after] {
            assert!(poll(&mut future, task).is_pending());
        }
        assert_eq!(asked.load(SeqCst), 1);
        bell.notify_one();
        assert_eq!(after.woken.load(SeqCst), 1);
        assert_eq!(before.woken.load(SeqCst), 0);
        assert!(poll(&mut future, &after).is_ready());
        assert_eq!(asked.load(SeqCst), 2);
    }

    #[test]
    fn who_rings_while_it_goes_from_one_task_to_another_is_heard() {
        let (asked, bell) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let mut future = Box::pin(WhenWoken::new(wait(Arc::clone(&bell), asked)));
        assert!(poll(&mut future, &Arc::default()).is_pending());
        bell.notify_one();
        assert!(poll(&mut future, &Arc::default()).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_in_time() {
        WhenWoken::new(tokio::time::sleep(Duration::from_secs(30))).await;
    }
}
