//! What happened in a run.

use crate::tally::counters;

counters! {
    /// How often things really happened, not how often they were planned.
    pub struct Report {
        /// Hash over all decisions, in order.
        trace: u64,
        |
        /// Requests that were decided.
        requests,
        /// Requests that were admitted and counted.
        admitted,
        /// Requests that passed without being counted.
        free,
        /// Requests refused for the daily limit.
        refused_daily,
        /// Requests refused for the burst limit.
        refused_burst,
        /// Requests refused for too many at once.
        refused_concurrent,
        /// Wrongly refused: a bucket leaves with its last minute.
        wrong_by_buckets,
        /// Wrongly refused: a crash left a reservation.
        wrong_by_crash,
        /// Wrongly refused: another request, refused before, has passed later in its place.
        wrong_by_delay,
        /// Admissions that were checked by documented time alone, within a day of a reboot with a clock set forward.
        checked_by_exception,
        /// Requests that waited for a ledger.
        waited,
        /// Waiting requests whose client left.
        abandoned,
        /// Requests answered by a shortage, after a disk failed.
        unavailable,
        /// Processes that were killed.
        kills,
        /// Of those, with a ledger being written or read.
        kills_at_the_disk,
        /// Of those, with a ledger written and nobody told yet.
        kills_after_a_write,
        /// Ledgers that a kill left as they were before the write.
        writes_lost,
        /// Ledgers that a kill left as the write made them.
        writes_landed,
        /// Renamed and not synced ledgers that a power cut undid.
        writes_undone,
        /// Restarts of the machine.
        reboots,
        /// Of those, with a wall clock that had been set since.
        reboots_with_a_jump,
        /// Clean stops of a process.
        stops,
        /// Tenants that were closed while the process went on.
        closes,
        /// Tenants that were forgotten for being idle.
        forgotten,
        /// Ledgers that were read.
        reopenings,
        /// Reservations that were read back as used.
        reservations_burnt,
        /// Damaged ledgers that were found.
        damaged,
        /// Writes that failed.
        failed_writes,
        /// Reads that failed.
        failed_reads,
        /// Limits raised.
        raised,
        /// Limits lowered.
        lowered,
        /// Limits lowered to less than was used.
        lowered_below_use,
        /// The same limits, sent again.
        duplicates,
        /// Times that the wall clock was set while a process ran.
        clock_jumps,
        /// Refused clients that waited as told, and passed.
        retries,
        /// Refused clients that came a millisecond early, and were refused.
        early_retries,
        /// Hours of true time.
        hours,
    }
}

impl Report {
    /// Requests that were refused though a counter without buckets and crashes had let them pass.
    #[must_use]
    pub const fn wrongly_refused(&self) -> u64 {
        self.wrong_by_buckets + self.wrong_by_crash + self.wrong_by_delay
    }

    /// Requests that were refused.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused_daily + self.refused_burst + self.refused_concurrent
    }

    /// Limits that were raised, lowered or sent again.
    #[must_use]
    pub const fn limit_changes(&self) -> u64 {
        self.raised + self.lowered + self.duplicates
    }

    /// Whether more than 0.2 % of the requests were wrongly refused.
    #[must_use]
    pub const fn refused_too_many(&self) -> bool {
        self.wrongly_refused().saturating_mul(500) > self.requests
    }

    /// Notes a decision.
    pub(super) fn note(&mut self, number: u64) {
        // 64-bit FNV-1a over whole numbers: it has to tell runs apart, not to spread.
        self.trace = (self.trace ^ number).wrapping_mul(0x0100_0000_01b3);
    }
}
