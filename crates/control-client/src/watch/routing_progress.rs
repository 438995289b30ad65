//! How far a watcher of the routing table is, and what the next message means for it. Pure.

use tenantry_proto::v1::{self, placement_service_watch_response::Part};
use tenantry_types::{ClusterEpoch, ClusterUid, Revision};

use super::WatchError;

/// A point from which a watch of the routing table can be resumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoutingPosition {
    /// The cluster. `None` before the first snapshot ever: then any cluster is accepted.
    pub cluster_uid: Option<ClusterUid>,
    /// The newest cluster epoch that the watcher has seen. A table of a lower one is never taken; one of a higher one, from a
    /// control plane that was restored from a snapshot, is taken whatever its revision.
    pub cluster_epoch: ClusterEpoch,
    /// The revision of the watcher's table. Zero asks for a snapshot.
    pub revision: Revision,
    /// The digest of the table at that revision.
    pub digest: u64,
}

/// What a watcher of the routing table is told.
#[derive(Debug, Clone, PartialEq)]
pub enum RoutingUpdate {
    /// The whole table: forget the old one.
    Replaced {
        /// The revision of the table.
        revision: Revision,
        /// The cluster that it comes from.
        cluster_uid: ClusterUid,
        /// The cluster's epoch; never lower than one given before.
        cluster_epoch: ClusterEpoch,
        /// All tenants.
        tenants: Vec<v1::TenantRoute>,
        /// All nodes.
        nodes: Vec<v1::NodeRoute>,
        /// All keys for tenants' tokens.
        keys: Vec<v1::TokenKey>,
        /// All tiers.
        tiers: Vec<v1::TierDefinition>,
        /// The digest over the table.
        digest: u64,
    },
    /// What changed at one revision, which is later than all before.
    Changed(v1::RoutingDelta),
    /// The table is complete up to this revision and must have this digest. Where it has not, call
    /// [`RoutingWatch::start_over`](super::RoutingWatch::start_over).
    Bookmark {
        /// The revision.
        revision: Revision,
        /// The digest over the table at that revision.
        digest: u64,
    },
}

/// Why a stream is not worth following.
#[derive(Debug)]
pub(super) enum Broken {
    /// Another member, or another start, may do better.
    Abandon(String),
    /// To be told to the caller.
    Fatal(WatchError),
}

/// The watcher's place in the stream.
#[derive(Debug)]
pub(super) struct RoutingProgress {
    cluster_uid: Option<ClusterUid>,
    cluster_epoch: ClusterEpoch,
    /// The latest revision whose digest is known: a delta carries none, so a stream resumes from here.
    confirmed: Option<(Revision, u64)>,
    /// The latest revision that the caller was given. Never behind `confirmed`; what is not after it is not given again.
    delivered: Option<Revision>,
    pieces: Option<v1::RoutingSnapshot>,
}

impl RoutingProgress {
    pub(super) fn new(from: RoutingPosition) -> Self {
        let known = from.cluster_uid.is_some() && from.revision > Revision::ZERO;
        Self {
            cluster_uid: from.cluster_uid,
            cluster_epoch: from.cluster_epoch,
            confirmed: known.then_some((from.revision, from.digest)),
            delivered: known.then_some(from.revision),
            pieces: None,
        }
    }

    pub(super) fn position(&self) -> RoutingPosition {
        let (revision, digest) = self.confirmed.unwrap_or_default();
        RoutingPosition {
            cluster_uid: self.cluster_uid,
            cluster_epoch: self.cluster_epoch,
            revision,
            digest,
        }
    }

    /// The caller computed the digest of its table at the latest revision that it was given.
    pub(super) fn confirm(&mut self, digest: u64) {
        self.confirmed = self.delivered.map(|revision| (revision, digest));
    }

    /// The next stream shall begin with a snapshot.
    pub(super) fn start_over(&mut self) {
        self.confirmed = None;
        self.pieces = None;
    }

    /// A new stream begins.
    pub(super) fn opened(&mut self) {
        self.pieces = None;
    }

    /// Takes the next message of the stream; `None` when it makes no update.
    pub(super) fn accept(
        &mut self,
        message: v1::PlacementServiceWatchResponse,
    ) -> Result<Option<RoutingUpdate>, Broken> {
        let abandon = |reason: &str| Err(Broken::Abandon(reason.to_owned()));
        match message.part {
            None => abandon("a message of an unknown kind"),
            Some(Part::Snapshot(piece)) => self.assemble(piece),
            Some(Part::Resync(resync)) => {
                self.start_over();
                Err(Broken::Abandon(format!("told to start over: {}", resync.reason)))
            }
            Some(_) if self.pieces.is_some() => abandon("a snapshot that was interrupted"),
            Some(Part::Delta(delta)) => match self.delivered {
                None => abandon("a change before any snapshot"),
                Some(delivered) if delta.revision <= delivered.get() => Ok(None),
                Some(_) => {
                    self.delivered = Some(Revision(delta.revision));
                    Ok(Some(RoutingUpdate::Changed(delta)))
                }
            },
            Some(Part::Bookmark(bookmark)) => match self.delivered {
                None => abandon("a bookmark before any snapshot"),
                Some(delivered) if bookmark.revision < delivered.get() => Ok(None),
                Some(_) => {
                    let revision = Revision(bookmark.revision);
                    self.delivered = Some(revision);
                    self.confirmed = Some((revision, bookmark.digest));
                    Ok(Some(RoutingUpdate::Bookmark {
                        revision,
                        digest: bookmark.digest,
                    }))
                }
            },
        }
    }

    fn assemble(&mut self, piece: v1::RoutingSnapshot) -> Result<Option<RoutingUpdate>, Broken> {
        let abandon = |reason: &str| Err(Broken::Abandon(reason.to_owned()));
        let whole = match self.pieces.take() {
            None => piece,
            Some(begun)
                if begun.revision != piece.revision
                    || begun.cluster_uid != piece.cluster_uid
                    || begun.cluster_epoch != piece.cluster_epoch =>
            {
                return abandon("pieces of different snapshots");
            }
            Some(mut begun) => {
                begun.tenants.extend(piece.tenants);
                begun.nodes.extend(piece.nodes);
                begun.token_keys.extend(piece.token_keys);
                begun.tiers.extend(piece.tiers);
                begun.last = piece.last;
                begun.digest = piece.digest;
                begun
            }
        };
        let Ok(found) = whole.cluster_uid.parse::<ClusterUid>() else {
            return abandon("a snapshot without a cluster uid");
        };
        if let Some(expected) = self.cluster_uid.filter(|expected| *expected != found) {
            return Err(Broken::Fatal(WatchError::OtherCluster { expected, found }));
        }
        let epoch = ClusterEpoch(whole.cluster_epoch);
        if epoch < self.cluster_epoch {
            return abandon("a snapshot of the cluster as it was before it was restored");
        }
        let revision = Revision(whole.revision);
        // Revisions of two epochs cannot be compared.
        let same_epoch = epoch == self.cluster_epoch;
        if same_epoch && self.delivered.is_some_and(|delivered| revision < delivered) {
            return abandon("a snapshot that is older than the table: the member lags");
        }
        if !whole.last {
            self.pieces = Some(whole);
            return Ok(None);
        }
        self.cluster_uid = Some(found);
        self.cluster_epoch = epoch;
        self.delivered = Some(revision);
        self.confirmed = Some((revision, whole.digest));
        Ok(Some(RoutingUpdate::Replaced {
            revision,
            cluster_uid: found,
            cluster_epoch: epoch,
            tenants: whole.tenants,
            nodes: whole.nodes,
            keys: whole.token_keys,
            tiers: whole.tiers,
            digest: whole.digest,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterUid = ClusterUid::from_u128(7);

    fn message(part: Part) -> v1::PlacementServiceWatchResponse {
        v1::PlacementServiceWatchResponse { part: Some(part) }
    }

    fn piece(revision: u64, tenant: &str, last: bool) -> v1::PlacementServiceWatchResponse {
        message(Part::Snapshot(v1::RoutingSnapshot {
            revision,
            cluster_uid: CLUSTER.to_string(),
            tenants: vec![v1::TenantRoute {
                tenant_id: tenant.into(),
                ..Default::default()
            }],
            last,
            digest: if last { revision * 100 } else { 0 },
            ..Default::default()
        }))
    }

    fn delta(revision: u64) -> v1::PlacementServiceWatchResponse {
        message(Part::Delta(v1::RoutingDelta {
            revision,
            ..Default::default()
        }))
    }

    fn bookmark(revision: u64) -> v1::PlacementServiceWatchResponse {
        message(Part::Bookmark(v1::RoutingBookmark {
            revision,
            digest: revision * 100,
        }))
    }

    fn resync() -> v1::PlacementServiceWatchResponse {
        message(Part::Resync(v1::RoutingResync { reason: "slow".into() }))
    }

    fn describe(progress: &mut RoutingProgress, message: v1::PlacementServiceWatchResponse) -> String {
        match progress.accept(message) {
            Ok(None) => "-".into(),
            Ok(Some(RoutingUpdate::Replaced { revision, tenants, .. })) => {
                format!("replaced {revision} {}", tenants.len())
            }
            Ok(Some(RoutingUpdate::Changed(delta))) => format!("changed {}", delta.revision),
            Ok(Some(RoutingUpdate::Bookmark { revision, .. })) => format!("bookmark {revision}"),
            Err(Broken::Abandon(_)) => "abandon".into(),
            Err(Broken::Fatal(_)) => "fatal".into(),
        }
    }

    #[test]
    fn every_message_is_given_once_and_in_order() {
        let mut progress = RoutingProgress::new(RoutingPosition::default());
        // Message, what the caller gets, the revision that a new stream would resume after.
        let script = [
            (delta(3), "abandon", 0),
            (bookmark(3), "abandon", 0),
            (piece(5, "a", false), "-", 0),
            (piece(5, "b", true), "replaced 5 2", 5),
            (delta(6), "changed 6", 5),
            (delta(8), "changed 8", 5),
            (bookmark(9), "bookmark 9", 9),
            (delta(10), "changed 10", 9),
            // A new stream repeats what is after the resumed revision.
            (delta(9), "-", 9),
            (delta(10), "-", 9),
            (bookmark(9), "-", 9),
            (bookmark(10), "bookmark 10", 10),
            // A member that lags.
            (piece(9, "a", true), "abandon", 10),
            (resync(), "abandon", 0),
            (piece(9, "a", true), "abandon", 0),
            (piece(12, "a", true), "replaced 12 1", 12),
        ];
        for (step, (message, expected, resume)) in script.into_iter().enumerate() {
            assert_eq!(describe(&mut progress, message), expected, "step {step}");
            let position = progress.position();
            assert_eq!(position.revision, Revision(resume), "step {step}");
            assert_eq!(position.digest, resume * 100, "step {step}");
        }
    }

    #[test]
    fn an_interrupted_snapshot_is_given_up() {
        for second in [piece(6, "b", true), delta(6), bookmark(5)] {
            let mut progress = RoutingProgress::new(RoutingPosition::default());
            assert_eq!(describe(&mut progress, piece(5, "a", false)), "-");
            assert_eq!(describe(&mut progress, second), "abandon");
            progress.opened();
            assert_eq!(describe(&mut progress, piece(7, "c", true)), "replaced 7 1");
        }
    }

    #[test]
    fn another_cluster_is_fatal_and_leaves_the_position() {
        let from = RoutingPosition {
            cluster_uid: Some(ClusterUid::from_u128(1)),
            cluster_epoch: ClusterEpoch::FIRST,
            revision: Revision(4),
            digest: 44,
        };
        let mut progress = RoutingProgress::new(from);
        assert_eq!(describe(&mut progress, piece(5, "a", true)), "fatal");
        assert_eq!(progress.position(), from);
    }

    #[test]
    fn a_restored_cluster_replaces_the_table_whatever_its_revision_and_the_old_one_is_not_followed_back() {
        let of_epoch = |epoch: u64, message: v1::PlacementServiceWatchResponse| match message.part {
            Some(Part::Snapshot(piece)) => v1::PlacementServiceWatchResponse {
                part: Some(Part::Snapshot(v1::RoutingSnapshot {
                    cluster_epoch: epoch,
                    ..piece
                })),
            },
            _ => panic!("a snapshot was expected"),
        };
        let mut progress = RoutingProgress::new(RoutingPosition::default());
        let script = [
            (of_epoch(1, piece(50, "a", true)), "replaced 50 1", 1),
            (of_epoch(1, piece(40, "a", true)), "abandon", 1),
            (of_epoch(2, piece(40, "a", true)), "replaced 40 1", 2),
            (of_epoch(1, piece(60, "a", true)), "abandon", 2),
            (delta(41), "changed 41", 2),
            (of_epoch(2, piece(40, "a", true)), "abandon", 2),
            (of_epoch(2, piece(42, "a", false)), "-", 2),
            (of_epoch(3, piece(42, "a", true)), "abandon", 2),
        ];
        for (step, (message, expected, epoch)) in script.into_iter().enumerate() {
            assert_eq!(describe(&mut progress, message), expected, "step {step}");
            assert_eq!(progress.position().cluster_epoch, ClusterEpoch(epoch), "step {step}");
        }
    }

    #[test]
    fn a_caller_that_computes_digests_resumes_right_after_a_change() {
        let mut progress = RoutingProgress::new(RoutingPosition::default());
        describe(&mut progress, piece(5, "a", true));
        describe(&mut progress, delta(6));
        progress.confirm(66);
        let position = progress.position();
        assert_eq!((position.revision, position.digest), (Revision(6), 66));
    }
}
