//! How long a simulation is and how much goes wrong in it.

use rand::Rng as _;
use rand::rngs::StdRng;

/// Whether seeds differ in how much goes wrong, or only in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Each seed draws its own climate: some faults come often, others never.
    Drawn,
    /// All chances are as the plan says.
    Steady,
}

/// Whether a member's disk is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wipe {
    /// No.
    Never,
    /// That of a follower, once all have recovered from everything else.
    AtTheEnd,
}

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
    /// Chance per snapshot that its receiver crashes while working on it.
    pub crash_on_snapshot: u32,
    /// Chance per tick that a member's disk fails for a while.
    pub disk_failure: u32,
    /// Chance per tick that all members lose their power at once.
    pub storm: u32,
    /// Chance per tick that a member's process is stopped for a while.
    pub pause: u32,
    /// Chance per tick that a member's newest snapshot is damaged on its disk.
    pub damage: u32,
    /// Chance per tick that a member's wall clock is set anew.
    pub clock_jump: u32,
    /// Chance per tick that someone asks the leader to hand over.
    pub transfer: u32,
    /// Chance per tick that an operator asks for a change of the members.
    pub change_members: u32,
    /// Chance that a message arrives at another member than it was sent to.
    pub misdeliver: u32,
    /// Chance that a snapshot on its way is cut off.
    pub cut: u32,
    /// Chance that a bit of a snapshot turns over on its way.
    pub flip: u32,
    /// Chance that a write to the disk takes more than no time.
    pub slow_write: u32,
    /// Chance that the state machine takes more than no time.
    pub slow_apply: u32,
    /// Chance that a received snapshot takes long to be installed.
    pub slow_installation: u32,
    /// Chance that the disk fails over a received snapshot.
    pub failing_installation: u32,
    /// How long such a step takes at most.
    pub max_write_ticks: u64,
    /// Chance per tick that a client has a new command.
    pub command: u32,
    /// Chance per tick that a client reads.
    pub read: u32,
    /// Chance that an answered request is sent once more.
    pub repeat: u32,
    /// Applied entries between two snapshots of a member.
    pub snapshot_every: u64,
    /// Entries that the log keeps behind a snapshot.
    pub log_keep: u64,
    /// Whether a disk is lost.
    pub wipe: Wipe,
    /// Whether each seed has a climate of its own.
    pub weather: Weather,
    /// More deliveries within one tick are taken for talk without end.
    pub max_deliveries: u32,
    /// How many of the last lines of the trace are kept.
    pub trace_lines: usize,
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
            crash_on_message: 3,
            crash_on_snapshot: 150,
            disk_failure: 4,
            storm: 1,
            pause: 4,
            damage: 2,
            clock_jump: 4,
            transfer: 5,
            change_members: 15,
            misdeliver: 3,
            cut: 150,
            flip: 150,
            slow_write: 100,
            slow_apply: 100,
            slow_installation: 300,
            failing_installation: 150,
            max_write_ticks: 6,
            command: 150,
            read: 250,
            repeat: 150,
            snapshot_every: 20,
            log_keep: 5,
            wipe: Wipe::AtTheEnd,
            weather: Weather::Drawn,
            max_deliveries: 20_000,
            trace_lines: 60,
        }
    }
}

impl Plan {
    /// What a seed makes of the plan.
    pub(super) fn drawn(&self, rng: &mut StdRng) -> Self {
        let mut plan = self.clone();
        if plan.weather == Weather::Steady {
            return plan;
        }
        let chances = [
            &mut plan.drop,
            &mut plan.duplicate,
            &mut plan.delay,
            &mut plan.partition,
            &mut plan.crash,
            &mut plan.crash_on_message,
            &mut plan.crash_on_snapshot,
            &mut plan.disk_failure,
            &mut plan.storm,
            &mut plan.pause,
            &mut plan.damage,
            &mut plan.clock_jump,
            &mut plan.transfer,
            &mut plan.change_members,
            &mut plan.misdeliver,
            &mut plan.cut,
            &mut plan.flip,
            &mut plan.slow_write,
            &mut plan.slow_apply,
            &mut plan.slow_installation,
            &mut plan.failing_installation,
        ];
        for chance in chances {
            // In thousandths. Three times as often, as planned, seldom, or never.
            *chance = match rng.random_range(0..8) {
                0 => 0,
                1..=2 => chance.div_ceil(3),
                3..=5 => *chance,
                _ => (*chance * 3).min(600),
            };
        }
        plan.command = plan.command * rng.random_range(2..=6) / 3;
        // Whoever lags needs a snapshot soon, or can catch up from a long log.
        plan.snapshot_every = plan.snapshot_every * rng.random_range(1..=6) / 3;
        plan.log_keep = plan.log_keep * rng.random_range(0..=6) / 3;
        plan.max_delay_ticks = (plan.max_delay_ticks * rng.random_range(1..=6) / 3).max(1);
        plan
    }
}
