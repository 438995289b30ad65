//! How long a simulation is and how much goes wrong in it.

/// The shape of a run. Times are in ticks, chances in thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many members.
    pub members: u64,
    /// How long things go wrong.
    pub fault_ticks: u64,
    /// How long the members may take after the last fault until all are equal and serve.
    pub healing_ticks: u64,
    /// Chance that a message is lost.
    pub drop: u32,
    /// Chance that a message comes twice.
    pub duplicate: u32,
    /// Chance that a message is late.
    pub delay: u32,
    /// How late at most.
    pub max_delay_ticks: u64,
    /// Chance per tick that a partition begins.
    pub partition: u32,
    /// Chance per tick that a member crashes between two steps.
    pub crash: u32,
    /// Chance per message that its receiver crashes while working on it.
    pub crash_on_message: u32,
    /// Chance per tick that a member's disk fails for a while.
    pub disk_failure: u32,
    /// Chance that a write takes longer than a tick.
    pub slow_write: u32,
    /// How long such a write takes at most.
    pub max_write_ticks: u64,
    /// Chance per tick that a client has a new command.
    pub command: u32,
    /// Chance that an answered request is sent once more.
    pub repeat: u32,
    /// Applied entries between two snapshots of a member.
    pub snapshot_every: u64,
    /// Entries that the log keeps behind a snapshot.
    pub log_keep: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            members: 3,
            fault_ticks: 1_000,
            healing_ticks: 400,
            drop: 40,
            duplicate: 30,
            delay: 300,
            max_delay_ticks: 6,
            partition: 12,
            crash: 5,
            crash_on_message: 1,
            disk_failure: 4,
            slow_write: 100,
            max_write_ticks: 8,
            command: 150,
            repeat: 150,
            snapshot_every: 20,
            log_keep: 5,
        }
    }
}
