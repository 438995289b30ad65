//! Which threads the kernel prefers: those of jobs that have run for long, or that never look up, take what the others leave.
//!
//! A job that runs statements looks up every few hundred instructions of SQLite's and makes room itself. One that parses megabytes, or
//! is inside a single function of SQLite's, does not. It cannot be interrupted, but it need not stand in the way: the watch looks at
//! what each thread is busy with and lowers the priority of those that have used the processor for too long in one stretch. What
//! waits for a disk or for the processor uses none and is left alone.
//!
//! An ordinary process cannot take a lower priority back: whoever has one keeps it.

use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::queue::Company;
use crate::thread_slices::{self, Slice, niceness_of};

/// How much nicer such a thread is than others: of a busy processor it gets a thirtieth of what they get. The less it is to have, the less the
/// kernel owes it, and the shorter others wait for it that have just run.
const LOWERED_BY: i32 = 15;
/// There is no lower priority.
const NICEST: i32 = 19;
/// A stretch of this length is looked at.
const SUSPICIOUS: Duration = Duration::from_millis(1);
/// Processor time since it was first looked at, from which on a stretch is in the way.
const IN_THE_WAY: Duration = Duration::from_micros(250);
/// The same, from which on it is too long.
const TOO_LONG: Duration = Duration::from_millis(2);

/// Time of one thread in which nobody could ask it for its place.
#[derive(Debug)]
pub(super) struct Stretch {
    began: Instant,
    /// Processor time of the thread when the stretch was first looked at.
    first_look: Option<Duration>,
}

impl Stretch {
    pub(super) const fn begin(now: Instant) -> Self {
        Self {
            began: now,
            first_look: None,
        }
    }

    pub(super) fn is_suspicious(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= SUSPICIOUS
    }

    /// Tells it apart: two stretches of a thread never begin at the same time.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// What is to be thought of it, told from the processor time that its thread has used since that thread began.
    pub(super) fn judge(&mut self, used: Duration) -> Verdict {
        let first_look = *self.first_look.get_or_insert(used);
        match used.saturating_sub(first_look) {
            used if used >= TOO_LONG => Verdict::TooLong,
            used if used >= IN_THE_WAY => Verdict::InTheWay,
            _ => Verdict::Fine,
        }
    }
}

/// On a stretch that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It waits, for all that is known.
    Fine,
    /// Others should not have to wait for it.
    InTheWay,
    TooLong,
}

/// Processor time from which on a job that was expected to be long was one.
pub(super) fn is_long(used: Duration) -> bool {
    used >= SUSPICIOUS
}

/// From here on the thread only takes what the others, which are `nice`, leave: connections and short queries go first on a busy processor.
pub(super) fn lower(thread: Pid, nice: i32) {
    let nice = NICEST.min(nice + LOWERED_BY);
    #[cfg(target_os = "linux")]
    if thread_slices::set(thread, nice, Slice::InTheWay).is_err()
        && let Err(error) = rustix::process::setpriority_process(Some(thread), nice)
    {
        tracing::debug!(%error, "the priority of a long query could not be lowered");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (thread, nice);
}

/// The calling thread is an ordinary database thread from here on.
pub(super) fn ordinary() {
    keep_company(rustix::thread::gettid(), Company::Others);
}

/// The thread, an ordinary one, begins a job in that company.
pub(super) fn keep_company(thread: Pid, company: Company) {
    let slice = match company {
        Company::Alone => Slice::DatabaseOfOneTenant,
        Company::Others => Slice::Database,
    };
    // Whoever runs the node may have changed it meanwhile.
    set_slice(thread, niceness_of(thread), slice);
}

/// From here on whoever wakes goes before the thread, until it calls [`ordinary`].
pub(super) fn suspect(thread: Pid, nice: i32) {
    set_slice(thread, nice, Slice::InTheWay);
}

/// Does nothing where the kernel cannot: then who wakes may wait for its timer.
fn set_slice(thread: Pid, nice: i32, slice: Slice) {
    if let Err(error) = thread_slices::set(thread, nice, slice) {
        tracing::debug!(%error, ?slice, "the slices of a thread could not be set");
    }
}

/// Processor time that the calling thread has used so far.
pub(super) fn own_processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Never negative.
    Duration::try_from(time).unwrap_or_default()
}

/// Processor time that a thread of this process has used so far; `None` where the kernel does not say, or the thread has ended.
pub(super) fn processor_time(thread: Pid) -> Option<Duration> {
    let path = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
    let text = std::fs::read_to_string(path).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_too_long_by_processor_time_and_not_by_the_clock() {
        let began = Instant::now();
        let mut stretch = Stretch::begin(began);
        assert!(!stretch.is_suspicious(began) && stretch.is_suspicious(began + SUSPICIOUS));
        // A thread that has used a second before.
        let used = Duration::from_secs(1);
        assert_eq!(stretch.judge(used), Verdict::Fine);
        assert_eq!(stretch.judge(used), Verdict::Fine, "it waits");
        assert_eq!(stretch.judge(used + IN_THE_WAY), Verdict::InTheWay);
        assert_eq!(stretch.judge(used + TOO_LONG), Verdict::TooLong);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_processor_time_of_a_thread_grows_while_it_works() {
        let this = rustix::thread::gettid();
        let before = processor_time(this).unwrap();
        let mut sum = 0_u64;
        while processor_time(this).unwrap() < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
