//! Jobs that are in the way, the threads that they run on, and what becomes of the others.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::tests::{CONFIG, account, hold, hold_after, stop};
use super::*;
use crate::database::schedule::{give_way, is_errand, runs_long};
use crate::thread_slices::{self, Slice};

/// A job that says that it is long, and is.
fn until_long() {
    runs_long();
    let before = priority::own_processor_time();
    while !priority::is_long(priority::own_processor_time().saturating_sub(before)) {}
}

/// What comes of it, which must not take for ever.
async fn soon<T>(job: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), job).await.unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_waits_while_a_lowered_thread_ends_runs_with_the_ordinary_priority() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let ordinary = threads.run(account(1), niceness).await.unwrap();
    for _ in 0..20 {
        let lowered = hold_after(&threads, 1, runs_long, runs_long).await;
        let mut waiting = Box::pin(threads.run(account(2), niceness));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        lowered.finish().await;
        assert_eq!(waiting.await.unwrap(), ordinary);
    }
    stop(&threads).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_waits_at_a_stop_runs_though_the_last_thread_was_lowered() {
    for _ in 0..20 {
        let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
        let lowered = hold_after(&threads, 1, runs_long, runs_long).await;
        let mut waiting = Box::pin(threads.run(account(2), || 7));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        lowered.finish().await;
        stop(&threads).await;
        assert_eq!(waiting.await.unwrap(), 7);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_job_that_never_looks_up_is_put_behind_the_others_and_one_that_only_waits_is_not() {
    let threads = Arc::new(DatabaseThreads::of_test(ThreadsConfig { places: 2, ..CONFIG }).unwrap());
    let waiting = || {
        std::thread::sleep(Duration::from_millis(50));
        niceness()
    };
    let ordinary = threads.run(account(1), niceness).await.unwrap();
    let waited = threads.run(account(1), waiting).await.unwrap();
    assert_eq!(waited, ordinary, "it has used no processor");
    let busy = move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while niceness() == ordinary && Instant::now() < deadline {}
        (niceness(), rustix::thread::gettid())
    };
    let (lowered, lowered_thread) = threads.run(account(2), busy).await.unwrap();
    assert!(lowered > ordinary, "{lowered}");
    // One that says so itself goes behind at once.
    let announced = || {
        let before = niceness();
        runs_long();
        (before, niceness())
    };
    assert_eq!(threads.run(account(2), announced).await.unwrap(), (ordinary, lowered));
    // Its thread is not for others: what comes after it has the ordinary priority.
    for _ in 0..5 {
        let (after, thread_after) = threads
            .run(account(1), || (niceness(), rustix::thread::gettid()))
            .await
            .unwrap();
        assert_eq!(after, ordinary);
        assert_ne!(thread_after, lowered_thread);
    }
    stop(&threads).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn jobs_of_a_tenant_that_has_long_ones_only_begin_behind_the_others_on_a_thread_that_is_kept_for_them() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let at_work = || (niceness(), rustix::thread::gettid());
    let busy = move || {
        let begun_with = at_work();
        until_long();
        begun_with
    };
    let (ordinary, _) = threads.run(account(1), at_work).await.unwrap();
    // After a few of them it is known. What only prepares them is short, which says nothing.
    let mut known = None;
    for _ in 0..10 {
        threads.run(account(2), is_errand).await.unwrap();
        let (niceness, thread) = threads.run(account(2), busy).await.unwrap();
        if niceness > ordinary {
            assert_eq!(
                known.replace(thread).unwrap_or(thread),
                thread,
                "one thread for one place"
            );
        } else {
            assert_eq!(known, None);
        }
        assert_eq!(threads.run(account(1), at_work).await.unwrap().0, ordinary);
    }
    assert!(known.is_some());
    // Two jobs of another kind, and it has the same as everybody.
    for _ in 0..2 {
        assert!(threads.run(account(2), at_work).await.unwrap().0 > ordinary);
    }
    assert_eq!(threads.run(account(2), at_work).await.unwrap().0, ordinary);
    stop(&threads).await;
}

/// The slices of the calling thread, where the kernel tells and has them for each thread: from Linux 6.12 on.
#[cfg(target_os = "linux")]
fn slice() -> Option<Duration> {
    let thread = rustix::thread::gettid();
    let text = std::fs::read_to_string(format!("/proc/self/task/{}/sched", thread.as_raw_nonzero())).ok()?;
    let line = text.lines().find(|line| line.starts_with("se.slice"))?;
    line.rsplit(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn database_threads_have_longer_slices_than_others_and_the_longest_while_they_are_in_the_way() {
    let on_its_own = std::thread::spawn(|| {
        let before = slice()?;
        thread_slices::keep_waits_short();
        let (own, started) = (slice(), std::thread::spawn(slice).join().unwrap());
        (own != Some(before)).then_some((own?, started?))
    });
    let Some((short, inherited)) = on_its_own.join().unwrap() else {
        eprintln!("skipped: this kernel does not give each thread slices of its own, or does not show them");
        return;
    };
    assert_eq!(inherited, short);
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let ordinary = threads.run(account(1), slice).await.unwrap().unwrap();
    assert!(ordinary > short);
    let busy = move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while slice() <= Some(ordinary) && Instant::now() < deadline {}
        slice()
    };
    for _ in 0..3 {
        assert!(threads.run(account(1), busy).await.unwrap() > Some(ordinary));
        // Whichever thread that is: the same as for all others.
        assert_eq!(threads.run(account(1), slice).await.unwrap(), Some(ordinary));
    }
    let announced = || {
        runs_long();
        slice()
    };
    assert!(threads.run(account(1), announced).await.unwrap() > Some(ordinary));
    stop(&threads).await;
}

/// The policy of the calling thread, as `sched(7)` numbers them.
#[cfg(target_os = "linux")]
fn policy() -> i32 {
    let thread = rustix::thread::gettid();
    let text = std::fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero())).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    fields.split(' ').nth(38).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn database_threads_displace_nobody_while_one_busy_tenant_is_alone() {
    if policy() != libc::SCHED_OTHER
        || thread_slices::set(rustix::thread::gettid(), niceness(), Slice::Database).is_err()
    {
        eprintln!("skipped: the test was not started with the ordinary policy, or may not choose slices");
        return;
    }
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    assert_eq!(threads.run(account(1), policy).await.unwrap(), libc::SCHED_OTHER);
    Lane::Busy.enter();
    assert_eq!(threads.run(account(1), policy).await.unwrap(), libc::SCHED_BATCH);
    Lane::Quiet.enter();
    assert_eq!(threads.run(account(2), policy).await.unwrap(), libc::SCHED_OTHER);
    Lane::Busy.enter();
    assert_eq!(threads.run(account(1), policy).await.unwrap(), libc::SCHED_OTHER);
    // Who has been idle is forgotten as soon as the others have used as much.
    let deadline = Instant::now() + Duration::from_secs(20);
    while threads.run(account(1), policy).await.unwrap() != libc::SCHED_BATCH {
        assert!(Instant::now() < deadline, "the other one is never forgotten");
        threads.refuse_late(Instant::now());
    }
    assert_eq!(threads.run(account(2), policy).await.unwrap(), libc::SCHED_OTHER);
    Lane::Quiet.enter();
    stop(&threads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_expected_to_be_long_begins_beside_tenants_whose_short_ones_never_end() {
    let config = ThreadsConfig {
        places: 2,
        waiting: 64,
        ..CONFIG
    };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    for _ in 0..8 {
        threads.run(account(1), until_long).await.unwrap();
    }
    assert_eq!(
        threads.shared.state.lock().queue.expected(account(1).tenant),
        Class::Long
    );
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut neighbours = tokio::task::JoinSet::new();
    for task in 0..12 {
        let tenant = 2 + task % 4;
        let (threads, over) = (Arc::clone(&threads), Arc::clone(&over));
        neighbours.spawn(async move {
            while !over.load(Relaxed) {
                threads.run(account(tenant), || ()).await.unwrap();
            }
        });
    }
    for _ in 0..50 {
        soon(threads.run(account(1), until_long)).await.unwrap();
    }
    over.store(true, Relaxed);
    while let Some(neighbour) = neighbours.join_next().await {
        neighbour.unwrap();
    }
    stop(&threads).await;
}

#[tokio::test]
async fn long_jobs_take_turns_while_a_short_one_is_at_one_thing_and_nothing_waits() {
    let config = ThreadsConfig {
        places: 3,
        long_after: Duration::ZERO,
        ..CONFIG
    };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    let first = hold(&threads, 1, || give_way(Instant::now())).await;
    let at_one_thing = hold(&threads, 3, std::thread::yield_now).await;
    let (turns, has_had) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let second = tokio::spawn({
        let threads = Arc::clone(&threads);
        async move {
            let work = move || {
                while released.try_recv().is_err() {
                    give_way(Instant::now());
                    turns.send(()).unwrap();
                }
            };
            threads.run(account(2), work).await
        }
    });
    let counted = tokio::task::spawn_blocking(move || {
        let counted = (0..20)
            .filter(|_| has_had.recv_timeout(Duration::from_secs(20)).is_ok())
            .count();
        (counted, has_had)
    });
    let (counted, _has_had) = counted.await.unwrap();
    assert_eq!(counted, 20);
    release.send(()).unwrap();
    second.await.unwrap().unwrap();
    first.finish().await;
    at_one_thing.finish().await;
    stop(&threads).await;
}

#[tokio::test]
async fn at_the_most_threads_one_that_waits_makes_room_for_one_of_the_other_kind() {
    let config = ThreadsConfig {
        places: 2,
        most_threads: 2,
        ..CONFIG
    };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    for round in 0..20 {
        for _ in 0..5 {
            soon(threads.run(account(1), until_long)).await.unwrap();
        }
        // Two threads for short ones are wanted now, so the lowered one has to go.
        let first = hold(&threads, 100 + round, std::thread::yield_now).await;
        assert_eq!(soon(threads.run(account(3), || 3)).await.unwrap(), 3);
        first.finish().await;
        assert!(threads.shared.state.lock().alive <= 2);
    }
    stop(&threads).await;
}

#[tokio::test]
async fn what_did_not_run_and_what_only_tidies_up_changes_no_expectation() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let tenant = account(1);
    for _ in 0..8 {
        threads.run(tenant, until_long).await.unwrap();
    }
    for _ in 0..8 {
        let held = hold(&threads, 2, std::thread::yield_now).await;
        {
            let mut given_up = Box::pin(threads.run(tenant, || ()));
            assert!(futures_util::poll!(&mut given_up).is_pending());
        }
        let (done, is_done) = oneshot::channel();
        threads.clean_up(tenant, move || done.send(()).unwrap());
        held.finish().await;
        is_done.await.unwrap();
    }
    // Behind it in its tenant's row.
    threads.run(tenant, is_errand).await.unwrap();
    assert_eq!(threads.shared.state.lock().queue.expected(tenant.tenant), Class::Long);
    stop(&threads).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn threads_are_started_also_when_all_of_the_node_have_been_reniced() {
    let threads = Arc::new(DatabaseThreads::of_test(ThreadsConfig { places: 3, ..CONFIG }).unwrap());
    let reniced = niceness() + 3;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let id = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // One that has just ended is none of ours.
        let _ended = rustix::process::setpriority_process(rustix::process::Pid::from_raw(id), reniced);
    }
    let first = hold(&threads, 1, std::thread::yield_now).await;
    let second = hold(&threads, 2, std::thread::yield_now).await;
    assert_eq!(soon(threads.run(account(3), niceness)).await.unwrap(), reniced);
    first.finish().await;
    second.finish().await;
    stop(&threads).await;
}
