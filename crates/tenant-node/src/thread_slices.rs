//! How long each kind of thread keeps the processor when others want it: the order in which the kernel serves this process's threads.
//!
//! Linux divides time by priority, but whom it runs next it decides by who has the nearer deadline, and a thread's deadline is one slice away. A thread
//! with a short slice that wakes runs at once where one with longer slices is at work; otherwise it waits until the kernel looks again, up
//! to a timer tick later (<https://docs.kernel.org/scheduler/sched-eevdf.html>).
//!
//! Unsafe, since no crate wraps `sched_setattr` for ordinary threads: one system call with a structure that outlives it.
#![expect(
    unsafe_code,
    reason = "neither the standard library nor rustix has sched_setattr for the ordinary policy"
)]

#[cfg(target_os = "linux")]
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Pid;

/// Threads by how soon they run when they wake: each before those further down, where it does not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slice {
    /// Async workers, the watch over the database threads, the log: they have little to do each time.
    Shortest,
    /// Database threads, and async workers of the busy lane while nobody is in the quiet one. These hand each other work all the time: were one kind to displace
    /// the other whenever it wakes, nothing would be done at a stretch.
    Database,
    /// The same for database threads while a busy tenant is alone on the node: they displace nobody at all when they wake (`SCHED_BATCH`, which kernels without
    /// slices have, too). Whoever has a job for them goes on first, and has more of them by the time they run.
    DatabaseOfOneTenant,
    /// Async workers of the busy lane, while there is somebody in the quiet one.
    BusyLane,
    /// Database threads that are in the way of others.
    InTheWay,
}

impl Slice {
    const fn length(self) -> Duration {
        match self {
            // The shortest that the kernel has.
            Self::Shortest => Duration::from_micros(100),
            Self::Database | Self::DatabaseOfOneTenant => Duration::from_micros(500),
            Self::BusyLane => Duration::from_millis(3),
            Self::InTheWay => Duration::from_millis(20),
        }
    }
}

/// Whether the process was started with the ordinary policy.
#[cfg(target_os = "linux")]
static IS_ORDINARY: LazyLock<bool> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may hold anything; field 41 of all is the 39th behind it.
    let fields = text.rsplit_once(") ").map(|(_, fields)| fields);
    fields.and_then(|fields| fields.split(' ').nth(38)) == Some("0")
});

/// Has the calling thread, and those that it starts from here on, run as soon as they wake, before database threads: to be called before any
/// other thread is started.
pub fn keep_waits_short() {
    set_for_this_thread(Slice::Shortest);
}

/// Does nothing where the kernel cannot: then who wakes may wait for its timer.
pub(crate) fn set_for_this_thread(slice: Slice) {
    if let Err(error) = set(rustix::thread::gettid(), niceness(), slice) {
        tracing::debug!(%error, ?slice, "the slices of a thread could not be set");
    }
}

/// The niceness of the calling thread. A thread that it starts begins with the same.
pub(crate) fn niceness() -> i32 {
    niceness_of(rustix::thread::gettid())
}

/// The niceness of a thread of this process.
#[cfg(target_os = "linux")]
pub(crate) fn niceness_of(thread: Pid) -> i32 {
    rustix::process::getpriority_process(Some(thread)).unwrap_or(0)
}

/// Elsewhere priorities are of processes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn niceness_of(_thread: Pid) -> i32 {
    0
}

/// Sets both for a thread of this process. Before Linux 6.12 the slice is ignored.
///
/// # Errors
/// When the kernel refuses: a niceness below the present one, or a sandbox without this call.
#[cfg(target_os = "linux")]
pub(crate) fn set(thread: Pid, nice: i32, slice: Slice) -> std::io::Result<()> {
    let (policy, keep_policy) = match slice {
        // A policy that the node was started with stays; one for real time has no slices, and is refused.
        _ if !*IS_ORDINARY => (libc::SCHED_OTHER, libc::SCHED_FLAG_KEEP_POLICY),
        Slice::Shortest | Slice::BusyLane => (libc::SCHED_OTHER, libc::SCHED_FLAG_KEEP_POLICY),
        Slice::Database | Slice::InTheWay => (libc::SCHED_OTHER, 0),
        Slice::DatabaseOfOneTenant => (libc::SCHED_BATCH, 0),
    };
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(u32::MAX),
        sched_policy: policy.unsigned_abs(),
        sched_flags: u64::from(keep_policy.unsigned_abs()),
        sched_nice: nice,
        sched_priority: 0,
        // For ordinary threads, the slice in nanoseconds.
        sched_runtime: u64::try_from(slice.length().as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    let no_flags: libc::c_uint = 0;
    // SAFETY: the kernel reads as many bytes of the structure as its field `size` says, and keeps no pointer to it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            thread.as_raw_nonzero().get(),
            &raw const attributes,
            no_flags,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// No other system has such slices.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set(_thread: Pid, _nice: i32, _slice: Slice) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
