//! Known bugs of quotas, each of which can be put back to prove that the model of the quota engine notices it.
//!
//! Only with the feature `mutants`, which is the simulation's alone. Without it every question is answered by a constant
//! `false`, and nothing of the bugs is left in the machine code.

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug.
        #[cfg_attr(not(feature = "mutants"), expect(unreachable_pub, reason = "public for the simulation alone"))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutants! {
    /// A bucket leaves one bucket early: with its first request and not with its last.
    BucketLeavesEarly,
    /// Requests are admitted from a reservation that is not on disk yet.
    AdmitsBeforeWrite,
    /// The reader of a ledger does not count its reservation.
    ReservationNotRead,
    /// Reservations are ten times as big as they may be.
    ReservationTooBig,
    /// A close writes the count without the present bucket.
    CloseForgetsLatest,
    /// A close that failed goes on within the reservation that its write may have taken away.
    FailedCloseKeepsReservation,
    /// A restart begins the day anew.
    RestartForgets,
    /// A damaged ledger is a fresh day.
    DamagedIsFresh,
    /// The wall clock is believed within one start of the machine.
    WallClockBelieved,
    /// A changed limit begins the day anew.
    ChangedLimitRefills,
    /// The same limits, sent again, fill the burst bucket up.
    SameLimitsRefill,
    /// A refused request is counted.
    RefusedIsCounted,
    /// A request that the daily limit refuses is charged to the burst limit.
    RefusedIsChargedToBurst,
    /// What remains of a limit that was lowered below use wraps around.
    RemainderWraps,
    /// The last request of a limit is refused.
    LastRefused,
    /// Places are not given back when requests end.
    PlaceNotGivenBack,
    /// A tenant is forgotten though a request came after it was found idle.
    ForgottenWhileServing,
    /// Who waits for a reservation is not told that it is written.
    WaiterForgotten,
    /// A refused client is told to come back a bucket too early.
    RetryAfterTooEarly,
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Puts a bug back on this thread, or takes it out again.
#[cfg(feature = "mutants")]
pub fn put_back(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether this bug is in.
#[cfg(feature = "mutants")]
pub(crate) fn mutated(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether this bug is in: never.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn mutated(_: Mutant) -> bool {
    false
}

#[cfg(all(test, not(feature = "mutants")))]
mod tests {
    use super::*;

    /// Evaluated by the compiler: whatever asks is a branch that is never taken.
    const NEVER: bool = mutated(Mutant::RestartForgets);

    #[test]
    fn no_bug_is_in_without_the_feature_and_nobody_has_it_by_default() {
        const { assert!(!NEVER) }
        let manifest = include_str!("../Cargo.toml");
        assert!(
            manifest.contains("\nmutants = []\n") && !manifest.contains("default ="),
            "features have changed"
        );
    }
}
