//! What was last recorded of the nodes' availability and of the control plane's members, so that each change is told once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenantry_types::{MemberId, MemberKind, NodeId, Reachability};

use super::State;

/// Who leads the control plane and who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMembers {
    /// The member that leads.
    pub leader: MemberId,
    /// The Raft term that it leads in.
    pub term: u64,
    /// All members.
    pub members: BTreeMap<MemberId, MemberKind>,
}

impl State {
    /// What was last recorded of a node's availability.
    #[must_use]
    pub fn recorded_availability(&self, node: &NodeId) -> Option<Reachability> {
        self.availability.get(node).copied()
    }

    /// Who was last recorded to lead and to take part.
    #[must_use]
    pub const fn recorded_members(&self) -> Option<&Arc<RecordedMembers>> {
        self.members.as_ref()
    }

    pub(crate) fn put_availability(&mut self, node: &NodeId, now: Reachability) {
        if let Some(before) = self.availability.insert(node.clone(), now) {
            self.content.toggle(&(node, before));
        }
        self.content.toggle(&(node, now));
    }

    pub(crate) fn put_members(&mut self, members: RecordedMembers) {
        if let Some(before) = self.members.take() {
            self.content.toggle(&*before);
        }
        self.content.toggle(&members);
        self.members = Some(Arc::new(members));
    }
}
