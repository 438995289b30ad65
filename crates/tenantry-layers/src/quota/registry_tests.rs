//! Restart, close, crash, limits that change, and callers in parallel, on real files under a clock that tests move.

use std::fs;

use tenantry_types::TierDefinition;

use super::*;
use crate::clock::ManualClock;
use crate::quota::Permit;

#[path = "expectation_tests.rs"]
mod expectations;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BUCKET: Duration = Duration::from_secs(150);

/// One data folder over several starts of a node.
struct Node {
    data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    registry: Arc<QuotaRegistry>,
    limits: RequestLimits,
}

const TENANT: TenantUid = TenantUid::from_u128(42);

impl Node {
    fn with_limit(requests_per_day: u64) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let registry = QuotaRegistry::new(data.path(), clock.clone());
        let mut limits = RequestLimits::from(&TierDefinition::defaults()[0].quota);
        limits.requests_per_day = requests_per_day;
        limits.concurrent_requests = 1_000_000;
        Self {
            data,
            clock,
            registry,
            limits,
        }
    }

    /// How many of `tries` requests are admitted; each ends at once.
    async fn admitted(&self, tries: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..tries {
            let decision = self
                .registry
                .admit(TENANT, &self.limits, Charge::Counted)
                .await
                .unwrap();
            admitted += usize::from(matches!(decision.admission, Admission::Admitted(..)));
        }
        admitted
    }

    async fn used(&self) -> u64 {
        self.registry.standing(TENANT, &self.limits).await.unwrap().daily_used
    }

    /// A process that is gone without a word; what it was still writing is finished first.
    async fn crash(&mut self) {
        self.registry.tasks.close();
        self.registry.tasks.wait().await;
        self.start();
    }

    async fn restart(&mut self) {
        assert_eq!(self.registry.close_all().await, 0);
        self.start();
    }

    fn start(&mut self) {
        self.registry = QuotaRegistry::new(self.data.path(), self.clock.clone());
    }
}

/// doughknee/myscrollr #212: what was used was forgotten with every restart.
#[tokio::test]
async fn a_clean_restart_keeps_the_exact_count() {
    for limit in [20, 1_000, 1_000_000] {
        let mut node = Node::with_limit(limit);
        assert_eq!(node.admitted(7).await, 7);
        for _ in 0..3 {
            node.restart().await;
            assert_eq!(node.used().await, 7, "limit {limit}");
        }
        node.limits.requests_per_day = 10;
        assert_eq!(node.admitted(5).await, 3);
    }
}

#[tokio::test]
async fn a_crash_withholds_at_most_one_reservation_and_grants_nothing() {
    for (limit, reservation) in [(20, 1), (1_000, 1), (1_000_000, 976)] {
        let mut node = Node::with_limit(limit);
        let mut least = 0;
        for _ in 0..4 {
            assert_eq!(node.admitted(3).await, 3);
            least += 3;
            let before = node.used().await;
            node.crash().await;
            let after = node.used().await;
            assert!(
                after >= before && after <= before + reservation,
                "limit {limit}: {before} became {after}"
            );
        }
        assert!(node.used().await >= least);
    }
}

#[tokio::test]
async fn repeated_crashes_never_admit_beyond_the_limit() {
    let mut node = Node::with_limit(12);
    let mut admitted = 0;
    for _ in 0..10 {
        admitted += node.admitted(2).await;
        node.crash().await;
    }
    assert!((6..=12).contains(&admitted), "{admitted} admitted");
    assert_eq!(node.admitted(5).await, 0);
    node.clock.advance(DAY + BUCKET);
    assert_eq!(node.admitted(20).await, 12);
}

#[tokio::test]
async fn parallel_callers_are_admitted_exactly_as_often_as_the_limit_says() {
    for (limit, tries) in [(1, 3), (20, 20), (150, 60), (100_000, 500)] {
        let node = Node::with_limit(limit as u64);
        let callers = (0..8).map(|_| {
            let (registry, limits) = (Arc::clone(&node.registry), node.limits);
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..tries {
                    let decision = registry.admit(TENANT, &limits, Charge::Counted).await.unwrap();
                    admitted += usize::from(matches!(decision.admission, Admission::Admitted(..)));
                }
                admitted
            })
        });
        let mut admitted = 0;
        for caller in callers.collect::<Vec<_>>() {
            admitted += caller.await.unwrap();
        }
        assert_eq!(admitted, (8 * tries).min(limit));
        assert_eq!(node.used().await, admitted as u64);
    }
}

#[tokio::test]
async fn a_corrupt_ledger_counts_as_used_up_for_a_day_and_is_replaced() {
    let mut node = Node::with_limit(10);
    assert_eq!(node.admitted(2).await, 2);
    node.restart().await;
    let path = LedgerFiles::in_data_folder(node.data.path()).path(TENANT);
    fs::write(&path, b"not a ledger").unwrap();
    assert_eq!(node.admitted(3).await, 0);
    assert_eq!(node.registry.counters().corrupt_ledgers.load(Relaxed), 1);
    // A restart does not begin the day anew, and finds a good ledger.
    node.clock.advance(DAY / 2);
    node.restart().await;
    assert_eq!(node.admitted(3).await, 0);
    assert_eq!(node.registry.counters().corrupt_ledgers.load(Relaxed), 0);
    node.clock.advance(DAY / 2 + BUCKET);
    assert_eq!(node.admitted(20).await, 10);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_or_written_is_an_error_and_not_a_refusal() {
    let node = Node::with_limit(10);
    // A file where the tenants' folder should be.
    fs::write(node.data.path().join("tenants"), b"").unwrap();
    let outcome = node.registry.admit(TENANT, &node.limits, Charge::Counted).await;
    assert_eq!(outcome.unwrap_err(), QuotaError::LedgerUnavailable);
    assert!(node.registry.counters().ledger_failures.load(Relaxed) > 0);
    fs::remove_file(node.data.path().join("tenants")).unwrap();
    assert_eq!(node.admitted(20).await, 10);
}

#[tokio::test]
async fn idle_tenants_are_forgotten_with_their_count_on_disk() {
    let node = Node::with_limit(1_000_000);
    let held = node
        .registry
        .admit(TENANT, &node.limits, Charge::Counted)
        .await
        .unwrap();
    node.clock.advance(Duration::from_secs(600));
    assert_eq!(
        node.registry.forget_idle(Duration::from_secs(600)).await,
        0,
        "a request is being served"
    );
    drop(held);
    assert_eq!(node.registry.forget_idle(Duration::from_secs(601)).await, 0);
    assert_eq!(node.registry.forget_idle(Duration::from_secs(600)).await, 1);
    assert_eq!(node.registry.tenants(), 0);
    assert_eq!(node.used().await, 1);
    assert_eq!(node.registry.tenants(), 1);
}

#[tokio::test]
async fn a_request_that_comes_while_its_tenant_is_being_forgotten_keeps_its_place() {
    let mut node = Node::with_limit(100_000);
    node.limits.concurrent_requests = 1;
    // With a reservation left, so that the next request need not wait.
    assert_eq!(node.admitted(1).await, 1);
    let mut forgetting = std::pin::pin!(node.registry.forget_idle(Duration::ZERO));
    assert!(futures_util::poll!(forgetting.as_mut()).is_pending());
    // Found idle, and not closed yet.
    let decision = node
        .registry
        .admit(TENANT, &node.limits, Charge::Counted)
        .await
        .unwrap();
    let Admission::Admitted(held, _) = decision.admission else {
        panic!("{decision:?}");
    };
    assert_eq!(forgetting.await, 0);
    assert_eq!(node.admitted(1).await, 0, "the one place is taken");
    drop(held);
    assert_eq!(node.admitted(1).await, 1);
}

/// Kuadrant/limitador #522: what remained of a limit that was lowered below use underflowed, and the process panicked.
/// sourcegraph PR #51899: rejected calls were counted, and a raised limit did not help who had been rejected often.
#[tokio::test]
async fn changed_limits_count_at_once_and_without_a_negative_remainder() {
    let mut node = Node::with_limit(10);
    assert_eq!(node.admitted(20).await, 10);
    node.limits.requests_per_day = 4;
    let standing = node.registry.standing(TENANT, &node.limits).await.unwrap();
    assert_eq!((standing.daily_used, standing.daily_remaining()), (10, 0));
    assert!(standing.daily_wait.unwrap() >= DAY);
    assert_eq!(node.admitted(1).await, 0);
    // Refused requests were not counted: what is raised is free to use.
    node.limits.requests_per_day = 13;
    assert_eq!(node.admitted(20).await, 3);
}

#[tokio::test]
async fn a_refusal_names_the_moment_at_which_the_next_request_passes() {
    let node = Node::with_limit(2);
    assert_eq!(node.admitted(2).await, 2);
    let decision = node
        .registry
        .admit(TENANT, &node.limits, Charge::Counted)
        .await
        .unwrap();
    let Admission::Refused(refusal) = decision.admission else {
        panic!("admitted beyond the limit");
    };
    assert!(refusal.retry_after >= DAY && refusal.retry_after <= DAY + BUCKET);
    node.clock.advance(refusal.retry_after - Duration::from_millis(1));
    assert_eq!(node.admitted(1).await, 0);
    node.clock.advance(Duration::from_millis(1));
    assert_eq!(node.admitted(3).await, 2);
}

#[tokio::test]
async fn concurrent_requests_hold_their_places_until_they_end() {
    let mut node = Node::with_limit(1_000);
    node.limits.concurrent_requests = 2;
    let mut held: Vec<Permit> = Vec::new();
    for _ in 0..3 {
        let decision = node
            .registry
            .admit(TENANT, &node.limits, Charge::Counted)
            .await
            .unwrap();
        match decision.admission {
            Admission::Admitted(permit, _) => held.extend(permit),
            Admission::Refused(refusal) => assert_eq!(refusal.violated().collect::<Vec<_>>(), [Policy::Concurrent]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(held.len(), 2);
    assert_eq!(node.used().await, 2, "what is refused is not counted");
    held.pop();
    assert_eq!(node.admitted(1).await, 1);
}

#[tokio::test]
async fn free_requests_pass_a_used_up_quota_and_are_not_counted() {
    let node = Node::with_limit(1);
    assert_eq!(node.admitted(1).await, 1);
    let decision = node.registry.admit(TENANT, &node.limits, Charge::Free).await.unwrap();
    let Admission::Admitted(None, standing) = decision.admission else {
        panic!("not free: {decision:?}");
    };
    assert_eq!((standing.daily_used, standing.concurrent), (1, 0));
}

#[tokio::test]
async fn each_share_of_the_daily_limit_is_reported_once_over_restarts() {
    let mut node = Node::with_limit(20);
    let mut percents = Vec::new();
    for request in 0..23 {
        let decision = node
            .registry
            .admit(TENANT, &node.limits, Charge::Counted)
            .await
            .unwrap();
        percents.extend(decision.crossing.map(|crossing| crossing.percent));
        if request == 17 {
            node.restart().await;
        }
    }
    assert_eq!(percents, [80, 95, 100]);
}

#[tokio::test]
async fn wall_clock_jumps_grant_nothing_within_a_start_of_the_machine() {
    let mut node = Node::with_limit(5);
    assert_eq!(node.admitted(9).await, 5);
    for jump in [-40_i64, 40, 400] {
        node.clock.jump_wall(jump * 60 * 60 * 1000);
        assert_eq!(node.admitted(2).await, 0, "jump of {jump} h in a process");
        node.restart().await;
        assert_eq!(node.admitted(2).await, 0, "jump of {jump} h over a restart");
    }
}

#[tokio::test]
async fn restarts_between_two_milliseconds_make_no_day_shorter() {
    let micros = Duration::from_micros;
    let mut node = Node::with_limit(1);
    // The clock starts 100 s before the end of a bucket. The ledger is read in the last millisecond of that.
    node.clock.advance(micros(99_999_900));
    assert_eq!(node.used().await, 0);
    node.clock.advance(micros(950));
    assert_eq!(node.admitted(1).await, 1);
    node.clock.advance(micros(50));
    node.restart().await;
    node.clock.advance(micros(100));
    assert_eq!(node.used().await, 1);
    node.clock.advance(DAY - micros(150 + 500));
    assert_eq!(node.admitted(1).await, 0, "half a millisecond early");
    node.clock.advance(BUCKET);
    assert_eq!(node.admitted(1).await, 1);
}

#[tokio::test]
async fn after_a_reboot_the_wall_clock_counts_forward_only() {
    let mut node = Node::with_limit(5);
    assert_eq!(node.admitted(9).await, 5);
    node.restart().await;
    node.clock.reboot();
    node.clock.jump_wall(-40 * 60 * 60 * 1000);
    node.start();
    assert_eq!(node.admitted(2).await, 0);
    node.clock.advance(DAY + BUCKET);
    assert_eq!(node.admitted(9).await, 5);
}

#[tokio::test]
async fn a_big_limit_seldom_waits_for_the_disk() {
    let node = Node::with_limit(10_000_000);
    assert_eq!(node.admitted(30_000).await, 30_000);
    node.registry.tasks.close();
    node.registry.tasks.wait().await;
    let writes = node.registry.counters().ledger_writes.load(Relaxed);
    assert!((2..=8).contains(&writes), "{writes} writes");
}
