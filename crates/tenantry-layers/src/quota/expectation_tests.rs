//! What users expect of quotas: each test is what somebody reported of another system, or asks before they trust this one.
//!
//! Reports that a test of `registry_tests` or `burst` answers are named there.

use tenantry_types::Burst;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// AlaskanTuna/Rokabot #150: the count was in memory, and each of ten deploys a day was a fresh budget.
#[tokio::test]
async fn ten_deploys_a_day_share_one_daily_limit() {
    let mut node = Node::with_limit(25);
    let mut admitted = 0;
    for _ in 0..10 {
        admitted += node.admitted(4).await;
        node.restart().await;
        node.clock.advance(HOUR);
    }
    assert_eq!(admitted, 25);
    assert_eq!(node.admitted(3).await, 0);
}

/// NVIDIA/nvcf #975: 14 requests were admitted of 10, when a rolling restart came in the middle of them.
#[tokio::test]
async fn a_restart_in_the_middle_of_requests_admits_no_more_than_the_limit() {
    for restart_after in 0..=10 {
        let mut node = Node::with_limit(10);
        let before = node.admitted(restart_after).await;
        node.restart().await;
        assert_eq!(before + node.admitted(14).await, 10, "restart after {restart_after}");
    }
}

/// volcano-sh/kthena #1013: each reconcile sent the same limits again, and refilled the bucket.
#[tokio::test]
async fn limits_that_are_sent_again_before_every_request_refill_nothing() {
    let mut node = Node::with_limit(6);
    let burst = Burst {
        requests_per_second: 1,
        size: 4,
    };
    let mut admitted = Vec::new();
    for _ in 0..4 {
        let mut of_this_second = 0;
        for _ in 0..10 {
            node.limits = RequestLimits {
                requests_per_day: 6,
                burst: Some(burst),
                concurrent_requests: 100,
            };
            of_this_second += node.admitted(1).await;
        }
        admitted.push(of_this_second);
        node.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(admitted, [4, 1, 1, 0]);
}

/// wso2/api-platform #3116: limits were charged one after the other, so their order decided what a refused request cost.
#[tokio::test]
async fn whichever_limit_refuses_a_request_none_is_charged() {
    let cases = [
        // Requests a day, burst size, requests at once; what refuses the third request.
        (2, 9, 9, Policy::Daily),
        (9, 2, 9, Policy::Burst),
        (9, 9, 2, Policy::Concurrent),
    ];
    for (requests_per_day, size, concurrent_requests, refuses) in cases {
        let mut node = Node::with_limit(requests_per_day);
        node.limits.concurrent_requests = concurrent_requests;
        node.limits.burst = Some(Burst {
            requests_per_second: 1,
            size,
        });
        let mut held = Vec::new();
        for request in 0..8 {
            let decision = node.registry.admit(TENANT, &node.limits, Charge::Counted).await;
            match decision.unwrap().admission {
                Admission::Admitted(permit, _) => held.extend(permit),
                Admission::Refused(refusal) => {
                    assert!(request >= 2);
                    assert_eq!(refusal.violated().collect::<Vec<_>>(), [refuses]);
                }
                other => panic!("{other:?}"),
            }
        }
        let standing = node.registry.standing(TENANT, &node.limits).await.unwrap();
        let burst_left = standing.burst.unwrap().remaining;
        assert_eq!(
            (standing.daily_used, burst_left, standing.concurrent),
            (2, size - 2, 2),
            "{refuses:?}"
        );
    }
}

/// Asked of every daily limit: whose midnight is it? Nobody's. Any 24 hours count, on the days of 23 and 25 hours, too.
#[tokio::test]
async fn neither_midnight_nor_daylight_saving_gives_anything_back() {
    /// 2024-03-30T12:00:00Z, the day before clocks went forward in Europe.
    const SPRING: u64 = 1_711_800_000_000;
    /// 2024-10-26T12:00:00Z, the day before they went back.
    const AUTUMN: u64 = 1_729_944_000_000;
    for noon in [SPRING, AUTUMN] {
        for used_up_at in [0, 11, 12, 13, 23] {
            let mut node = Node::with_limit(3);
            node.clock = Arc::new(ManualClock::at(noon));
            node.start();
            // A minute to the hour: midnight in UTC, or in another zone.
            node.clock.advance(HOUR * used_up_at + HOUR - Duration::from_secs(60));
            assert_eq!(node.admitted(4).await, 3);
            for hour in 0..24 {
                assert_eq!(node.admitted(1).await, 0, "{hour} h after {used_up_at} h");
                node.clock.advance(HOUR);
            }
            node.clock.advance(BUCKET);
            assert_eq!(node.admitted(4).await, 3, "24 h after {used_up_at} h");
        }
    }
}

/// A machine whose clock is kept in local time is set twice a year, and its operator sets it when it is wrong.
#[tokio::test]
async fn a_clock_that_is_set_by_an_hour_makes_no_day_shorter_or_longer() {
    for hours in [-1, 1] {
        let node = Node::with_limit(3);
        assert_eq!(node.admitted(4).await, 3);
        node.clock.jump_wall(hours * 60 * 60 * 1000);
        node.clock.advance(DAY - Duration::from_millis(1));
        assert_eq!(node.admitted(1).await, 0);
        node.clock.advance(BUCKET + Duration::from_millis(1));
        assert_eq!(node.admitted(4).await, 3);
    }
}
