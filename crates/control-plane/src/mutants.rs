//! Known bugs of this kind of system, each of which can be put back to prove that the simulation finds it.
//!
//! Only with the feature `mutants`, with which the program does not compile. Without it every question is answered by a
//! constant `false`, and nothing of the bugs is left in the machine code.

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
    /// New entries replace conflicting ones, but what followed those stays.
    StoreKeepsStaleTail,
    /// Reading the log back leaves out its last entry.
    LastEntryLost,
    /// A term and a vote without entries are not written.
    VoteNotWritten,
    /// A write is acknowledged before it is flushed.
    AcknowledgedBeforeFlush,
    /// An installed snapshot leaves the old entries where they were.
    InstallKeepsOldLog,
    /// Compaction forgets the entry after the one it was asked for.
    CompactsOneTooMany,
    /// A disk that is full for a while stops the member for good.
    FullDiskIsFatal,
    /// A snapshot is restored without the answers kept for repeated requests.
    RequestsNotRestored,
    /// A snapshot is restored without one of its tables.
    KeysNotRestored,
    /// A received snapshot file is adopted unchecked.
    SnapshotNotVerified,
    /// In memory, conflicting entries stay behind new ones.
    ViewKeepsStaleTail,
    /// A question for a read index that was dropped is not asked again.
    ReadNotAskedAgain,
    /// A read is answered before its index is applied.
    ReadBeforeApplied,
    /// Whoever waits for an index is woken by the entry itself, not by a snapshot or batch that covers it.
    WaiterForgotten,
    /// Reads trust a leader's lease.
    LeaseBasedReads,
    /// A message for another member is taken in.
    ForeignMessageTaken,
    /// A member does not notice that it has lost its log.
    LostLogIgnored,
    /// The leader is not told that a snapshot did not arrive.
    FailedSnapshotNotReported,
    /// A snapshot carries the current term instead of that of its last entry.
    SnapshotTermWrong,
    /// The log is compacted to its end, beyond the snapshot.
    CompactsBeyondSnapshot,
    /// Votes and acknowledgements leave before what they promise is flushed.
    PromisedBeforeFlush,
    /// A leader counts itself towards a majority before its own flush.
    CountedBeforeFlush,
    /// A received snapshot is named in the log before its file is in place.
    InstallMarkerFirst,
    /// After a failure the state of an installed snapshot is not taken over.
    RestoreForgotten,
    /// Messages are taken in and time passes while a snapshot is being installed.
    StepsWhileInstalling,
    /// After a failure of the disk the node in memory goes on.
    NodeResumed,
    /// A snapshot that cannot be written stops the member.
    UnwrittenSnapshotIsFatal,
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
    const NEVER: bool = mutated(Mutant::AcknowledgedBeforeFlush);

    #[test]
    fn no_bug_is_in_without_the_feature_and_the_program_refuses_the_feature() {
        const { assert!(!NEVER) }
        let program = include_str!("main.rs");
        assert!(
            program.contains("#[cfg(feature = \"mutants\")]\ncompile_error!"),
            "the guard is gone"
        );
        let manifest = include_str!("../Cargo.toml");
        assert!(
            manifest.contains("\nmutants = []\n") && !manifest.contains("default ="),
            "features have changed"
        );
    }
}
