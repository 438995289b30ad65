//! Where a database thread waits for what it is to do next, apart from the lock around everything, so that whoever is given something need not take
//! that lock to learn what it is.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rustix::process::Pid;

use super::job::Job;
use super::priority;
use super::queue::{Begun, Company};

/// What a thread is to do.
pub(super) enum Assigned {
    Begin(Begun<Job>),
    /// To go on with the job that it had begun.
    Resume,
    /// To end.
    End,
}

#[derive(Default)]
pub(super) struct Slot {
    assigned: Mutex<Option<Assigned>>,
    filled: Condvar,
}

impl Slot {
    /// Gives the thread something to do. It has nothing yet: whoever gives has taken it out of those that wait.
    fn put(&self, assigned: Assigned) {
        *self.assigned.lock() = Some(assigned);
        self.filled.notify_one();
    }

    /// Waits until there is something.
    pub(super) fn wait(&self) -> Assigned {
        let mut assigned = self.assigned.lock();
        loop {
            if let Some(assigned) = assigned.take() {
                return assigned;
            }
            self.filled.wait(&mut assigned);
        }
    }

    /// Takes back what the thread has not come to see.
    pub(super) fn take_back(&self) -> Option<Assigned> {
        self.assigned.lock().take()
    }
}

/// Something to do that is on its way to a thread: to be handed over without the lock around everything.
#[must_use = "the thread waits for it"]
pub(super) struct Assignment {
    pub(super) slot: Arc<Slot>,
    pub(super) assigned: Assigned,
    /// The thread, where it is to be in other company. Changed before it is woken: one that would displace nobody must not be late for somebody else's job.
    pub(super) change: Option<(Pid, Company)>,
}

impl Assignment {
    pub(super) fn hand_over(self) {
        if let Some((thread, company)) = self.change {
            priority::keep_company(thread, company);
        }
        self.slot.put(self.assigned);
    }
}
