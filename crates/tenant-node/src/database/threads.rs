//! The threads that run SQL: a fixed number, one bounded queue. SQLite blocks, so it never runs on an async worker.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{DatabaseError, StartError};

type Job = Box<dyn FnOnce() + Send>;

/// A full queue drains within this, as a rule.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A fixed set of threads behind one queue.
pub(super) struct DatabaseThreads {
    queue: Arc<Queue>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    stopping: bool,
}

impl DatabaseThreads {
    /// Starts `threads` threads (at least one) that share a queue of `capacity` jobs.
    pub(super) fn start(threads: usize, capacity: usize) -> Result<Self, StartError> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            capacity,
        });
        let handles = (0..threads.max(1))
            .map(|number| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(format!("database-{number}"))
                    .spawn(move || queue.work())
                    .map_err(StartError::Thread)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            queue,
            handles: Mutex::new(handles),
        })
    }

    /// Runs `work` on a database thread. If the caller stops waiting, the work still runs to its end and its result is
    /// dropped on that thread.
    ///
    /// # Errors
    /// `Overloaded` when the queue is full, `Stopping` after [`Self::stop`], `Crashed` when `work` panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.push(Box::new(move || drop(sender.send(work()))))?;
        receiver.await.map_err(|_| DatabaseError::Crashed)
    }

    /// Runs clean-up work that must not be refused, such as a rollback. Bounded by the number of open connections. After
    /// [`Self::stop`] it runs on the calling thread.
    pub(super) fn clean_up(&self, work: impl FnOnce() + Send + 'static) {
        let mut waiting = self.queue.waiting.lock();
        if waiting.stopping {
            drop(waiting);
            work();
        } else {
            waiting.jobs.push_back(Box::new(work));
            drop(waiting);
            self.queue.changed.notify_one();
        }
    }

    /// Takes no further jobs, runs those that wait, and returns when all threads have ended. Blocks.
    pub(super) fn stop(&self) {
        self.queue.waiting.lock().stopping = true;
        self.queue.changed.notify_all();
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            if handle.join().is_err() {
                tracing::error!("a database thread ended by a panic");
            }
        }
    }
}

impl Queue {
    fn push(&self, job: Job) -> Result<(), DatabaseError> {
        let mut waiting = self.waiting.lock();
        if waiting.stopping {
            return Err(DatabaseError::Stopping);
        }
        if waiting.jobs.len() >= self.capacity {
            return Err(DatabaseError::Overloaded {
                what: "place in the queue of its database threads",
                retry_after: RETRY_AFTER,
            });
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.stopping {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The caller learns of it from its closed channel; what the job owned is dropped while unwinding.
            if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job on a database thread panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_panic_leaves_the_threads_alive() {
        let threads = Arc::new(DatabaseThreads::start(1, 1).unwrap());
        assert!(matches!(
            threads.run(|| panic!("on purpose")).await,
            Err::<(), _>(DatabaseError::Crashed)
        ));
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move {
                let work = move || {
                    started.send(()).unwrap();
                    released.recv().is_ok()
                };
                threads.run(work).await
            }
        });
        tokio::task::spawn_blocking(move || has_started.recv().unwrap())
            .await
            .unwrap();
        let mut second = Box::pin(threads.run(|| 2));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(matches!(threads.run(|| 3).await, Err(DatabaseError::Overloaded { .. })));
        release.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert_eq!(second.await.unwrap(), 2);
        tokio::task::spawn_blocking({
            let threads = Arc::clone(&threads);
            move || threads.stop()
        })
        .await
        .unwrap();
        assert!(matches!(threads.run(|| 4).await, Err(DatabaseError::Stopping)));
    }
}
