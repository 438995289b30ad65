//! What a change of limits does to the counters of a tenant that is being served: each test is named after its rule. That of
//! storage is beside the SQL that it needs, in `tenant-node/tests/hrana_service/quotas.rs`; that of what arrives, in `tenant-node/src/placement/update_tests.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: what fails here fails the test")]

use std::sync::Arc;

use tenantry_layers::clock::SystemClock;
use tenantry_layers::quota::{Admission, Charge, Permit, QuotaRegistry, RequestLimits, Standing};
use tenantry_layers::{Burst, TenantUid};

const TENANT: TenantUid = TenantUid::from_u128(1);

struct Node {
    registry: Arc<QuotaRegistry>,
    limits: RequestLimits,
    _data: tempfile::TempDir,
}

impl Node {
    /// A day, a burst that comes back within hours only, and places.
    fn with_limits(day: u64, burst: u32, concurrent: u32) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut node = Self {
            registry: QuotaRegistry::new(data.path(), Arc::new(SystemClock::start())),
            limits: RequestLimits {
                requests_per_day: 0,
                burst: None,
                concurrent_requests: 0,
            },
            _data: data,
        };
        node.set(day, burst, concurrent);
        node
    }

    fn set(&mut self, requests_per_day: u64, size: u32, concurrent_requests: u32) {
        self.limits = RequestLimits {
            requests_per_day,
            burst: Some(Burst {
                requests_per_second: 1,
                size,
            }),
            concurrent_requests,
        };
    }

    /// As many requests as are let through of `tries`; they go on for as long as the permits are kept.
    async fn admitted(&self, tries: usize) -> Vec<Permit> {
        let mut permits = Vec::new();
        for _ in 0..tries {
            let decision = self.registry.admit(TENANT, &self.limits, Charge::Counted).await;
            if let Admission::Admitted(permit, _) = decision.unwrap().admission {
                permits.extend(permit);
            }
        }
        permits
    }

    async fn standing(&self) -> Standing {
        self.registry.standing(TENANT, &self.limits).await.unwrap()
    }

    /// What is left of each limit.
    async fn remaining(&self) -> (u64, u32, u32) {
        let standing = self.standing().await;
        let burst = standing.burst.unwrap().remaining;
        (standing.daily_remaining(), burst, standing.concurrent_remaining())
    }
}

/// The burst is large, so that what comes back of it while the test runs is little beside it.
const BURST: u32 = 1_000_000;

fn about(remaining: u32, expected: u32) -> bool {
    (expected..expected + 1_000).contains(&remaining)
}

#[tokio::test]
async fn the_same_limits_again_reset_no_counter() {
    let mut node = Node::with_limits(10_000, BURST, 2_000);
    let _served = node.admitted(1_500).await;
    for _ in 0..3 {
        node.set(10_000, BURST, 2_000);
        let (day, burst, concurrent) = node.remaining().await;
        assert_eq!((day, concurrent), (8_500, 500));
        assert!(about(burst, BURST - 1_500), "{burst}");
    }
    assert_eq!(node.admitted(600).await.len(), 500, "the places that are left");
}

#[tokio::test]
async fn a_raised_limit_counts_at_once_with_what_is_used_taken_off() {
    let mut node = Node::with_limits(10, 10, 10);
    let served = node.admitted(20).await;
    assert_eq!(served.len(), 10);
    node.set(25, BURST, 30);
    let (day, burst, concurrent) = node.remaining().await;
    assert_eq!((day, concurrent), (15, 20));
    assert!(about(burst, BURST - 10), "{burst}");
    assert_eq!(node.admitted(40).await.len(), 15, "what is left of the day");
}

#[tokio::test]
async fn a_limit_lowered_below_the_use_leaves_nothing_and_does_not_wrap_around() {
    let mut node = Node::with_limits(100, BURST, 50);
    let served = node.admitted(20).await;
    node.set(5, 1, 3);
    let (day, burst, concurrent) = node.remaining().await;
    assert_eq!((day, burst, concurrent), (0, 0, 0));
    let standing = node.standing().await;
    assert_eq!((standing.daily_used, standing.concurrent), (20, 20));
    assert!(node.admitted(3).await.is_empty());
    // What is being served goes on, and a place is free only when fewer are than the limit says.
    drop(served);
    node.set(100, BURST, 3);
    assert_eq!(node.remaining().await.0, 80);
    assert_eq!(node.admitted(9).await.len(), 3);
}
