//! Where other members are reached and which log they have, as it changes while the member runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_types::MemberId;

use crate::storage::{LogId, Members};

/// What is written about one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerRecord {
    pub(super) address: String,
    /// `None`: not known, not checked.
    pub(super) log: Option<LogId>,
}

/// The book. Clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::raft) struct PeerBook(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    members: BTreeMap<MemberId, PeerRecord>,
    /// Who has called a member that knows nobody yet. Forgotten once it knows the members.
    callers: BTreeMap<MemberId, PeerRecord>,
}

impl PeerBook {
    /// These are the members from now on.
    pub(super) fn set(&self, members: &Members) {
        let record = |(member, address): (&MemberId, &String)| {
            let log = members.logs.get(member).copied();
            let address = address.clone();
            (*member, PeerRecord { address, log })
        };
        let mut pages = self.0.lock();
        pages.members = members.addresses.iter().map(record).collect();
        if !pages.members.is_empty() {
            pages.callers.clear();
        }
    }

    /// A member has called from `address`. Of use only to a member that knows nobody.
    pub(super) fn note_caller(&self, member: MemberId, address: String, log: Option<LogId>) {
        let mut pages = self.0.lock();
        if pages.members.is_empty() {
            pages.callers.insert(member, PeerRecord { address, log });
        }
    }

    pub(super) fn get(&self, member: MemberId) -> Option<PeerRecord> {
        let pages = self.0.lock();
        pages
            .members
            .get(&member)
            .or_else(|| pages.callers.get(&member))
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_remembered_only_by_a_member_that_knows_nobody() {
        let id = |id| MemberId::new(id).unwrap();
        let book = PeerBook::default();
        book.note_caller(id(1), "a:1".into(), None);
        assert_eq!(book.get(id(1)).unwrap().address, "a:1");
        let members = Members {
            addresses: [(id(2), "b:1".into())].into(),
            logs: [(id(2), LogId::new(5).unwrap())].into(),
            ..Members::default()
        };
        book.set(&members);
        book.note_caller(id(1), "a:1".into(), None);
        assert_eq!(book.get(id(1)), None);
        assert_eq!(book.get(id(2)).unwrap().log, LogId::new(5));
    }
}
