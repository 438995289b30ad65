//! What a step changes, gathered before anything is written.

use std::collections::BTreeMap;

use super::super::binary::put_members;
use super::super::{HardState, MembersAt, frame, records};
use super::head::Head;
use super::{HEAD, MEMBERS};

/// Framed values by key; `None` removes. To be written in one atomic step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Changes(pub(in super::super) BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Changes {
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), Some(frame::seal(key, value)));
    }

    pub(super) fn remove(&mut self, first: u64, record: RecordAt) {
        for part in 0..record.parts {
            self.0.insert(records::key(first, part).to_vec(), None);
        }
    }

    pub(in super::super) fn bytes(&self) -> u64 {
        let sizes = self
            .0
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        sizes.sum::<usize>() as u64
    }
}

/// A step that was checked, to be made durable and then [`settled`](Layout::settle).
#[derive(Debug)]
pub(in super::super) struct Plan {
    pub(in super::super) changes: Changes,
    pub(super) head: Head,
    pub(super) removed: Vec<u64>,
    pub(super) added: Vec<(u64, RecordAt)>,
}

impl Plan {
    /// The number of the change, which grows by one with each.
    pub(in super::super) fn sequence(&self) -> u64 {
        self.head.sequence
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordAt {
    pub(super) last: u64,
    pub(super) parts: u16,
    pub(super) bytes: u64,
}

impl Plan {
    pub(super) fn remove(&mut self, first: u64, record: RecordAt) {
        self.removed.push(first);
        self.changes.remove(first, record);
    }

    pub(super) fn add(&mut self, record: &records::Record) {
        let mut bytes = 0;
        for (part, value) in (0_u16..).zip(&record.parts) {
            self.changes.put(&records::key(record.first, part), value);
            bytes += value.len() as u64;
        }
        let at = RecordAt {
            last: record.last,
            parts: u16::try_from(record.parts.len()).unwrap_or(u16::MAX),
            bytes,
        };
        self.added.push((record.first, at));
    }

    pub(super) fn set_state(&mut self, hard_state: Option<HardState>, members: Option<&MembersAt>) {
        if let Some(state) = hard_state {
            self.head.hard_state = state;
            // What is known to be committed may be ahead of what was handed in yet; it is learnt again.
            self.head.hard_state.commit = state.commit.min(self.head.last.index);
        }
        if let Some(members) = members {
            let mut bytes = Vec::new();
            put_members(&mut bytes, members);
            self.head.members_crc = crc32fast::hash(&bytes);
            self.changes.put(MEMBERS, &bytes);
        }
    }

    pub(super) fn sealed(mut self) -> Self {
        self.changes.put(HEAD, &self.head.encode());
        self
    }
}
