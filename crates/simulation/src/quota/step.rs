//! What happened in a run, step by step, for people.

use std::fmt;

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Admitted { tenant: usize, used: u64, limit: u64 },
    Refused { tenant: usize, used: u64, limit: u64 },
    Free { tenant: usize },
    Waits { tenant: usize },
    Unavailable { tenant: usize },
    Left,
    DiskDone,
    Killed { at_the_disk: bool },
    Rebooted { wall_set_by: i64 },
    Stopped,
    Closed { tenant: usize, written: bool },
    Forgotten { tenants: usize },
    Limited { tenant: usize, limit: u64 },
    ClockSet { by_millis: i64 },
    Damaged { tenant: usize },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Admitted { tenant, used, limit } => write!(f, "tenant {tenant} admitted: {used} of {limit} used"),
            Self::Refused { tenant, used, limit } => write!(f, "tenant {tenant} refused: {used} of {limit} used"),
            Self::Free { tenant } => write!(f, "tenant {tenant} passes for free"),
            Self::Waits { tenant } => write!(f, "tenant {tenant} waits for its ledger"),
            Self::Unavailable { tenant } => write!(f, "tenant {tenant} is told of a shortage"),
            Self::Left => write!(f, "a waiting client leaves"),
            Self::DiskDone => write!(f, "the disk is done with a ledger"),
            Self::Killed { at_the_disk: false } => write!(f, "the process is killed"),
            Self::Killed { at_the_disk: true } => write!(f, "the process is killed, the disk at work"),
            Self::Rebooted { wall_set_by } => write!(f, "the machine starts anew, its clock set by {wall_set_by} ms"),
            Self::Stopped => write!(f, "the process stops in order"),
            Self::Closed { tenant, written: true } => write!(f, "tenant {tenant} is closed"),
            Self::Closed { tenant, written: false } => write!(f, "tenant {tenant} cannot be closed"),
            Self::Forgotten { tenants } => write!(f, "{tenants} idle tenants are forgotten"),
            Self::Limited { tenant, limit } => write!(f, "tenant {tenant} gets other limits, {limit} a day"),
            Self::ClockSet { by_millis } => write!(f, "the wall clock is set by {by_millis} ms"),
            Self::Damaged { tenant } => write!(f, "the ledger of tenant {tenant} is damaged"),
        }
    }
}
