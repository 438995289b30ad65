//! Large bodies are received one after the other, and not faster than the node can do beside its other work.
//!
//! What clients send is copied by the async workers, on which everybody's requests depend, and nobody has asked yet whose turn it is. A client
//! on a fast line would keep all of them busy. So a large body is taken in bursts. For each it stands in its tenant's line, and whoever is
//! first there in the node's, so that tenants take turns. A burst keeps its place for as long as its bytes should take.
//!
//! Must not be held while a client is waited for: a slow one costs nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes a second that are received for each place of the node's line: a fraction of what an async worker could do. Short bodies are not
/// counted among them.
const BYTES_PER_SECOND: u64 = 128 << 20;
/// Pauses that are shorter are left for the next burst: timers are no finer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The line of all tenants.
#[derive(Debug, Clone)]
pub(super) struct NodeLine(Arc<Node>);

#[derive(Debug)]
struct Node {
    /// Half as many as there are async workers, which are as many as cores.
    places: Semaphore,
    pace: Mutex<Pace>,
}

/// Where the large bodies of one tenant stand in line. Goes with their requests.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    tenant: Arc<Semaphore>,
    node: Arc<Node>,
}

/// The turn of one body to be received.
#[derive(Debug)]
pub(super) struct Burst<'a> {
    pace: &'a Mutex<Pace>,
    began: Instant,
    /// Given up first: whoever is next in the tenant's line goes behind those that stand in the node's already.
    _node: Option<SemaphorePermit<'a>>,
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
        Self::new((cores / 2).max(1))
    }
}

impl NodeLine {
    fn new(places: usize) -> Self {
        let pace = Pace {
            bytes_per_second: BYTES_PER_SECOND.saturating_mul(places as u64),
            due: None,
        };
        Self(Arc::new(Node {
            places: Semaphore::new(places),
            pace: Mutex::new(pace),
        }))
    }

    /// The line of another tenant, before this one.
    pub(super) fn lines_of_a_tenant(&self) -> Lines {
        Lines {
            tenant: Arc::new(Semaphore::new(1)),
            node: Arc::clone(&self.0),
        }
    }
}

impl Lines {
    /// Waits for the turn to take in what has arrived.
    pub(super) async fn turn(&self) -> Burst<'_> {
        // The semaphores are never closed.
        let tenant = self.tenant.acquire().await.ok();
        let node = self.node.places.acquire().await.ok();
        Burst {
            pace: &self.node.pace,
            began: Instant::now(),
            _node: node,
            _tenant: tenant,
        }
    }
}

impl Burst<'_> {
    /// So many bytes were taken in. Keeps the place until others may go on.
    pub(super) async fn end(self, bytes: usize) {
        let pause = self.pace.lock().after(bytes, self.began, Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

impl Pace {
    /// Counts a burst. For how long nothing is to be received after it.
    fn after(&mut self, bytes: usize, began: Instant, now: Instant) -> Duration {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second.max(1);
        // Time in which nothing was received is not saved up.
        let due = self.due.map_or(began, |due| due.max(began)) + Duration::from_nanos(nanos);
        self.due = Some(due);
        let ahead = due.saturating_duration_since(now);
        if ahead < SHORTEST_PAUSE { Duration::ZERO } else { ahead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_bursts_take_as_long_as_their_bytes_should() {
        let mut pace = Pace {
            bytes_per_second: 100 << 20,
            due: None,
        };
        let began = Instant::now();
        let mut now = began;
        for _ in 0..1_000 {
            let start = now;
            now += Duration::from_micros(100);
            now += pace.after(100 << 10, start, now);
        }
        let took = now - began;
        assert!(
            took > Duration::from_millis(974) && took < Duration::from_millis(979),
            "{took:?}"
        );
    }

    #[test]
    fn a_slow_client_is_not_slowed_down_and_saves_nothing_up() {
        let mut pace = Pace {
            bytes_per_second: 100 << 20,
            due: None,
        };
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_millis(10);
            assert_eq!(pace.after(100 << 10, now, now), Duration::ZERO);
        }
        now += Duration::from_secs(100);
        let mib = pace.after(1 << 20, now, now);
        assert!(mib >= Duration::from_millis(10), "{mib:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_take_turns_however_many_bodies_each_has() {
        let line = NodeLine::new(1);
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
                        tokio::task::yield_now().await;
                        burst.end(1).await;
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
        assert!(last <= 25, "ten bursts beside the crowd's took {last}");
    }
}
