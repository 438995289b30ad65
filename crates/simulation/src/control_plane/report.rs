//! What happened in a run.

use crate::tally::counters;

counters! {
    /// How often things really happened, not how often they were planned.
    pub struct Report {
        /// Hash over everything that happened, in order.
        trace: u64,
        /// The last lines of what happened; as many as the plan keeps.
        lines: Vec<String>,
        |
        /// Ticks until the members were equal again.
        ticks,
        /// Messages that arrived.
        delivered,
        /// Messages lost by chance.
        drops,
        /// Messages that came twice.
        duplicates,
        /// Messages that came late.
        delays,
        /// Messages that overtook an earlier one between the same two members.
        reorders,
        /// Partitions between groups that cost at least one message.
        partitions,
        /// One-way partitions that cost at least one message.
        one_way_partitions,
        /// Crashes between two steps.
        crashes,
        /// Crashes after a write that was not synced, which was lost.
        unsynced_losses,
        /// Crashes after a number of steps, wherever in its work the member was.
        crashes_at_work,
        /// Crashes after a synced write, before anything that it promised was sent.
        unsent_promises,
        /// Crashes after commands were applied, before anybody was answered.
        unanswered_crashes,
        /// Writes that kept a member waiting.
        slow_writes,
        /// Writes of several steps at once.
        joint_writes,
        /// Received snapshots that took long to be installed.
        slow_installations,
        /// Received snapshots over which the disk failed.
        failing_installations,
        /// Commands or snapshots that the state machine took its time for.
        slow_applies,
        /// Crashed members that came back.
        restarts,
        /// Times that all members lost their power at once.
        restart_storms,
        /// Processes that were stopped for a while without noticing.
        pauses,
        /// Messages that waited for a stopped process.
        messages_held,
        /// Wall clocks that were set anew.
        clock_jumps,
        /// Leaders that were asked to hand over.
        transfers,
        /// Members that were asked for as learners.
        learners_added,
        /// Learners for which a vote was asked.
        learners_promoted,
        /// Voters that were to be removed.
        members_removed,
        /// Voters whose places were to be taken by learners.
        members_replaced,
        /// Messages that arrived at another member than they were sent to.
        misdelivered,
        /// Disk failures that a member noticed.
        disk_failures,
        /// Members that went on after a disk failure without a restart.
        rebuilds,
        /// Terms that got a leader.
        elections,
        /// Members that came back under their old ids with empty disks.
        wiped_members,
        /// Snapshots that a member wrote of its own state.
        snapshots_written,
        /// Snapshots that a lagging member took over.
        snapshots_installed,
        /// Snapshots that did not arrive.
        snapshots_lost,
        /// Snapshots that were cut off on their way.
        snapshots_cut,
        /// Snapshots of which a bit turned over on their way.
        snapshots_flipped,
        /// Snapshots that could not be written, since the disk failed.
        snapshots_unwritten,
        /// Snapshots damaged on a disk, from which a restart has to do without.
        damaged_snapshots,
        /// Requests that were answered.
        acknowledged,
        /// Requests that were answered once more.
        answered_again,
        /// Requests that never were.
        unknown,
        /// Requests sent again, answered or not.
        retries,
        /// Repeated requests that reached the log again.
        repeats_applied,
        /// Linearizable reads that were answered, by leaders and followers.
        reads,
        /// Questions for a read index; more than reads where answers got lost.
        read_questions,
        /// Reads of a state that others had left behind.
        stale_reads,
        /// Operations whose history was found linearizable.
        operations_judged,
        /// Commands that changed something.
        accepted,
        /// Commands that the state machine rejected.
        rejected,
    }
}
