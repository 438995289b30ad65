//! Puts known bugs of quotas back, one at a time, and counts the seeds until the model notices.

use tenantry_layers::mutants::{Mutant, put_back};

use crate::campaign::{Campaign, Seeds, run_seeds};
use crate::quota::{Plan, Report, Violation, run};

/// What became of one bug.
#[derive(Debug)]
pub struct Hunt {
    /// How it was noticed, and by which seed.
    pub caught: Option<Violation>,
    /// What happened in the seeds that passed.
    pub total: Report,
}

/// Looks for one bug.
#[must_use]
pub fn hunt(mutant: Mutant, seeds: Seeds, plan: &Plan) -> Hunt {
    let Campaign { total, violation, .. } = run_seeds(seeds, |seed| run(seed, plan), || put_back(Some(mutant)));
    put_back(None);
    Hunt {
        caught: violation,
        total,
    }
}

/// Where the bug was seen before.
#[must_use]
pub const fn real_bug(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::RestartForgets => "nvcf #975, myscrollr #212, Rokabot #150: a restart is a fresh budget",
        Mutant::SameLimitsRefill => "kthena #1013: each reconcile refilled the bucket",
        Mutant::RemainderWraps => "limitador #522: underflow after a limit was lowered",
        Mutant::RefusedIsCounted => "sourcegraph #51899: rejected calls were counted",
        Mutant::RefusedIsChargedToBurst => "wso2 api-platform #3116: the order of limits decided who was charged",
        Mutant::ForgottenWhileServing => "ours, found by this model",
        Mutant::BucketLeavesEarly => "a window that is shorter than it says",
        Mutant::AdmitsBeforeWrite => "used before it is durable",
        Mutant::ReservationNotRead => "a crash grants what was reserved",
        Mutant::ReservationTooBig => "a crash withholds more than it may",
        Mutant::CloseForgetsLatest => "a close loses the latest requests",
        Mutant::FailedCloseKeepsReservation => "a write that failed and landed",
        Mutant::DamagedIsFresh => "a damaged file is a fresh budget",
        Mutant::WallClockBelieved => "a clock set forward is a fresh budget",
        Mutant::ChangedLimitRefills => "a changed limit is a fresh budget",
        Mutant::LastRefused => "one less than was paid for",
        Mutant::PlaceNotGivenBack => "concurrent requests leak",
        Mutant::WaiterForgotten => "a waiter that is never woken",
        Mutant::RetryAfterTooEarly => "a Retry-After that is not so",
    }
}
