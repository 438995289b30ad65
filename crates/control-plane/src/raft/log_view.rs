//! The log in memory, as raft-rs reads it. What it holds has been written to the store before.
//!
//! It never touches the disk: raft-rs asks here on every message.

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::codec::{conf_state, entry_from_log, hard_state_from_log};
use crate::mutants::{Mutant, mutated};
use crate::storage::{HardState, LoadedLog, LogPosition, Members, MembersAt};

pub(super) struct LogView {
    hard_state: HardState,
    members: MembersAt,
    /// The newest snapshot file, and the members as of then.
    snapshot: LogPosition,
    snapshot_members: Members,
    compacted: LogPosition,
    entries: VecDeque<Entry>,
    /// Set when raft-rs asked for a snapshot that must be made first.
    wanted: Cell<bool>,
}

impl LogView {
    pub(super) fn new(log: LoadedLog, snapshot_members: Members) -> Self {
        let mut view = Self {
            hard_state: log.hard_state,
            members: log.members,
            snapshot: log.snapshot,
            snapshot_members,
            compacted: log.compacted,
            entries: VecDeque::with_capacity(log.entries.len()),
            wanted: Cell::new(false),
        };
        view.append(&log.entries.into_iter().map(entry_from_log).collect::<Vec<_>>());
        view
    }

    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(super) fn set_hard_state(&mut self, state: HardState) {
        self.hard_state = state;
    }

    pub(super) fn set_members(&mut self, members: MembersAt) {
        self.members = members;
    }

    pub(super) fn members(&self) -> &MembersAt {
        &self.members
    }

    pub(super) fn snapshot_position(&self) -> LogPosition {
        self.snapshot
    }

    pub(super) fn first(&self) -> u64 {
        self.compacted.index.saturating_add(1)
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.back().map_or(self.compacted.index, |entry| entry.index)
    }

    /// The term of an entry that is held, or of the last one that was forgotten.
    pub(super) fn position(&self, index: u64) -> Option<LogPosition> {
        if index == self.compacted.index {
            return Some(self.compacted);
        }
        let offset = usize::try_from(index.checked_sub(self.first())?).ok()?;
        let term = self.entries.get(offset)?.term;
        Some(LogPosition { index, term })
    }

    /// Whether a snapshot was asked for; asking resets it.
    pub(super) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// Adds entries, replacing those from the first one's index on.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let stays = |entry: &mut Entry| mutated(Mutant::ViewKeepsStaleTail) && entry.index > first.index;
        while self
            .entries
            .pop_back_if(|entry| entry.index >= first.index && !stays(entry))
            .is_some()
        {}
        self.entries.extend(entries.iter().cloned());
    }

    pub(super) fn compact(&mut self, snapshot: LogPosition, snapshot_members: Members, through: LogPosition) {
        self.snapshot = snapshot;
        self.snapshot_members = snapshot_members;
        if through.index > self.compacted.index {
            while self
                .entries
                .pop_front_if(|entry| entry.index <= through.index)
                .is_some()
            {}
            self.compacted = through;
        }
    }

    pub(super) fn install(&mut self, snapshot: LogPosition, members: MembersAt, hard_state: HardState) {
        self.entries.clear();
        self.compacted = snapshot;
        self.snapshot = snapshot;
        self.snapshot_members = members.members.clone();
        self.members = members;
        self.hard_state = hard_state;
    }
}

fn size(entry: &Entry) -> u64 {
    u64::try_from(entry.data.len() + entry.context.len()).unwrap_or(u64::MAX)
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            hard_state_from_log(self.hard_state),
            conf_state(&self.members.members),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last().saturating_add(1) {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let offset = |index: u64| usize::try_from(index - self.first()).unwrap_or(usize::MAX);
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0_u64;
        let mut found = Vec::new();
        for entry in self.entries.range(offset(low)..offset(high)) {
            // Framing of the entry in a message, generously.
            bytes = bytes.saturating_add(size(entry)).saturating_add(32);
            if bytes > max_size && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if let Some(position) = self.position(index) {
            return Ok(position.term);
        }
        Err(Error::Store(if index < self.first() {
            StorageError::Compacted
        } else {
            StorageError::Unavailable
        }))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Describes the newest snapshot file; the state itself travels beside the message.
    ///
    /// A snapshot older than the last change of members is not served: a member it does not name would ignore it, and
    /// be sent it again for ever.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.snapshot.index < self.members.index.max(request_index).max(self.compacted.index) {
            self.wanted.set(true);
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.snapshot.index;
        metadata.term = self.snapshot.term;
        metadata.set_conf_state(conf_state(&self.snapshot_members));
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::storage::{EntryKind, LogEntry};

    fn at(index: u64, term: u64) -> LogPosition {
        LogPosition { index, term }
    }

    fn view() -> LogView {
        let entries = (6..=9)
            .map(|index| LogEntry {
                position: at(index, 2),
                kind: EntryKind::Command,
                context: Bytes::new(),
                data: Bytes::from_static(&[0; 100]),
            })
            .collect();
        let log = LoadedLog {
            snapshot: at(7, 2),
            compacted: at(5, 1),
            entries,
            ..LoadedLog::default()
        };
        LogView::new(log, Members::default())
    }

    #[test]
    fn terms_answer_from_the_last_forgotten_entry_on() {
        let view = view();
        assert_eq!(view.term(5), Ok(1));
        assert_eq!(view.term(9), Ok(2));
        assert_eq!(view.term(4), Err(Error::Store(StorageError::Compacted)));
        assert_eq!(view.term(10), Err(Error::Store(StorageError::Unavailable)));
    }

    #[test]
    fn entries_are_limited_by_size_but_never_to_none() {
        let view = view();
        let count = |max| view.entries(6, 10, max, GetEntriesContext::empty(false)).unwrap().len();
        assert_eq!((count(None), count(Some(300)), count(Some(0))), (4, 2, 1));
        assert!(view.entries(5, 8, None, GetEntriesContext::empty(false)).is_err());
        assert!(view.entries(6, 11, None, GetEntriesContext::empty(false)).is_err());
    }

    #[test]
    fn a_snapshot_older_than_the_members_or_the_request_is_not_served_but_asked_for() {
        let mut view = view();
        assert_eq!(view.snapshot(7, 2).unwrap().get_metadata().index, 7);
        assert!(!view.take_wanted());
        assert!(view.snapshot(8, 2).is_err());
        assert!(view.take_wanted());
        view.members.index = 8;
        assert!(view.snapshot(0, 2).is_err());
        assert!(view.take_wanted() && !view.take_wanted());
    }

    #[test]
    fn a_conflicting_suffix_replaces_the_tail() {
        let mut view = view();
        let mut entry = Entry::default();
        (entry.index, entry.term) = (8, 3);
        view.append(&[entry]);
        assert_eq!((view.last(), view.term(7), view.term(8)), (8, Ok(2), Ok(3)));
    }
}
