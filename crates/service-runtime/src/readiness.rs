//! Named latches: a process is ready when every one is released.
//!
//! A latch that nobody releases keeps the process unready for ever, and `/readyz` says its name. This module must not
//! know what the latches stand for.

use tokio::sync::watch;

/// The latches of one process. Clones share them.
///
/// Take all latches before the ops server starts: with none taken, a process counts as ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    latches: watch::Sender<Vec<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    name: &'static str,
    released: bool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// No latch yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            latches: watch::Sender::new(Vec::new()),
        }
    }

    /// Adds a latch that holds. `name` is what `/readyz` shows while it does: "raft leader known", say.
    #[must_use = "a latch that is dropped without a release holds for ever"]
    pub fn latch(&self, name: &'static str) -> Latch {
        let mut index = 0;
        self.latches.send_modify(|latches| {
            index = latches.len();
            latches.push(State { name, released: false });
        });
        Latch {
            index,
            latches: self.latches.clone(),
        }
    }

    /// Names of the latches that hold, in the order in which they were taken. Empty means ready.
    #[must_use]
    pub fn holding(&self) -> Vec<&'static str> {
        holding(&self.latches.borrow())
    }

    /// Completes once the latches that hold are others than `before`, with their names.
    pub async fn changed_from(&self, before: &[&'static str]) -> Vec<&'static str> {
        let mut latches = self.latches.subscribe();
        match latches.wait_for(|latches| holding(latches) != before).await {
            Ok(latches) => holding(&latches),
            // The sender lives in `self`, so this is never reached.
            Err(_) => self.holding(),
        }
    }

    /// Whether no latch holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        all_released(&self.latches.borrow())
    }

    /// Completes once no latch holds.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the channel cannot be closed while this waits.
        let _ = self.latches.subscribe().wait_for(|latches| all_released(latches)).await;
    }
}

fn holding(latches: &[State]) -> Vec<&'static str> {
    let held = latches.iter().filter(|latch| !latch.released);
    held.map(|latch| latch.name).collect()
}

fn all_released(latches: &[State]) -> bool {
    latches.iter().all(|latch| latch.released)
}

/// One condition of readiness.
#[derive(Debug)]
pub struct Latch {
    index: usize,
    latches: watch::Sender<Vec<State>>,
}

impl Latch {
    /// The condition is met.
    pub fn release(&self) {
        self.set(true);
    }

    /// The condition is not met, or not any more: a daemon that stops holds a latch first, so that no new work comes.
    pub fn hold(&self) {
        self.set(false);
    }

    fn set(&self, released: bool) {
        self.latches
            .send_if_modified(|latches| match latches.get_mut(self.index) {
                Some(latch) if latch.released != released => {
                    latch.released = released;
                    true
                }
                _ => false,
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_latch_is_released() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready(), "nothing to wait for");
        let storage = readiness.latch("storage open");
        let leader = readiness.latch("leader known");
        assert_eq!(readiness.holding(), ["storage open", "leader known"]);

        leader.release();
        assert_eq!(readiness.holding(), ["storage open"]);
        storage.release();
        assert!(readiness.is_ready());

        leader.hold();
        assert_eq!(readiness.holding(), ["leader known"], "readiness can be lost again");
    }

    #[test]
    fn a_latch_dropped_without_release_keeps_holding() {
        let readiness = Readiness::new();
        drop(readiness.latch("first heartbeat"));
        assert_eq!(readiness.holding(), ["first heartbeat"]);
    }

    #[test]
    fn two_latches_of_one_name_are_two_conditions() {
        let readiness = Readiness::new();
        let (first, second) = (readiness.latch("peer"), readiness.latch("peer"));
        first.release();
        first.release();
        assert_eq!(readiness.holding(), ["peer"]);
        second.release();
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_release() {
        let readiness = Readiness::new();
        let latch = readiness.latch("storage open");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        latch.release();
        waiting.await.unwrap();
    }
}
