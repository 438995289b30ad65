//! The kernel's scheduling attributes of a thread, as `sched_setattr` sets them: how nice it is and how long its slices are. Unsafe, since no
//! crate wraps that call for ordinary threads: one system call with a structure that outlives it.
//!
//! Linux divides time by priority, but whom it runs next it decides by who has the nearer deadline, and a thread's deadline is one slice away. A thread
//! with a short slice that wakes runs at once where one with longer slices is at work; otherwise it waits until the kernel looks again, up
//! to a timer tick later (<https://docs.kernel.org/scheduler/sched-eevdf.html>).
#![expect(
    unsafe_code,
    reason = "neither the standard library nor rustix has sched_setattr for the ordinary policy"
)]

use std::time::Duration;

use rustix::process::Pid;

/// Sets both for a thread of this process. Before Linux 6.12 the slice is ignored.
///
/// # Errors
/// When the kernel refuses: a niceness below the present one, or a sandbox without this call.
pub(super) fn set(thread: Pid, nice: i32, slice: Duration) -> std::io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(u32::MAX),
        sched_policy: 0,
        // A policy that the node was started with stays; one for real time has no slices, and is refused.
        sched_flags: u64::from(libc::SCHED_FLAG_KEEP_POLICY.unsigned_abs()),
        sched_nice: nice,
        sched_priority: 0,
        // For ordinary threads, the slice in nanoseconds.
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
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
