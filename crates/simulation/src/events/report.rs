//! What happened in a run.

use crate::tally::counters;

counters! {
    /// How often things really happened, not how often they were planned.
    pub struct Report {
        |
        /// Rounds of samples.
        rounds,
        /// Raised conditions that came into the log.
        raised,
        /// Cleared conditions that came into the log, by the node's word.
        cleared,
        /// Conditions that the control plane ended.
        ended,
        /// Reports that told what was known.
        superseded,
        /// Repetitions that the log recognised.
        duplicates,
        /// Batches that were committed.
        committed,
        /// Batches that were lost before they were committed.
        lost_before_commit,
        /// Batches that were committed and whose acknowledgement was lost.
        lost_acknowledgements,
        /// Batches that arrived twice.
        arrived_twice,
        /// Kills of the node.
        kills,
        /// Of those, between a change on disk and the detector that goes on from it.
        kills_after_a_write,
        /// Of those, with a change that was not on disk.
        kills_before_a_write,
        /// Acknowledged batches that a kill left in the outbox.
        kills_before_forgetting,
        /// Outboxes that were lost with the disk.
        outboxes_lost,
        /// Appends that found the outbox full.
        full_outboxes,
        /// Members that went on from a snapshot.
        snapshots_installed,
        /// Restores of the control plane from an old snapshot.
        restores,
        /// Tenants that were deleted.
        deletions,
        /// Tenants that came back after a deletion.
        undeletions,
        /// Placements on another node.
        moves,
    }
}
