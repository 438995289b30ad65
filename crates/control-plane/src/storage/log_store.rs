//! The contract of a log store: what is kept, what a write must guarantee, and how it fails.
//!
//! A store knows positions, terms and bytes. It does not know Raft's rules beyond "no holes, no rewriting of history".

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use tenantry_types::MemberId;

use super::{IdentityError, LogId};
use crate::mutants::{Mutant, mutated};

/// Where a member's log lives. Every method that writes returns only when the data is durable.
///
/// After an error of [`StoreError::Io`] the store refuses all work until [`reopen`](Self::reopen) succeeds: what the
/// failed write left behind is known only after reading the disk again.
pub trait LogStore: Send + 'static {
    /// Reads everything back. An empty store answers an empty log.
    ///
    /// # Errors
    /// When the disk cannot be read, or a record does not check.
    fn load(&mut self) -> Result<LoadedLog, StoreError>;

    /// Writes entries, hard state and members in one durable step. Entries at or after the first given index are
    /// replaced, with whatever followed them.
    ///
    /// # Errors
    /// `Hole`, `Compacted` and `Committed` for entries that do not fit, without writing anything; `Io` when the outcome
    /// is unknown.
    fn append(&mut self, batch: &AppendBatch) -> Result<(), StoreError>;

    /// Moves the snapshot marker and forgets the entries up to and including `through`.
    ///
    /// # Errors
    /// `BeyondSnapshot` if `through` lies after the snapshot, `WrongTerm` if the log disagrees about either; otherwise
    /// as `append`.
    fn compact(&mut self, snapshot: LogPosition, through: LogPosition, hard_state: HardState)
    -> Result<(), StoreError>;

    /// Replaces the whole log by a snapshot: marker, members and hard state are set, all entries are forgotten.
    ///
    /// # Errors
    /// As `append`.
    fn install_snapshot(
        &mut self,
        snapshot: LogPosition,
        members: &MembersAt,
        hard_state: HardState,
    ) -> Result<(), StoreError>;

    /// Closes what is open and opens it again, after an error or to prove that the data is on disk. What it answers
    /// afterwards is durable: what a failed write left behind is written anew, or gone.
    ///
    /// # Errors
    /// When the disk still refuses.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Bytes that the store occupies on disk.
    fn size_on_disk_bytes(&self) -> u64;
}

/// An entry's place in the log. Index 0 is "before everything".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Raft index.
    pub index: u64,
    /// Raft term.
    pub term: u64,
}

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A command of the state machine, or nothing (a new leader's first entry).
    Command,
    /// A change of the members.
    Membership,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub position: LogPosition,
    /// What it carries.
    pub kind: EntryKind,
    /// Names the proposal, so that its caller can be answered.
    pub context: Bytes,
    /// The command.
    pub data: Bytes,
}

/// What a member must not forget besides entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Whom it voted for in that term; 0 for nobody.
    pub vote: u64,
    /// The last index known to be committed. May lag behind: it is learnt again. A store never keeps more than the
    /// log's end.
    pub commit: u64,
}

/// Who takes part, and where they are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Members with a vote.
    pub voters: BTreeSet<MemberId>,
    /// Members that only follow.
    pub learners: BTreeSet<MemberId>,
    /// While a change is under way: the voters before it.
    pub voters_outgoing: BTreeSet<MemberId>,
    /// While a change is under way: voters that become learners after it.
    pub learners_next: BTreeSet<MemberId>,
    /// Whether the change finishes by itself.
    pub auto_leave: bool,
    /// `host:port` of each member.
    pub addresses: BTreeMap<MemberId, String>,
    /// Each member's log. One that comes with another has lost its disk. Unchecked for a member that is missing here.
    pub logs: BTreeMap<MemberId, LogId>,
    /// Ids of former members. They are never given again.
    pub removed: BTreeSet<MemberId>,
}

impl Members {
    /// Everyone who takes part, in any way; some twice.
    pub fn all(&self) -> impl Iterator<Item = MemberId> + '_ {
        let sets = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        sets.into_iter().flatten().copied()
    }

    /// Whether `member` takes part in any way.
    #[must_use]
    pub fn contains(&self, member: MemberId) -> bool {
        self.all().any(|known| known == member)
    }
}

/// The members, as of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembersAt {
    /// Index of the entry or snapshot that set them.
    pub index: u64,
    /// Who they are.
    pub members: Members,
}

/// One durable step. Empty parts are left as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppendBatch {
    /// Entries without a gap, oldest first.
    pub entries: Vec<LogEntry>,
    /// The new hard state.
    pub hard_state: Option<HardState>,
    /// The new members.
    pub members: Option<MembersAt>,
}

/// All that a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedLog {
    /// The last hard state.
    pub hard_state: HardState,
    /// The newest members.
    pub members: MembersAt,
    /// The snapshot file that the log builds on.
    pub snapshot: LogPosition,
    /// The last entry that was forgotten: the first of `entries` follows it.
    pub compacted: LogPosition,
    /// All entries kept.
    pub entries: Vec<LogEntry>,
}

impl LoadedLog {
    /// Whether nothing has ever been in it: the log of a member that waits for its first snapshot.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.snapshot.index == 0 && self.compacted.index == 0 && self.entries.is_empty()
    }

    /// Whether a snapshot at `position` is one that this log leads on from: the one it builds on, or an earlier one
    /// whose successors it still holds.
    #[must_use]
    pub fn leads_on_from(&self, position: LogPosition) -> bool {
        position <= self.snapshot && position.index >= self.compacted.index
    }

    /// Where the log ends.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.compacted, |entry| entry.position)
    }
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed or is full. What was being written may or may not be there.
    #[error("the log store cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An earlier failure has not been followed by a reopen.
    #[error("the log store failed before and has not been reopened")]
    NeedsReopen,
    /// A write failed in a way that the store does not recover from within this process.
    #[error("the log store hangs after a failed write; what was acknowledged is on disk. Restart this process")]
    Stuck,
    /// The store cannot be opened or read. Nothing was changed.
    #[error(
        "the log store is damaged ({what}); nothing was changed. Keep the folder for examination, and let this member \
         join again from the others with a new id and an empty folder"
    )]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The folder belongs to someone else.
    #[error(transparent)]
    Foreign(#[from] IdentityError),
    /// Entries would leave a gap.
    #[error("entry {given} would leave a hole: the log ends at {last}")]
    Hole {
        /// The entry that was given.
        given: u64,
        /// Where the log ends.
        last: u64,
    },
    /// Entries would rewrite what a snapshot covers.
    #[error("entry {given} would rewrite history: the log is compacted up to {compacted}")]
    Compacted {
        /// The entry that was given.
        given: u64,
        /// The last entry that was forgotten.
        compacted: u64,
    },
    /// Entries would rewrite what is known to be committed.
    #[error("entry {given} would rewrite history: the log is committed up to {commit}")]
    Committed {
        /// The entry that was given.
        given: u64,
        /// The last entry that is known to be committed.
        commit: u64,
    },
    /// A snapshot is said to end in another term than the log's entry has.
    #[error("the snapshot says that entry {index} is of term {given}, the log says {found}")]
    WrongTerm {
        /// The entry.
        index: u64,
        /// The snapshot's word.
        given: u64,
        /// The log's word.
        found: u64,
    },
    /// A compaction would forget entries that no snapshot covers.
    #[error("cannot compact up to {through}: the snapshot ends at {snapshot} and the log at {last}")]
    BeyondSnapshot {
        /// Up to where it was asked.
        through: u64,
        /// The snapshot's index.
        snapshot: u64,
        /// Where the log ends.
        last: u64,
    },
}

impl StoreError {
    /// Whether reopening the store, perhaps later, can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { source, .. } if mutated(Mutant::FullDiskIsFatal) => source.kind() != io::ErrorKind::StorageFull,
            Self::Io { .. } | Self::NeedsReopen => true,
            _ => false,
        }
    }
}

/// Checks that entries join on to a log that was compacted up to `compacted`, is known to be committed up to `commit`,
/// and ends at `last`.
pub(super) fn check_append(entries: &[LogEntry], compacted: u64, commit: u64, last: u64) -> Result<(), StoreError> {
    let Some(first) = entries.first().map(|entry| entry.position.index) else {
        return Ok(());
    };
    if first <= compacted {
        return Err(StoreError::Compacted {
            given: first,
            compacted,
        });
    }
    if first <= commit {
        return Err(StoreError::Committed { given: first, commit });
    }
    let mut end = last.min(first.saturating_sub(1));
    for entry in entries {
        if entry.position.index != end.saturating_add(1) {
            return Err(StoreError::Hole {
                given: entry.position.index,
                last: end,
            });
        }
        end = entry.position.index;
    }
    Ok(())
}

/// Checks that a compaction loses nothing that no snapshot covers.
pub(super) fn check_compact(snapshot: LogPosition, through: LogPosition, last: u64) -> Result<(), StoreError> {
    if through.index > snapshot.index || through.index > last {
        return Err(StoreError::BeyondSnapshot {
            through: through.index,
            snapshot: snapshot.index,
            last,
        });
    }
    Ok(())
}
