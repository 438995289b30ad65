//! The job that runs on the present thread, as far as the schedule is concerned: how long it has run, and how it gives its place up.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Account;
use super::expectation::Class;
use super::threads::Shared;

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static IS_LOWERED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the priority of this thread is known to be lowered.
pub(super) fn is_on_lowered_thread() -> bool {
    IS_LOWERED.get()
}

/// This thread's priority is lowered, for good.
pub(super) fn thread_is_lowered() {
    IS_LOWERED.set(true);
}

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Query,
    /// It prepares another one, such as one that reads a request, or tidies up. What it is like says nothing about its tenant's queries.
    Errand,
}

/// The job of this thread.
pub(super) struct Current {
    shared: Arc<Shared>,
    pub(super) thread: usize,
    pub(super) account: Account,
    pub(super) class: Class,
    pub(super) purpose: Purpose,
    /// Whether it is about to wait for a disk.
    pub(super) blocks: bool,
    /// Since when what it runs is not on its account.
    slice_began: Instant,
    ran: Duration,
    away: Duration,
}

impl Current {
    pub(super) const fn new(shared: Arc<Shared>, thread: usize, account: Account, class: Class, now: Instant) -> Self {
        Self {
            shared,
            thread,
            account,
            class,
            purpose: Purpose::Query,
            blocks: false,
            slice_began: now,
            ran: Duration::ZERO,
            away: Duration::ZERO,
        }
    }

    /// Closes the slice. Returns how long it was.
    fn close_slice(&mut self, now: Instant) -> Duration {
        let ran = now.saturating_duration_since(self.slice_began);
        self.ran += ran;
        self.slice_began = now;
        ran
    }

    /// Makes room after a slice where somebody else is due. A job that becomes long goes behind the others from here on.
    fn end_slice(&mut self, ran: Duration, becomes_long: bool) {
        if becomes_long {
            self.class = Class::Long;
        }
        let shared = Arc::clone(&self.shared);
        shared.end_of_slice(self, ran, becomes_long);
        self.reopen_slice();
    }

    /// Time since the slice was closed was not spent running.
    fn reopen_slice(&mut self) {
        let now = Instant::now();
        self.away += now.saturating_duration_since(self.slice_began);
        self.slice_began = now;
    }
}

pub(super) fn begin(job: Current) {
    CURRENT.with(|current| *current.borrow_mut() = Some(job));
}

/// What a job was like at its end.
pub(super) struct Ended {
    /// How long it has run since its last slice was closed.
    pub(super) ran: Duration,
    pub(super) class: Class,
    pub(super) purpose: Purpose,
    pub(super) blocks: bool,
    /// When that was.
    pub(super) at: Instant,
}

pub(super) fn end() -> Ended {
    let job = CURRENT.with(|current| current.borrow_mut().take());
    let mut ended = Ended {
        at: Instant::now(),
        ran: Duration::ZERO,
        class: Class::Short,
        purpose: Purpose::Query,
        blocks: false,
    };
    if let Some(mut job) = job {
        ended.ran = job.close_slice(ended.at);
        (ended.class, ended.purpose, ended.blocks) = (job.class, job.purpose, job.blocks);
    }
    ended
}

/// To be called by a job that is about to wait for a disk.
pub(in crate::database) fn about_to_block() {
    CURRENT.with(|current| {
        if let Some(current) = current.borrow_mut().as_mut() {
            let shared = Arc::clone(&current.shared);
            shared.begin_blocking(current);
        }
    });
}

/// To be called often by a running job. When its slice is over and somebody else is due, waits until it has a place again.
pub(in crate::database) fn give_way(now: Instant) {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        let Some(current) = current.as_mut() else { return };
        let config = current.shared.config();
        if now.saturating_duration_since(current.slice_began) < config.slice {
            return;
        }
        let long_after = config.long_after;
        let ran = current.close_slice(now);
        let becomes_long = current.class == Class::Short && current.ran >= long_after;
        current.end_slice(ran, becomes_long);
    });
}

/// To be called by a job that is going to run for long without looking up, such as one that reads megabytes: it goes behind right away, not
/// only when it has been found out. Waits for a place of those for long jobs.
pub fn runs_long() {
    CURRENT.with(|current| {
        if let Some(current) = current.borrow_mut().as_mut()
            && current.class == Class::Short
        {
            let ran = current.close_slice(Instant::now());
            current.end_slice(ran, true);
        }
    });
}

/// To be called by a job that prepares another one of its tenant's, such as one that reads a request, or tidies up.
pub fn is_errand() {
    CURRENT.with(|current| {
        if let Some(current) = current.borrow_mut().as_mut() {
            current.purpose = Purpose::Errand;
        }
    });
}

/// How long the present job has been without a place so far: paused, or in [`while_waiting`].
pub(in crate::database) fn time_away() -> Duration {
    CURRENT.with(|current| current.borrow().as_ref().map_or(Duration::ZERO, |current| current.away))
}

/// Runs `wait`, which may block on something outside of the node, such as a slow client. On a database thread the job does not
/// count as running meanwhile, so that others can; it goes on when it has a place again.
pub fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    /// Takes a place again, also when `wait` panicked.
    struct Away;
    impl Drop for Away {
        fn drop(&mut self) {
            CURRENT.with(|current| {
                if let Some(current) = current.borrow_mut().as_mut() {
                    let shared = Arc::clone(&current.shared);
                    shared.come_back(current);
                    current.reopen_slice();
                }
            });
        }
    }
    CURRENT.with(|current| {
        if let Some(current) = current.borrow_mut().as_mut() {
            let ran = current.close_slice(Instant::now());
            let shared = Arc::clone(&current.shared);
            shared.leave(current, ran);
        }
    });
    let _away = Away;
    wait()
}
