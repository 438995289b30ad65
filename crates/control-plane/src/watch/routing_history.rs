//! The routing table's changes of the last revisions, bounded, so that a watcher can go on from where it was.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_proto::v1::RoutingDelta;
use tenantry_types::Revision;

/// How many changes are kept. A watcher that is further behind starts over with a snapshot.
const MOST_DELTAS: usize = 10_000;

/// Shared between the log's thread, which writes, and the watchers' tasks, which copy pointers out.
#[derive(Debug, Clone, Default)]
pub struct RoutingHistory {
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Every change after this revision is in `deltas`.
    complete_after: Revision,
    deltas: VecDeque<Arc<RoutingDelta>>,
}

/// What happened after a revision.
#[derive(Debug, Clone)]
pub enum Since {
    /// These changes, oldest first; empty when there were none.
    Deltas(Vec<Arc<RoutingDelta>>),
    /// Some of it is no longer known.
    Forgotten,
}

impl RoutingHistory {
    /// Adds the change of a revision later than all before.
    pub fn push(&self, delta: RoutingDelta) {
        let mut ring = self.ring.lock();
        ring.deltas.push_back(Arc::new(delta));
        if ring.deltas.len() > MOST_DELTAS
            && let Some(dropped) = ring.deltas.pop_front()
        {
            ring.complete_after = Revision(dropped.revision);
        }
    }

    /// All changes up to `revision` have been pushed. Only the first call after [`forget`](Self::forget) matters.
    pub fn reach(&self, revision: Revision) {
        let mut ring = self.ring.lock();
        if ring.complete_after == FORGOTTEN {
            ring.complete_after = revision;
            ring.deltas.clear();
        }
    }

    /// The state was replaced as a whole: nothing before the next [`reach`](Self::reach) is known.
    pub fn forget(&self) {
        let mut ring = self.ring.lock();
        ring.complete_after = FORGOTTEN;
        ring.deltas.clear();
    }

    /// At most `most` changes after `revision`.
    #[must_use]
    pub fn since(&self, revision: Revision, most: usize) -> Since {
        let ring = self.ring.lock();
        if revision < ring.complete_after {
            return Since::Forgotten;
        }
        let start = ring.deltas.partition_point(|delta| delta.revision <= revision.get());
        Since::Deltas(ring.deltas.iter().skip(start).take(most).cloned().collect())
    }
}

/// Larger than any revision: everything is before it.
const FORGOTTEN: Revision = Revision(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(revision: u64) -> RoutingDelta {
        RoutingDelta {
            revision,
            ..RoutingDelta::default()
        }
    }

    fn revisions(since: &Since) -> Option<Vec<u64>> {
        match since {
            Since::Deltas(deltas) => Some(deltas.iter().map(|delta| delta.revision).collect()),
            Since::Forgotten => None,
        }
    }

    #[test]
    fn a_watcher_gets_every_change_after_its_revision() {
        let history = RoutingHistory::default();
        [3, 5, 9].into_iter().for_each(|revision| history.push(delta(revision)));
        let since = |revision| revisions(&history.since(Revision(revision), 100));
        assert_eq!(since(0), Some(vec![3, 5, 9]));
        assert_eq!(since(5), Some(vec![9]));
        assert_eq!(since(9), Some(vec![]));
        assert_eq!(revisions(&history.since(Revision(0), 2)), Some(vec![3, 5]));
    }

    #[test]
    fn a_watcher_that_is_too_far_behind_is_told() {
        let history = RoutingHistory::default();
        (1..=MOST_DELTAS as u64 + 2).for_each(|revision| history.push(delta(revision)));
        assert_eq!(revisions(&history.since(Revision(1), 1)), None);
        assert_eq!(revisions(&history.since(Revision(2), 1)), Some(vec![3]));
    }

    #[test]
    fn after_a_restore_only_what_came_later_is_known() {
        let history = RoutingHistory::default();
        history.push(delta(3));
        history.forget();
        assert_eq!(revisions(&history.since(Revision(3), 1)), None);
        history.reach(Revision(50));
        history.push(delta(51));
        assert_eq!(revisions(&history.since(Revision(49), 1)), None);
        assert_eq!(revisions(&history.since(Revision(50), 1)), Some(vec![51]));
    }
}
