//! Waits of a database thread for something outside of the node. They do not count as the statement's run time.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// How long the statement that this thread runs has waited so far.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs `wait`, which may block on something outside of the node such as a slow client, from a database thread; the
/// thread does not count as running meanwhile.
pub fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = wait();
    WAITED.set(WAITED.get().saturating_add(began.elapsed()));
    outcome
}

/// A statement begins on this thread: it has waited for nothing yet.
pub(super) fn begin_statement() {
    WAITED.set(Duration::ZERO);
}

/// How long the statement that this thread runs has waited so far.
pub(super) fn waited() -> Duration {
    WAITED.get()
}
