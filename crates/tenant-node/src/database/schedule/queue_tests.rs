use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    places: 2,
    eager_places: 1,
    long_places: 1,
    begun_per_tenant: 2,
    away_per_tenant: 1,
    waiting: 1_000,
    waiting_per_tenant: 500,
};

fn account(tenant: u128, weight: u32) -> Account {
    Account {
        tenant: TenantUid::from_u128(tenant),
        weight,
    }
}

/// One place, tenants who always have another job of a fixed length: how much time each gets.
fn shares(tenants: &[(u32, Duration)], total: Duration) -> Vec<Duration> {
    let now = Instant::now();
    let mut queue = Queue::new(Limits { places: 1, ..LIMITS });
    let accounts: Vec<_> = (1..)
        .zip(tenants)
        .map(|(uid, (weight, _))| account(uid, *weight))
        .collect();
    for (index, account) in accounts.iter().enumerate() {
        queue.push(*account, Lane::Quiet, index, now).unwrap();
    }
    let mut used = vec![Duration::ZERO; tenants.len()];
    while used.iter().sum::<Duration>() < total {
        let Some(Next::Begin(Begun { account, job, .. })) = queue.next(MayBegin::ANYTHING) else {
            panic!("somebody always waits")
        };
        // The next request comes before this one has ended, as from a client with many connections.
        queue.push(account, Lane::Quiet, job, now).unwrap();
        let length = tenants[job].1;
        used[job] += length;
        queue.charge(account, length);
        queue.end(account, Class::Short);
    }
    used
}

#[test]
fn equal_tenants_get_equal_time_however_long_their_jobs_are() {
    let used = shares(
        &[(1, Duration::from_micros(20)), (1, Duration::from_millis(1))],
        Duration::from_secs(1),
    );
    let difference = used[0].abs_diff(used[1]);
    assert!(difference <= Duration::from_millis(1), "{used:?}");
}

#[test]
fn a_tenant_is_alone_until_another_one_comes_and_again_when_that_one_is_forgotten() {
    let (mut queue, now) = (Queue::new(LIMITS), Instant::now());
    let (one, other) = (account(1, 1), account(2, 1));
    queue.push(one, Lane::Quiet, 1, now).unwrap();
    assert!(queue.has_one_tenant());
    queue.push(other, Lane::Quiet, 2, now).unwrap();
    while let Some(Next::Begin(Begun { account, .. })) = queue.next(MayBegin::ANYTHING) {
        queue.end(account, Class::Short);
        assert!(!queue.has_one_tenant(), "both have had something to run");
    }
    queue.forget_idle();
    assert!(queue.has_one_tenant());
}

#[test]
fn time_is_shared_by_weight() {
    let job = Duration::from_micros(100);
    let used = shares(&[(1, job), (2, job), (5, job), (20, job)], Duration::from_secs(1));
    let of_all: Vec<_> = used.iter().map(|used| (used.as_secs_f64() * 28.0).round()).collect();
    assert_eq!(of_all, [1.0, 2.0, 5.0, 20.0]);
}

#[test]
fn a_rush_of_one_tenant_does_not_delay_the_next_job_of_another() {
    let now = Instant::now();
    let mut queue = Queue::new(Limits { places: 1, ..LIMITS });
    let (hostile, quiet) = (account(1, 1), account(2, 1));
    for job in 0..500 {
        queue.push(hostile, Lane::Quiet, job, now).unwrap();
    }
    for _ in 0..10 {
        let Some(Next::Begin(Begun { account, .. })) = queue.next(MayBegin::ANYTHING) else {
            panic!()
        };
        queue.charge(account, Duration::from_millis(1));
        queue.end(account, Class::Short);
    }
    queue.push(quiet, Lane::Quiet, 1_000, now).unwrap();
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Begin(Begun { job: 1_000, .. }))
    ));
}

#[test]
fn a_pause_saves_nothing_up_and_a_debt_is_not_forgotten() {
    let now = Instant::now();
    let mut queue = Queue::new(Limits { places: 1, ..LIMITS });
    let run = |queue: &mut Queue<u32>, ran| {
        let Some(Next::Begin(Begun { account, job, .. })) = queue.next(MayBegin::ANYTHING) else {
            panic!()
        };
        queue.charge(account, ran);
        queue.end(account, Class::Short);
        job
    };
    // The second has used a second more than the first; then both are gone for a moment.
    queue.push(account(1, 1), Lane::Quiet, 1, now).unwrap();
    queue.push(account(2, 1), Lane::Quiet, 2, now).unwrap();
    run(&mut queue, Duration::from_millis(1));
    run(&mut queue, Duration::from_secs(1));
    queue.forget_idle();
    queue.push(account(2, 1), Lane::Quiet, 2, now).unwrap();
    queue.push(account(1, 1), Lane::Quiet, 1, now).unwrap();
    assert_eq!(run(&mut queue, Duration::from_millis(1)), 1);
    assert_eq!(run(&mut queue, Duration::from_millis(1)), 2);
    // A third who comes now shares from now on, and is not owed the past second.
    for _ in 0..10 {
        queue.push(account(2, 1), Lane::Quiet, 2, now).unwrap();
        queue.push(account(3, 1), Lane::Quiet, 3, now).unwrap();
    }
    let order: Vec<_> = (0..8).map(|_| run(&mut queue, Duration::from_millis(100))).collect();
    assert!(order.iter().filter(|job| **job == 3).count() <= 5, "{order:?}");
}

#[test]
fn a_running_job_gives_way_to_whoever_is_due_before_it_and_not_to_others() {
    let now = Instant::now();
    let mut queue = Queue::new(Limits { places: 1, ..LIMITS });
    let (busy, other) = (account(1, 1), account(2, 1));
    queue.push(busy, Lane::Quiet, 1, now).unwrap();
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Begin(Begun { job: 1, .. }))
    ));
    queue.charge(busy, Duration::from_millis(5));
    assert!(!queue.must_give_way(busy.tenant, Class::Short), "nobody waits");
    queue.push(busy, Lane::Quiet, 2, now).unwrap();
    assert!(!queue.must_give_way(busy.tenant, Class::Short), "its own jobs wait");
    queue.push(other, Lane::Quiet, 3, now).unwrap();
    assert!(queue.must_give_way(busy.tenant, Class::Short));
    queue.pause(busy, 7, Class::Short);
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Begin(Begun { job: 3, .. }))
    ));
    assert!(queue.next(MayBegin::ANYTHING).is_none(), "the one place is taken");
    queue.charge(other, Duration::from_millis(10));
    queue.end(other, Class::Short);
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Resume { thread: 7 })
    ));
}

#[test]
fn long_jobs_leave_a_place_for_short_ones() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    let accounts: Vec<_> = (1..=2).map(|uid| account(uid, 1)).collect();
    for (thread, account) in accounts.iter().enumerate() {
        queue.push(*account, Lane::Quiet, thread, now).unwrap();
        assert!(matches!(
            queue.next(MayBegin::ANYTHING),
            Some(Next::Begin(Begun { .. }))
        ));
    }
    queue.becomes_long();
    assert!(!queue.must_give_way(accounts[0].tenant, Class::Long));
    queue.becomes_long();
    assert!(queue.must_give_way(accounts[1].tenant, Class::Long), "one long place");
    queue.pause(accounts[1], 1, Class::Long);
    assert!(
        queue.next(MayBegin::ANYTHING).is_none(),
        "a free place, but not for a long job"
    );
    queue.push(account(3, 1), Lane::Quiet, 9, now).unwrap();
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Begin(Begun { job: 9, .. }))
    ));
    queue.end(account(3, 1), Class::Short);
    queue.end(accounts[0], Class::Long);
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Resume { thread: 1 })
    ));
}

/// Has the tenant's jobs be expected to be long.
fn expect_long(queue: &mut Queue<usize>, account: Account, now: Instant) {
    while queue.expected(account.tenant) == Class::Short {
        queue.push(account, Lane::Quiet, 0, now).unwrap();
        assert!(matches!(
            queue.next(MayBegin::ANYTHING),
            Some(Next::Begin(Begun { .. }))
        ));
        queue.becomes_long();
        queue.end(account, Class::Long);
        queue.learn(account.tenant, Class::Long);
    }
}

#[test]
fn jobs_that_are_expected_to_be_long_wait_for_a_place_of_those() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    let (long, short) = (account(1, 1), account(2, 1));
    expect_long(&mut queue, long, now);
    for job in 1..=2 {
        queue.push(long, Lane::Quiet, job, now).unwrap();
    }
    let only = |short, long| MayBegin {
        short,
        long,
        ..MayBegin::ANYTHING
    };
    assert!(queue.next(only(true, false)).is_none(), "there is no thread for it");
    let begins = queue.next(only(false, true));
    assert!(matches!(
        begins,
        Some(Next::Begin(Begun {
            job: 1,
            class: Class::Long,
            ..
        }))
    ));
    assert!(queue.next(MayBegin::ANYTHING).is_none(), "one long place");
    queue.push(short, Lane::Quiet, 3, now).unwrap();
    let begins = queue.next(MayBegin::ANYTHING);
    assert!(matches!(
        begins,
        Some(Next::Begin(Begun {
            job: 3,
            class: Class::Short,
            ..
        }))
    ));
    queue.end(long, Class::Long);
    queue.learn(long.tenant, Class::Short);
    queue.learn(long.tenant, Class::Short);
    queue.end(short, Class::Short);
    let begins = queue.next(MayBegin::ANYTHING);
    assert!(matches!(
        begins,
        Some(Next::Begin(Begun {
            job: 2,
            class: Class::Short,
            ..
        }))
    ));
}

#[test]
fn long_jobs_take_turns_with_each_other_while_there_are_places_for_short_ones() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    let (first, second, third) = (account(1, 1), account(2, 1), account(3, 1));
    // The first one's runs on, the second one's has become long, too, and made room.
    for (thread, account) in [first, second].into_iter().enumerate() {
        queue.push(account, Lane::Quiet, thread, now).unwrap();
        assert!(matches!(
            queue.next(MayBegin::ANYTHING),
            Some(Next::Begin(Begun { .. }))
        ));
        queue.becomes_long();
    }
    queue.pause(second, 1, Class::Long);
    assert!(
        !queue.must_give_way(first.tenant, Class::Long),
        "it has used no more than the other"
    );
    queue.charge(first, Duration::from_millis(1));
    assert!(queue.must_give_way(first.tenant, Class::Long));
    queue.pause(first, 0, Class::Long);
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Resume { thread: 1 })
    ));
    // A job that is expected to be long wants the same place, and one that is not does not.
    queue.charge(second, Duration::from_millis(1));
    queue.push(third, Lane::Quiet, 2, now).unwrap();
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Begin(Begun { .. }))
    ));
    assert!(!queue.must_give_way(second.tenant, Class::Long));
    queue.end(third, Class::Short);
    (0..4).for_each(|_| queue.learn(third.tenant, Class::Long));
    queue.push(third, Lane::Quiet, 3, now).unwrap();
    queue.charge(second, Duration::from_millis(1));
    assert!(queue.must_give_way(second.tenant, Class::Long));
}

#[test]
fn a_tenant_has_a_bounded_number_of_jobs_begun_and_waiting() {
    let now = Instant::now();
    let mut queue = Queue::new(Limits {
        places: 10,
        waiting: 4,
        waiting_per_tenant: 3,
        ..LIMITS
    });
    let one = account(1, 1);
    for job in 0..3 {
        queue.push(one, Lane::Quiet, job, now).unwrap();
    }
    assert_eq!(queue.push(one, Lane::Quiet, 3, now).unwrap_err(), (Full, 3));
    queue.push(account(2, 1), Lane::Quiet, 4, now).unwrap();
    assert_eq!(queue.push(account(3, 1), Lane::Quiet, 5, now).unwrap_err(), (Full, 5));
    let begun = std::iter::from_fn(|| queue.next(MayBegin::ANYTHING)).count();
    assert_eq!(begun, 3, "two of the first tenant, one of the second");
    assert!(queue.next(MayBegin::NOTHING).is_none());
}

#[test]
fn what_has_waited_too_long_is_taken_out() {
    let now = Instant::now();
    let mut queue = Queue::new(Limits { places: 1, ..LIMITS });
    queue.push(account(1, 1), Lane::Quiet, 1, now).unwrap();
    queue
        .push(account(1, 1), Lane::Quiet, 2, now + Duration::from_secs(2))
        .unwrap();
    queue.push(account(2, 1), Lane::Quiet, 3, now).unwrap();
    let mut taken = queue.take_waiting_since_before(now + Duration::from_secs(1));
    taken.sort_unstable();
    assert_eq!(taken, [1, 3]);
    assert!(matches!(
        queue.next(MayBegin::ANYTHING),
        Some(Next::Begin(Begun { job: 2, .. }))
    ));
    assert!(queue.next(MayBegin::ANYTHING).is_none());
}

#[test]
fn who_is_held_back_by_results_of_one_lane_holds_nobody_back_in_the_other() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    let (busy, quiet) = (account(1, 1), account(2, 1));
    for job in 1..=3 {
        queue.push(busy, Lane::Busy, job, now).unwrap();
    }
    let only_quiet = MayBegin {
        lanes: ByLane::each(|lane| lane == Lane::Quiet),
        ..MayBegin::ANYTHING
    };
    assert_eq!(queue.lanes_that_wait(), ByLane::each(|lane| lane == Lane::Busy));
    assert!(queue.next(only_quiet).is_none() && !queue.would_begin(Class::Short, only_quiet.lanes));
    queue.push(quiet, Lane::Quiet, 4, now).unwrap();
    assert!(matches!(
        queue.next(only_quiet),
        Some(Next::Begin(Begun { job: 4, .. }))
    ));
    // A tenant's jobs go along with it.
    queue.push(busy, Lane::Quiet, 5, now).unwrap();
    assert_eq!((queue.waiting(), *queue.waiting.of(Lane::Quiet)), (4, 4));
    assert!(matches!(
        queue.next(only_quiet),
        Some(Next::Begin(Begun { job: 1, .. }))
    ));
}

#[derive(Debug, Clone)]
enum Step {
    Push(u128, Lane),
    Next(MayBegin),
    /// No thread could be had for what begins.
    NextInVain,
    /// The job was as long as its class.
    End,
    Pause,
    BecomeLong,
    Leave,
    ComeBack,
    Forget,
}

fn lane() -> impl Strategy<Value = Lane> {
    any::<bool>().prop_map(|busy| if busy { Lane::Busy } else { Lane::Quiet })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4u128, lane()).prop_map(|(uid, lane)| Step::Push(uid, lane)),
        4 => any::<(bool, bool, bool, bool)>().prop_map(|(short, long, quiet, busy)| {
            let lanes = ByLane::each(|lane| if lane == Lane::Quiet { quiet } else { busy });
            Step::Next(MayBegin { short, long, lanes })
        }),
        1 => Just(Step::NextInVain),
        3 => Just(Step::End),
        1 => Just(Step::Pause),
        1 => Just(Step::BecomeLong),
        1 => Just(Step::Leave),
        1 => Just(Step::ComeBack),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    /// Every job that was taken in comes out exactly once, and no limit is ever passed.
    #[test]
    fn nothing_is_lost_and_no_limit_is_passed(steps in proptest::collection::vec(step(), 0..200)) {
        let now = Instant::now();
        let mut queue = Queue::new(LIMITS);
        let (mut pushed, mut begun) = (0_usize, 0_usize);
        // Threads by number: account, class, whether it has a place.
        let mut running: Vec<(usize, Account, Class)> = Vec::new();
        let mut paused: Vec<(usize, Account, Class)> = Vec::new();
        let mut away: Vec<(usize, Account, Class)> = Vec::new();
        let drain = (0..600).map(|turn| if turn % 3 == 0 { Step::End } else if turn % 3 == 1 { Step::ComeBack } else { Step::Next(MayBegin::ANYTHING) });
        for step in steps.into_iter().chain(drain) {
            match step {
                Step::Push(uid, lane) => {
                    queue.push(account(uid, 1), lane, pushed, now).unwrap();
                    pushed += 1;
                }
                Step::Next(may_begin) => match queue.next(may_begin) {
                    Some(Next::Begin(Begun { account, class, .. })) => {
                        prop_assert!(may_begin.class(class));
                        prop_assert!(*may_begin.lanes.of(queue.tenants[&account.tenant].lane));
                        running.push((begun, account, class));
                        begun += 1;
                        let long = running.iter().filter(|(.., class)| *class == Class::Long).count();
                        prop_assert!(class == Class::Short || long <= LIMITS.long_places);
                    }
                    Some(Next::Resume { thread }) => {
                        let index = paused.iter().position(|(number, ..)| *number == thread).unwrap();
                        running.push(paused.remove(index));
                    }
                    None => {}
                },
                Step::NextInVain => if paused.is_empty() && let Some(next) = queue.next(MayBegin::ANYTHING) {
                    let Next::Begin(begun) = next else { panic!("nothing is paused") };
                    queue.put_back(begun);
                },
                Step::End => if let Some((_, account, class)) = running.pop() {
                    queue.charge(account, Duration::from_millis(1));
                    queue.end(account, class);
                    queue.learn(account.tenant, class);
                },
                Step::Pause => if let Some((thread, account, class)) = running.pop() {
                    queue.pause(account, thread, class);
                    paused.push((thread, account, class));
                },
                Step::BecomeLong => if let Some((_, _, class @ Class::Short)) = running.last_mut() {
                    *class = Class::Long;
                    queue.becomes_long();
                },
                Step::Leave => if let Some(job) = running.pop() {
                    queue.leave(job.1, job.2);
                    away.push(job);
                },
                Step::ComeBack => if let Some((thread, account, class)) = away.pop() {
                    queue.come_back(account, thread, class);
                    paused.push((thread, account, class));
                },
                Step::Forget => queue.forget_idle(),
            }
            prop_assert!(running.len() <= LIMITS.places);
            prop_assert_eq!(queue.paused, paused.len());
            for lane in [Lane::Quiet, Lane::Busy] {
                let own = queue.tenants.values().filter(|tenant| tenant.lane == lane);
                prop_assert_eq!(*queue.waiting.of(lane), own.map(|tenant| tenant.waiting.len()).sum::<usize>());
            }
            let expecting_long = queue.tenants.values().filter(|tenant| tenant.expectation.class() == Class::Long);
            prop_assert_eq!(queue.expecting_long, expecting_long.count());
            if paused.is_empty() {
                for lanes in [ByLane::both(true), queue.lanes_that_wait(), ByLane::each(|lane| lane == Lane::Quiet)] {
                    let would_begin = queue.would_begin(Class::Short, lanes) || queue.would_begin(Class::Long, lanes);
                    prop_assert_eq!(would_begin, queue.choose(MayBegin { lanes, ..MayBegin::ANYTHING }).is_some());
                }
            }
            for uid in 1..4 {
                let own = running.iter().chain(&paused).chain(&away).filter(|(_, account, _)| account.tenant == TenantUid::from_u128(uid));
                prop_assert!(own.count() <= LIMITS.begun_per_tenant + LIMITS.away_per_tenant);
            }
        }
        prop_assert_eq!((begun, running.len(), paused.len(), away.len()), (pushed, 0, 0, 0));
    }
}

#[test]
fn a_job_begins_alone_where_one_tenant_keeps_the_node_busy_and_nobody_else_has_any() {
    let now = Instant::now();
    let mut queue = Queue::new(LIMITS);
    let company = |queue: &mut Queue<u32>, tenant, lane| {
        queue.push(account(tenant, 1), lane, 1, now).unwrap();
        let Some(Next::Begin(begun)) = queue.next(MayBegin::ANYTHING) else {
            panic!("there is a job and a place")
        };
        queue.end(begun.account, begun.class);
        begun.company
    };
    assert_eq!(company(&mut queue, 1, Lane::Quiet), Company::Others, "it uses little");
    assert_eq!(company(&mut queue, 1, Lane::Busy), Company::Alone);
    assert_eq!(company(&mut queue, 2, Lane::Quiet), Company::Others);
    assert_eq!(company(&mut queue, 1, Lane::Busy), Company::Others);
    queue.forget_idle();
    assert_eq!(company(&mut queue, 1, Lane::Busy), Company::Alone);
    for _ in 0..8 {
        queue.learn(account(1, 1).tenant, Class::Long);
    }
    for _ in 0..2 {
        assert_eq!(company(&mut queue, 1, Lane::Busy), Company::Others, "it has long ones");
    }
}
