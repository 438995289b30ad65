//! The routing table's changes of the last revisions, bounded, so that a watcher can go on from where it was.
//!
//! A change is encoded once, when it happens, and every watcher is sent the same bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tenantry_types::Revision;

/// How many changes are kept. A watcher that is further behind starts over with a snapshot.
const MOST_CHANGES: usize = 10_000;
/// How many bytes of changes are kept, since one change may touch thousands of tenants.
const MOST_BYTES: usize = 32 << 20;

/// Shared between the log's thread, which writes, and the watchers' tasks, which copy pointers out.
#[derive(Debug, Clone, Default)]
pub struct RoutingHistory {
    ring: Arc<Mutex<Ring>>,
}

/// What one revision changed.
#[derive(Debug, Clone)]
pub struct RoutingEntry {
    /// The revision.
    pub revision: Revision,
    /// The digest of the whole table after the change.
    pub digest: u64,
    /// The message to watchers, encoded.
    pub message: Bytes,
}

#[derive(Debug, Default)]
struct Ring {
    /// Every change after it is in `entries`.
    start: Start,
    entries: VecDeque<RoutingEntry>,
    bytes: usize,
}

/// Where the history begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The next [`RoutingHistory::reach`] says it.
    Forgotten,
    /// After this revision, at which the table had this digest.
    After { revision: Revision, digest: u64 },
}

impl Default for Start {
    fn default() -> Self {
        Self::After {
            revision: Revision::ZERO,
            digest: 0,
        }
    }
}

/// What happened after a revision.
#[derive(Debug, Clone)]
pub enum Since {
    /// These changes, oldest first; empty when there were none.
    Changes(Vec<RoutingEntry>),
    /// Some of it is no longer known.
    Forgotten,
}

impl RoutingHistory {
    /// Adds the change of a revision later than all before.
    pub fn push(&self, entry: RoutingEntry) {
        let mut ring = self.ring.lock();
        ring.bytes += entry.message.len();
        ring.entries.push_back(entry);
        while ring.entries.len() > MOST_CHANGES || ring.bytes > MOST_BYTES {
            let Some(dropped) = ring.entries.pop_front() else {
                return;
            };
            ring.bytes -= dropped.message.len();
            if ring.start != Start::Forgotten {
                ring.start = Start::After {
                    revision: dropped.revision,
                    digest: dropped.digest,
                };
            }
        }
    }

    /// All changes up to `revision`, where the table has `digest`, have been pushed. Only the first call after
    /// [`forget`](Self::forget) matters.
    pub fn reach(&self, revision: Revision, digest: u64) {
        let mut ring = self.ring.lock();
        if ring.start == Start::Forgotten {
            ring.start = Start::After { revision, digest };
            ring.entries.clear();
            ring.bytes = 0;
        }
    }

    /// The state was replaced as a whole, or so much of it changed that no watcher is told one by one: nothing before the
    /// next [`reach`](Self::reach) is known.
    pub fn forget(&self) {
        let mut ring = self.ring.lock();
        ring.start = Start::Forgotten;
        ring.entries.clear();
        ring.bytes = 0;
    }

    /// At most `most` changes after `revision`.
    #[must_use]
    pub fn since(&self, revision: Revision, most: usize) -> Since {
        let ring = self.ring.lock();
        match ring.start {
            Start::After { revision: start, .. } if revision >= start => {
                let first = ring.first_after(revision);
                Since::Changes(ring.entries.iter().skip(first).take(most).cloned().collect())
            }
            _ => Since::Forgotten,
        }
    }

    /// The digest that the table had at `revision`, which has been reached; `None` when that is no longer known.
    #[must_use]
    pub fn digest_at(&self, revision: Revision) -> Option<u64> {
        let ring = self.ring.lock();
        let Start::After {
            revision: start,
            digest,
        } = ring.start
        else {
            return None;
        };
        if revision < start {
            return None;
        }
        let last = ring.first_after(revision).checked_sub(1);
        Some(
            last.and_then(|last| ring.entries.get(last))
                .map_or(digest, |entry| entry.digest),
        )
    }
}

impl Ring {
    fn first_after(&self, revision: Revision) -> usize {
        self.entries.partition_point(|entry| entry.revision <= revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u64) -> RoutingEntry {
        RoutingEntry {
            revision: Revision(revision),
            digest: revision * 10,
            message: Bytes::from_static(b"change"),
        }
    }

    fn revisions(since: &Since) -> Option<Vec<u64>> {
        match since {
            Since::Changes(entries) => Some(entries.iter().map(|entry| entry.revision.get()).collect()),
            Since::Forgotten => None,
        }
    }

    #[test]
    fn a_watcher_gets_every_change_after_its_revision() {
        let history = RoutingHistory::default();
        [3, 5, 9].into_iter().for_each(|revision| history.push(entry(revision)));
        let since = |revision| revisions(&history.since(Revision(revision), 100));
        assert_eq!(since(0), Some(vec![3, 5, 9]));
        assert_eq!(since(5), Some(vec![9]));
        assert_eq!(since(9), Some(vec![]));
        assert_eq!(revisions(&history.since(Revision(0), 2)), Some(vec![3, 5]));
    }

    #[test]
    fn a_watcher_that_is_too_far_behind_is_told() {
        let history = RoutingHistory::default();
        (1..=MOST_CHANGES as u64 + 2).for_each(|revision| history.push(entry(revision)));
        assert_eq!(revisions(&history.since(Revision(1), 1)), None);
        assert_eq!(revisions(&history.since(Revision(2), 1)), Some(vec![3]));
    }

    #[test]
    fn large_changes_push_older_ones_out() {
        let history = RoutingHistory::default();
        let large = Bytes::from(vec![0; MOST_BYTES / 2]);
        for revision in 1..=3 {
            history.push(RoutingEntry {
                message: large.clone(),
                ..entry(revision)
            });
        }
        assert_eq!(revisions(&history.since(Revision(0), 9)), None);
        assert_eq!(revisions(&history.since(Revision(1), 9)), Some(vec![2, 3]));
    }

    #[test]
    fn the_digest_at_any_revision_that_is_kept_is_known() {
        let history = RoutingHistory::default();
        history.forget();
        assert_eq!(history.digest_at(Revision(4)), None);
        history.reach(Revision(4), 44);
        [7, 9].into_iter().for_each(|revision| history.push(entry(revision)));
        let known = [
            (3, None),
            (4, Some(44)),
            (6, Some(44)),
            (7, Some(70)),
            (8, Some(70)),
            (9, Some(90)),
            (12, Some(90)),
        ];
        for (revision, digest) in known {
            assert_eq!(history.digest_at(Revision(revision)), digest, "{revision}");
        }
    }

    #[test]
    fn after_a_restore_only_what_came_later_is_known() {
        let history = RoutingHistory::default();
        history.push(entry(3));
        history.forget();
        assert_eq!(revisions(&history.since(Revision(3), 1)), None);
        history.reach(Revision(50), 0);
        history.push(entry(51));
        assert_eq!(revisions(&history.since(Revision(49), 1)), None);
        assert_eq!(revisions(&history.since(Revision(50), 1)), Some(vec![51]));
    }
}
