//! Large bodies are received by turns, and not faster than the node can do beside its other work.
//!
//! What clients send is copied by the async workers, on which everybody's requests depend, and nobody has asked yet whose turn it is. A client
//! on a fast line would keep all of them busy. So a large body is taken in bursts, all together at a pace. Of each tenant one body at a time
//! waits for it, so that tenants get equal shares, however many bodies each has under way.
//!
//! Must not be held while a client is waited for: a slow one costs nothing. What is held is a tenant's own, so that nobody else ever depends on
//! how a body goes on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Bytes a second that are received for each two cores: a fraction of what an async worker could do. Short bodies are not counted among them.
const BYTES_PER_SECOND: u64 = 128 << 20;
/// Waits that are shorter are left for a later burst: timers are no finer.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Time in which nothing was received is saved up to this: so late can a timer be.
const MOST_SAVED: Duration = Duration::from_millis(4);

/// The pace of the node, for all tenants.
#[derive(Debug, Clone)]
pub(super) struct NodeLine(Arc<Mutex<Pace>>);

/// Where the large bodies of one tenant stand in line. Goes with their requests.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    tenant: Arc<Semaphore>,
    pace: Arc<Mutex<Pace>>,
}

/// The turn of one body to be received.
#[derive(Debug)]
pub(super) struct Burst<'a> {
    pace: &'a Mutex<Pace>,
    began: Instant,
    _tenant: Option<SemaphorePermit<'a>>,
}

/// When what was received so far should have been received.
#[derive(Debug, Clone, Copy)]
struct Pace {
    bytes_per_second: u64,
    due: Option<Instant>,
}

impl Default for NodeLine {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let places = (cores / 2).max(1) as u64;
        Self(Arc::new(Mutex::new(Pace {
            bytes_per_second: BYTES_PER_SECOND.saturating_mul(places),
            due: None,
        })))
    }
}

impl NodeLine {
    /// The line of another tenant.
    pub(super) fn lines_of_a_tenant(&self) -> Lines {
        Lines {
            tenant: Arc::new(Semaphore::new(1)),
            pace: Arc::clone(&self.0),
        }
    }
}

impl Lines {
    /// Waits for the turn to take in what has arrived.
    pub(super) async fn turn(&self) -> Burst<'_> {
        // The semaphore is never closed.
        let tenant = self.tenant.acquire().await.ok();
        let wait = self.pace.lock().wait(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Burst {
            pace: &self.pace,
            began: Instant::now(),
            _tenant: tenant,
        }
    }
}

impl Burst<'_> {
    /// So many bytes were taken in.
    pub(super) fn end(self, bytes: usize) {
        self.pace.lock().count(bytes, self.began);
    }
}

impl Pace {
    /// For how long nothing is to be received.
    fn wait(&self, now: Instant) -> Duration {
        let ahead = self
            .due
            .map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        if ahead < SHORTEST_WAIT { Duration::ZERO } else { ahead }
    }

    /// So many bytes were received from `began` on.
    fn count(&mut self, bytes: usize, began: Instant) {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second.max(1);
        let earliest = began.checked_sub(MOST_SAVED).unwrap_or(began);
        self.due = Some(self.due.map_or(began, |due| due.max(earliest)) + Duration::from_nanos(nanos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        bytes_per_second: 100 << 20,
        due: None,
    };

    #[test]
    fn many_bursts_take_as_long_as_their_bytes_should() {
        let mut pace = PACE;
        let began = Instant::now();
        let mut now = began;
        for _ in 0..1_000 {
            let wait = pace.wait(now);
            if !wait.is_zero() {
                // Timers are late.
                now += wait + Duration::from_millis(1);
            }
            let start = now;
            now += Duration::from_micros(100);
            pace.count(100 << 10, start);
        }
        let took = now - began;
        assert!(
            took > Duration::from_millis(970) && took < Duration::from_millis(980),
            "{took:?}"
        );
    }

    #[test]
    fn a_slow_client_is_not_slowed_down_and_saves_nothing_up() {
        let mut pace = PACE;
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_millis(10);
            assert_eq!(pace.wait(now), Duration::ZERO);
            pace.count(100 << 10, now);
        }
        now += Duration::from_secs(100);
        pace.count(1 << 20, now);
        assert_eq!(pace.wait(now), Duration::from_millis(10) - MOST_SAVED);
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_take_turns_however_many_bodies_each_has() {
        let line = NodeLine::default();
        let (crowd, single) = (line.lines_of_a_tenant(), line.lines_of_a_tenant());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for (name, lines, bodies) in [("crowd", crowd, 20), ("single", single, 1)] {
            for _ in 0..bodies {
                let (lines, order) = (lines.clone(), Arc::clone(&order));
                tasks.spawn(async move {
                    for _ in 0..10 {
                        let burst = lines.turn().await;
                        order.lock().push(name);
                        burst.end(16 << 20);
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        let order = order.lock();
        let last = order.iter().rposition(|name| *name == "single").unwrap();
        assert_eq!(order.len(), 210);
        assert!(last <= 40, "ten bursts beside the crowd's took {last}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_given_up_in_its_turn_keeps_no_other_tenant_waiting() {
        let line = NodeLine::default();
        let stuck = line.lines_of_a_tenant();
        stuck.turn().await.end(16 << 20);
        let mut waiting = Box::pin(stuck.turn());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let other = line.lines_of_a_tenant();
        tokio::time::timeout(Duration::from_secs(60), other.turn())
            .await
            .unwrap();
    }
}
