//! Who wants to know when a record is durable. Callbacks run in the order of their records, without any lock held.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::lsn::Lsn;

pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// The last durable record, and those who wait for later ones.
#[derive(Default)]
pub(crate) struct Waiters {
    durable: AtomicU64,
    /// In the order of their records; those of one record in the order in which they came.
    waiting: Mutex<VecDeque<(Lsn, Then)>>,
}

impl Waiters {
    pub(crate) fn new(durable: Lsn) -> Self {
        Self {
            durable: AtomicU64::new(durable.get()),
            waiting: Mutex::default(),
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// Runs `then` at once if the record is durable, else when it is.
    pub(crate) fn add(&self, lsn: Lsn, then: Then) {
        if lsn > self.durable() {
            let mut waiting = self.waiting.lock();
            // Again under the lock: `advance` stores first and takes the lock after that.
            if lsn > self.durable() {
                let place = waiting.partition_point(|(other, _)| *other <= lsn);
                waiting.insert(place, (lsn, then));
                return;
            }
        }
        then();
    }

    /// From now on everything up to `lsn` is durable. The caller then runs [`Self::run_due`].
    pub(crate) fn advance(&self, lsn: Lsn) {
        self.durable.store(lsn.get(), Ordering::Release);
    }

    /// Runs those whose record is durable. `due` is room to work in.
    pub(crate) fn run_due(&self, due: &mut Vec<Then>) {
        let durable = self.durable();
        {
            let mut waiting = self.waiting.lock();
            let count = waiting.partition_point(|(lsn, _)| *lsn <= durable);
            due.extend(waiting.drain(..count).map(|(_, then)| then));
        }
        for then in due.drain(..) {
            then();
        }
    }
}
