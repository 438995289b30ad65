use std::sync::mpsc;

use tenantry_types::TenantUid;
use tokio::sync::oneshot;

use super::*;
use crate::database::schedule::{about_to_block, give_way, runs_long, while_waiting};

pub(super) const CONFIG: ThreadsConfig = ThreadsConfig {
    places: 1,
    eager_places: 1,
    long_places: 1,
    begun_per_tenant: 4,
    away_per_tenant: 2,
    most_undelivered: 64,
    most_threads: 8,
    waiting: 4,
    patience: Duration::from_secs(60),
    slice: Duration::ZERO,
    long_after: Duration::from_secs(60),
};

impl DatabaseThreads {
    /// Whose tenants are charged by nobody.
    pub(super) fn of_test(config: ThreadsConfig) -> Result<Self, StartError> {
        Self::start(config, Box::new(|_, _| ()))
    }
}

pub(super) fn account(tenant: u128) -> Account {
    Account {
        tenant: TenantUid::from_u128(tenant),
        weight: 1,
    }
}

pub(super) async fn stop(threads: &Arc<DatabaseThreads>) {
    let threads = Arc::clone(threads);
    tokio::task::spawn_blocking(move || threads.stop()).await.unwrap();
}

/// A job that has begun and goes on until it is released.
pub(super) struct Held {
    pub(super) release: mpsc::Sender<()>,
    pub(super) job: tokio::task::JoinHandle<Result<bool, DatabaseError>>,
}

pub(super) async fn hold(threads: &Arc<DatabaseThreads>, tenant: u128, while_held: fn()) -> Held {
    hold_after(threads, tenant, || (), while_held).await
}

/// The same, after something that it does first.
pub(super) async fn hold_after(threads: &Arc<DatabaseThreads>, tenant: u128, first: fn(), while_held: fn()) -> Held {
    let (started, has_started) = oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let threads = Arc::clone(threads);
    let job = tokio::spawn(async move {
        let work = move || {
            first();
            started.send(()).unwrap();
            loop {
                match released.try_recv() {
                    Ok(()) => return true,
                    Err(mpsc::TryRecvError::Disconnected) => return false,
                    Err(mpsc::TryRecvError::Empty) => while_held(),
                }
            }
        };
        threads.run(account(tenant), work).await
    });
    has_started.await.unwrap();
    Held { release, job }
}

impl Held {
    pub(super) async fn finish(self) {
        self.release.send(()).unwrap();
        assert!(self.job.await.unwrap().unwrap());
    }
}

#[test]
fn what_comes_while_all_threads_are_at_something_long_is_not_left_to_them() {
    let limits = Limits {
        places: 4,
        eager_places: 2,
        long_places: 1,
        begun_per_tenant: 4,
        away_per_tenant: 0,
        waiting: 4,
        waiting_per_tenant: 4,
    };
    let began = Instant::now();
    let mut state = State::new(Queue::new(limits));
    for tenant in 0..2 {
        assert!(!state.is_attended(began), "a core is free");
        assert!(
            state
                .queue
                .push(account(tenant), Lane::Quiet, Job::unattended(|| ()), began)
                .is_ok()
        );
        assert!(state.queue.next(MayBegin::ANYTHING).is_some());
        state.add(Thread::new(Priority::Ordinary));
        state.begin_stretch(usize::try_from(tenant).unwrap(), began);
    }
    assert!(state.is_attended(began));
    let later = began + Duration::from_millis(10);
    assert!(!state.is_attended(later));
    let resuming = state.assign(0, Assigned::Resume, later);
    assert!(state.is_attended(later), "one of them is being woken");
    resuming.unwrap().hand_over();
    assert!(matches!(state.slot(0).wait(), Assigned::Resume));
    let much_later = later + Duration::from_millis(10);
    assert!(!state.is_attended(much_later), "the kernel has no processor for it");
    state.end_stretch(0);
    assert!(!state.is_attended(later));
    state.begin_stretch(1, later);
    assert!(state.is_attended(later), "one of them began something else");
    state.set_lowered(1);
    assert!(!state.is_attended(later), "it begins long jobs only from here on");
}

#[test]
fn threads_are_counted_by_priority_and_found_by_class() {
    let limits = Limits {
        places: 1,
        eager_places: 1,
        long_places: 1,
        begun_per_tenant: 1,
        away_per_tenant: 0,
        waiting: 1,
        waiting_per_tenant: 1,
    };
    let mut state = State::new(Queue::new(limits));
    let (first, second) = (
        state.add(Thread::new(Priority::Ordinary)),
        state.add(Thread::new(Priority::Lowered)),
    );
    assert_eq!((state.alive, state.lowered()), (2, 1));
    state.set_idle(first);
    state.set_idle(second);
    assert_eq!((state.idle(Priority::Ordinary), state.idle(Priority::Lowered)), (1, 1));
    assert_eq!(state.take_idle(Class::Long), Some(second));
    assert_eq!(state.take_idle(Class::Long), None);
    assert_eq!(state.end_idle(Instant::now()).len(), 1);
    assert_eq!(state.take_idle(Class::Short), None);
    assert!(!state.acquit(first));
    state.set_suspected(first);
    assert_eq!(state.priority(first), Priority::Suspected);
    assert_eq!((state.alive, state.lowered()), (2, 1));
    assert!(state.acquit(first) && !state.acquit(first));
    for _ in 0..2 {
        state.set_lowered(first);
        state.set_suspected(first);
        assert!(!state.acquit(first), "a lowered thread stays one");
        assert_eq!((state.alive, state.lowered()), (2, 2));
    }
    state.remove(first);
    assert_eq!((state.alive, state.lowered()), (1, 1));
    assert_eq!(state.add(Thread::new(Priority::Ordinary)), first, "its number is free");
    assert_eq!((state.alive, state.lowered()), (2, 1));
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_panic_leaves_the_threads_alive() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let crashed = threads.run(account(1), || panic!("on purpose")).await;
    assert!(matches!(crashed, Err::<(), _>(DatabaseError::Crashed)));
    let first = hold(&threads, 1, std::thread::yield_now).await;
    let mut second = Box::pin(threads.run(account(1), || 2));
    assert!(futures_util::poll!(&mut second).is_pending());
    let third = threads.run(account(1), || 3).await;
    assert!(
        matches!(third, Err(DatabaseError::Overloaded { .. })),
        "a quarter of the queue is one tenant's"
    );
    first.finish().await;
    assert_eq!(second.await.unwrap(), 2);
    stop(&threads).await;
    assert!(matches!(
        threads.run(account(1), || 4).await,
        Err(DatabaseError::Stopping)
    ));
}

#[tokio::test]
async fn what_is_refused_gives_back_what_it_would_have_worked_with() {
    async fn ask(threads: &DatabaseThreads) -> NotRun<String> {
        let work = |state: String| assert!(state.is_empty(), "it was run");
        threads.run_with(account(1), "mine".to_owned(), work).await.unwrap_err()
    }
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let first = hold(&threads, 1, std::thread::yield_now).await;
    let mut second = Box::pin(threads.run(account(1), || 2));
    assert!(futures_util::poll!(&mut second).is_pending());
    let full = ask(&threads).await;
    first.finish().await;
    assert_eq!(second.await.unwrap(), 2);
    stop(&threads).await;
    let stopping = ask(&threads).await;
    let impatient = ThreadsConfig {
        patience: Duration::ZERO,
        ..CONFIG
    };
    let threads = Arc::new(DatabaseThreads::of_test(impatient).unwrap());
    let late = ask(&threads).await;
    stop(&threads).await;
    for not_run in [full, stopping, late] {
        assert_eq!(not_run.state.as_deref(), Some("mine"), "{}", not_run.error);
    }
}

#[tokio::test]
async fn a_job_that_runs_on_gives_its_place_to_another_tenant_and_goes_on_afterwards() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let endless = hold(&threads, 1, || give_way(Instant::now())).await;
    for turn in 0..10 {
        assert_eq!(threads.run(account(2), move || turn).await.unwrap(), turn);
    }
    endless.finish().await;
    stop(&threads).await;
}

#[tokio::test]
async fn a_job_that_waits_for_its_client_leaves_its_place_to_others() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let (answer, client) = mpsc::channel();
    let (started, has_started) = oneshot::channel();
    let slow = tokio::spawn({
        let threads = Arc::clone(&threads);
        async move {
            let work = move || {
                started.send(()).unwrap();
                while_waiting(|| client.recv().unwrap())
            };
            threads.run(account(1), work).await
        }
    });
    has_started.await.unwrap();
    assert_eq!(threads.run(account(2), || 2).await.unwrap(), 2);
    assert_eq!(threads.run(account(1), || 3).await.unwrap(), 3);
    answer.send(7).unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), 7);
    stop(&threads).await;
}

#[tokio::test]
async fn a_panic_while_waiting_outside_gives_no_place_away() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    for _ in 0..3 {
        let crashed = threads.run(account(1), || while_waiting(|| panic!("on purpose"))).await;
        assert!(matches!(crashed, Err::<(), _>(DatabaseError::Crashed)));
    }
    assert_eq!(threads.run(account(1), || 1).await.unwrap(), 1);
    stop(&threads).await;
}

#[tokio::test]
async fn long_jobs_take_no_threads_from_others_and_none_is_left_at_the_end() {
    let config = ThreadsConfig {
        long_after: Duration::ZERO,
        ..CONFIG
    };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    for turn in 0..20 {
        let long = threads.run(account(1), move || {
            give_way(Instant::now());
            turn
        });
        assert_eq!(long.await.unwrap(), turn);
        assert_eq!(threads.run(account(2), move || turn).await.unwrap(), turn);
    }
    assert!(threads.shared.state.lock().alive <= CONFIG.most_threads);
    stop(&threads).await;
    // The kernel gives the numbers of threads that have ended to others.
    let state = threads.shared.state.lock();
    assert_eq!((state.alive, state.lowered()), (0, 0));
    assert!(
        state
            .threads
            .iter()
            .all(|thread| thread.id.is_none() && thread.stretch.is_none())
    );
}

#[tokio::test]
async fn jobs_that_say_that_they_run_long_leave_places_to_others() {
    let config = ThreadsConfig { places: 2, ..CONFIG };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    let announced = |tenant| hold(&threads, tenant, runs_long);
    let (first, second) = (announced(1).await, announced(2).await);
    // One of them has the place for long jobs, the other waits for it.
    assert_eq!(threads.run(account(3), || 3).await.unwrap(), 3);
    first.release.send(()).unwrap();
    second.release.send(()).unwrap();
    assert!(first.job.await.unwrap().unwrap() && second.job.await.unwrap().unwrap());
    stop(&threads).await;
}

#[tokio::test]
async fn a_job_does_not_wait_for_a_thread_that_does_not_come_back() {
    let config = ThreadsConfig { places: 4, ..CONFIG };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    // Neither looks at the clock, as in a read of a slow disk.
    let first = hold(&threads, 1, std::thread::yield_now).await;
    let second = hold(&threads, 2, std::thread::yield_now).await;
    assert_eq!(threads.run(account(3), || 3).await.unwrap(), 3);
    first.finish().await;
    second.finish().await;
    stop(&threads).await;
}

#[tokio::test]
async fn a_job_that_is_about_to_wait_for_a_disk_leaves_the_core_to_others() {
    let config = ThreadsConfig { places: 2, ..CONFIG };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    for turn in 0..20 {
        let writer = hold(&threads, 1, || {
            about_to_block();
            std::thread::yield_now();
        })
        .await;
        assert_eq!(threads.run(account(2), move || turn).await.unwrap(), turn);
        writer.finish().await;
    }
    stop(&threads).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_does_not_begin() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let held = hold(&threads, 1, std::thread::yield_now).await;
    let (began, has_begun) = mpsc::channel();
    {
        let mut given_up = Box::pin(threads.run(account(2), move || began.send(()).unwrap()));
        assert!(futures_util::poll!(&mut given_up).is_pending());
    }
    held.finish().await;
    stop(&threads).await;
    assert!(has_begun.recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_jobs_in_quick_succession_all_run_while_results_hold_others_back() {
    let config = ThreadsConfig {
        places: 2,
        eager_places: 2,
        most_undelivered: 1,
        waiting: 64,
        ..CONFIG
    };
    for tenants in [1, 2] {
        let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
        let mut asking = tokio::task::JoinSet::new();
        for task in 0..8 {
            let threads = Arc::clone(&threads);
            asking.spawn(async move {
                for turn in 0..200 {
                    assert_eq!(threads.run(account(task % tenants), move || turn).await.unwrap(), turn);
                }
            });
        }
        while let Some(ended) = asking.join_next().await {
            ended.unwrap();
        }
        stop(&threads).await;
        assert!(threads.shared.state.lock().lingering.is_none());
    }
}

#[tokio::test]
async fn a_job_that_waited_too_long_is_refused() {
    let config = ThreadsConfig {
        patience: Duration::ZERO,
        ..CONFIG
    };
    let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
    let late = threads.run(account(1), || ()).await;
    assert!(matches!(late, Err(DatabaseError::Overloaded { .. })), "{late:?}");
    stop(&threads).await;
}

#[tokio::test]
async fn clean_up_runs_also_after_the_stop() {
    let threads = Arc::new(DatabaseThreads::of_test(CONFIG).unwrap());
    let (done, is_done) = mpsc::channel();
    let again = done.clone();
    threads.clean_up(account(1), move || done.send(1).unwrap());
    stop(&threads).await;
    threads.clean_up(account(1), move || again.send(2).unwrap());
    assert_eq!(is_done.iter().collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_all_kinds_run_while_tenants_change_theirs_and_at_a_stop() {
    let config = ThreadsConfig {
        places: 3,
        eager_places: 2,
        waiting: 256,
        long_after: Duration::from_micros(50),
        ..CONFIG
    };
    for round in 0..5 {
        let threads = Arc::new(DatabaseThreads::of_test(config).unwrap());
        let mut asking = tokio::task::JoinSet::new();
        for task in 0..12_u32 {
            let threads = Arc::clone(&threads);
            asking.spawn(async move {
                let mut answered = 0;
                for turn in 0..60_u32 {
                    // Long for a while, then short.
                    let is_long = (turn / 12 + task + round) % 2 == 0;
                    let job = move || {
                        let began = Instant::now();
                        while is_long && began.elapsed() < Duration::from_micros(200) {
                            give_way(Instant::now());
                        }
                        turn
                    };
                    match threads.run(account(u128::from(task % 4)), job).await {
                        Ok(answer) => assert_eq!(answer, turn),
                        Err(DatabaseError::Stopping) => return answered,
                        Err(other) => panic!("{other}"),
                    }
                    answered += 1;
                }
                answered
            });
        }
        // Some are stopped in the middle: what was taken in is run.
        if round % 2 == 1 {
            stop(&threads).await;
        }
        let all = async {
            while let Some(answered) = asking.join_next().await {
                let answered = answered.unwrap();
                assert!(round % 2 == 1 || answered == 60);
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        stop(&threads).await;
    }
}
