//! Tasks that hyper starts by itself, owned all the same: they can be ended, and their end can be awaited.
//!
//! Must not know what the tasks do.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An executor that keeps hold of what it runs. Clones share the tasks.
#[derive(Debug, Clone, Default)]
pub struct OwnedTasks {
    tracker: TaskTracker,
    ended: CancellationToken,
}

impl OwnedTasks {
    /// A token that ends all tasks, present and future, at their next `.await`.
    #[must_use]
    pub fn end(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Runs `task` on the workers of `runtime`. `None` if it was ended before it was done.
    pub(crate) fn spawn_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.track_on(self.ended.clone().run_until_cancelled_owned(task), runtime)
    }

    /// The same for a task that its owner ends, with or before these: [`Self::end_and_wait`] only waits for it, for ever if nobody does. To be told it
    /// would ask at each of its turns for a lock that all others ask for, too.
    pub(crate) fn track_on<F>(&self, task: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn_on(task, runtime)
    }

    /// Ends all tasks and waits until they are gone.
    pub async fn end_and_wait(&self) {
        self.ended.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for OwnedTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let ended = self.ended.clone();
        self.tracker.spawn(async move {
            ended.run_until_cancelled_owned(task).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::rt::Executor as _;

    use super::*;

    #[tokio::test]
    async fn a_task_that_never_ends_by_itself_is_gone_when_all_are_ended() {
        let tasks = OwnedTasks::default();
        let held = Arc::new(());
        let holding = Arc::clone(&held);
        tasks.execute(async move {
            let _held = holding;
            std::future::pending::<()>().await;
        });
        tasks.end_and_wait().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
