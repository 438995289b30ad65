//! Puts known bugs back, one at a time, and counts the seeds until the simulation notices.

use control_plane::mutants::{Mutant, put_back};

use crate::campaign::{Campaign, Seeds, run_seeds};
use crate::control_plane::{Plan, Violation, run};

/// What became of one bug.
#[derive(Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// How it was noticed, and by which seed; `None` if it was not.
    pub caught: Option<Violation>,
    /// How many seeds missed it.
    pub missed: u64,
}

/// Looks for one bug.
#[must_use]
pub fn hunt(mutant: Mutant, seeds: Seeds, plan: &Plan) -> Hunt {
    let Campaign { passed, violation, .. } = run_seeds(seeds, |seed| run(seed, plan), || put_back(Some(mutant)));
    put_back(None);
    // Other threads may have passed later seeds meanwhile.
    let missed = violation
        .as_ref()
        .map_or(passed, |violation| violation.seed - seeds.first);
    Hunt {
        mutant,
        caught: violation,
        missed,
    }
}

/// Where the bug was seen before.
#[must_use]
pub const fn real_bug(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::StoreKeepsStaleTail | Mutant::ViewKeepsStaleTail => {
            "qdrant #1329, #2508: log truncated wrongly at a conflict"
        }
        Mutant::LastEntryLost => "qdrant #1108: last entry of the log lost",
        Mutant::VoteNotWritten => "a vote forgotten in a restart: two leaders in one term",
        Mutant::AcknowledgedBeforeFlush => "Jepsen NATS 2.12.1: acknowledged before fsync",
        Mutant::InstallKeepsOldLog => "qdrant #7577: old entries kept when a snapshot is installed",
        Mutant::CompactsOneTooMany => "qdrant #5900, #5905: log compacted one entry too far",
        Mutant::FullDiskIsFatal => "qdrant #9662: a disk full for a while ends consensus for ever",
        Mutant::RequestsNotRestored => "qdrant #6014: a new field is missing in the snapshot",
        Mutant::KeysNotRestored => "keystone #1293: the snapshot holds some of several keyspaces",
        Mutant::SnapshotNotVerified => "TiKV #11618: a damaged snapshot is taken over",
        Mutant::ReadNotAskedAgain => "Restate #2947: read index dropped silently",
        Mutant::WaiterForgotten => "qdrant #8990: waiter never woken when the entry comes with a snapshot",
        Mutant::LeaseBasedReads => "raft-rs: reads by lease are stale under a deposed leader",
        Mutant::ForeignMessageTaken => "Restate #2963: message for another node at a reused address",
        Mutant::LostLogIgnored => "qdrant #1235, TiKV #1084: wiped member comes back under its old id",
        Mutant::FailedSnapshotNotReported => "TiKV #9859, dgraph #2707: follower paused for ever after a lost snapshot",
        Mutant::SnapshotTermWrong => "qdrant #5598: wrong term in a snapshot's metadata",
        Mutant::CompactsBeyondSnapshot => "qdrant #5900: log compacted beyond what is applied",
        Mutant::PromisedBeforeFlush => "hard state and entries not durable before messages leave",
        Mutant::CountedBeforeFlush => "a leader commits by a copy that it has not flushed",
        Mutant::InstallMarkerFirst => "qdrant #7577: a crash in the middle of a snapshot's installation",
        Mutant::RestoreForgotten => "qdrant #7577: log and state apart after an interrupted installation",
        Mutant::StepsWhileInstalling => "TiKV #9349: messages handled before a snapshot is persisted",
        Mutant::NodeResumed => "qdrant #9662: the node in memory resumed after a disk error",
        Mutant::UnwrittenSnapshotIsFatal => "TiKV #18406: disk full while a snapshot is written stops the member",
        Mutant::ReadBeforeApplied => "a follower answers a read before it has applied the read index",
    }
}
