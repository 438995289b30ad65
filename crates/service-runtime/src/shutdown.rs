//! Signals become a cancellation, and every task is named, cancelled and awaited.
//!
//! A stop has a deadline; a task that does not keep it is named in the log and dropped. What a task does with the
//! cancellation, and the order in which a daemon stops its parts, are the daemon's (one [`TaskGroup`] a part).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Cancels `token` at the first SIGTERM or SIGINT. Both are caught from the return of this call on, until the handle is
/// dropped (and stay without effect after that). Must be called inside a tokio runtime.
///
/// # Errors
/// When the system refuses a handler.
pub fn cancel_on_signals(token: CancellationToken) -> io::Result<AbortOnDropHandle<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = tokio::spawn(async move {
        let received = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = received, "stopping");
        token.cancel();
    });
    Ok(AbortOnDropHandle::new(listener))
}

/// Tasks that stop together. Clones share them.
#[derive(Debug, Clone)]
pub struct TaskGroup {
    shutdown: CancellationToken,
    deadline_passed: CancellationToken,
    tracker: TaskTracker,
    running: Running,
}

/// Tasks that had not ended when the deadline of a stop passed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("did not stop in time: {}", .names.join(", "))]
pub struct HungTasks {
    /// Their names, in the order in which they were started.
    pub names: Vec<String>,
}

impl TaskGroup {
    /// An empty group whose tasks are cancelled with `shutdown`. Give a child token for a group that can stop alone.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            shutdown,
            deadline_passed: CancellationToken::new(),
            tracker: TaskTracker::new(),
            running: Running::default(),
        }
    }

    /// The token that tells this group's tasks to end.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task. It must end soon after [`Self::token`] is cancelled.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = self.running.enter(name.into());
        let deadline_passed = self.deadline_passed.clone();
        self.tracker.spawn(async move {
            let _entry = entry;
            deadline_passed.run_until_cancelled_owned(task).await;
        });
    }

    /// Starts a task without which the process is of no use: when it fails, or ends before the group is cancelled, that
    /// is logged and the whole group is cancelled.
    pub fn spawn_essential<F, E>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        let name = name.into();
        let shutdown = self.shutdown.clone();
        self.spawn(name.clone(), async move {
            match task.await {
                Err(error) => tracing::error!(task = %name, "failed, stopping: {error:#}"),
                Ok(()) if !shutdown.is_cancelled() => tracing::error!(task = %name, "ended by itself, stopping"),
                Ok(()) => {}
            }
            shutdown.cancel();
        });
    }

    /// Cancels the tasks and waits until all have ended, at most `deadline`. Those that have not are logged by name and
    /// dropped at their next `.await`.
    ///
    /// A task that blocks its thread cannot be dropped; a `main` that must end then leaves by
    /// `Runtime::shutdown_timeout` or `std::process::exit`.
    ///
    /// # Errors
    /// [`HungTasks`] when the deadline passed first.
    pub async fn stop(&self, deadline: Duration) -> Result<(), HungTasks> {
        self.shutdown.cancel();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let names = self.running.names();
        self.deadline_passed.cancel();
        if names.is_empty() {
            return Ok(());
        }
        tracing::error!(tasks = ?names, deadline_seconds = deadline.as_secs_f64(), "tasks hung at shutdown");
        Err(HungTasks { names })
    }
}

/// The names of tasks that have not ended, by number of start.
#[derive(Debug, Clone, Default)]
struct Running(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    started: u64,
    by_number: BTreeMap<u64, Cow<'static, str>>,
}

impl Running {
    fn enter(&self, name: Cow<'static, str>) -> Entry {
        let mut names = self.lock();
        let number = names.started;
        names.started += 1;
        names.by_number.insert(number, name);
        Entry {
            number,
            running: self.clone(),
        }
    }

    fn names(&self) -> Vec<String> {
        self.lock().by_number.values().map(ToString::to_string).collect()
    }

    /// The map is whole at every unlock, so a poisoned lock does no harm.
    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task's name off the list however the task ends.
struct Entry {
    number: u64,
    running: Running,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn tasks_are_cancelled_and_awaited() {
        let group = TaskGroup::new(CancellationToken::new());
        for name in ["heartbeat", "outbox"] {
            let token = group.token();
            group.spawn(name, async move { token.cancelled().await });
        }
        assert_eq!(group.running.names(), ["heartbeat", "outbox"]);
        assert_eq!(group.stop(LONG).await, Ok(()));
        assert!(group.running.names().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_task_is_named_and_dropped() {
        let group = TaskGroup::new(CancellationToken::new());
        let held = Arc::new(());
        group.spawn("outbox", {
            let held = Arc::clone(&held);
            async move {
                let _held = held;
                future::pending::<()>().await;
            }
        });
        group.spawn("heartbeat", async {});
        let hung = group.stop(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(hung.to_string(), "did not stop in time: outbox");
        group.tracker.wait().await;
        assert_eq!(Arc::strong_count(&held), 1, "what the task held is freed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_essential_task_that_fails_or_ends_stops_the_group() {
        for outcome in [Ok(()), Err("port taken")] {
            let group = TaskGroup::new(CancellationToken::new());
            group.spawn_essential("server", async move { outcome });
            group.token().cancelled().await;
            assert_eq!(group.stop(LONG).await, Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_on_a_child_token_stops_alone() {
        let process = CancellationToken::new();
        let part = TaskGroup::new(process.child_token());
        assert_eq!(part.stop(LONG).await, Ok(()));
        assert!(!process.is_cancelled());
        let other = TaskGroup::new(process.child_token());
        process.cancel();
        assert!(other.token().is_cancelled());
    }

    #[tokio::test]
    async fn a_signal_cancels() {
        let token = CancellationToken::new();
        let _listener = cancel_on_signals(token.clone()).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(Duration::from_secs(30), token.cancelled())
            .await
            .expect("SIGTERM was not seen");
    }
}
