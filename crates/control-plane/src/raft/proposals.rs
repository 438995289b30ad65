//! Callers who wait for their commands, shared by the raft thread, which takes them in, and the apply thread, which
//! answers them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::applier::Applied;
use super::codec::ProposalId;
use super::handle::{ProposeError, ProposeReply};

/// Clones are the same callers.
pub(super) struct Proposals<A> {
    /// Drawn at random at each start: tells our own proposals from all others.
    pub(super) origin: u64,
    waiting: Arc<Mutex<BTreeMap<u64, ProposeReply<A>>>>,
}

impl<A> Clone for Proposals<A> {
    fn clone(&self) -> Self {
        Self {
            origin: self.origin,
            waiting: Arc::clone(&self.waiting),
        }
    }
}

impl<A> Proposals<A> {
    pub(super) fn new(origin: u64) -> Self {
        Self {
            origin,
            waiting: Arc::default(),
        }
    }

    /// Must come before the proposal, whose answer may be quick.
    pub(super) fn wait(&self, replies: impl IntoIterator<Item = (ProposalId, ProposeReply<A>)>) {
        let replies = replies.into_iter().map(|(id, reply)| (id.sequence, reply));
        self.lock().extend(replies);
    }

    /// Answers whoever waits for this, if it is one of ours. Nobody is called with the lock held.
    pub(super) fn answer(&self, applied: Applied<A>) {
        let Some(own) = applied.proposal.filter(|id| id.origin == self.origin) else {
            return;
        };
        let reply = self.lock().remove(&own.sequence);
        if let Some(reply) = reply {
            let _ = reply.send(Ok((applied.revision, applied.answer)));
        }
    }

    /// Turns away callers whose commands were certainly not taken.
    pub(super) fn refuse(&self, ids: impl IntoIterator<Item = ProposalId>, error: &ProposeError) {
        let mut refused = Vec::new();
        {
            let mut waiting = self.lock();
            refused.extend(ids.into_iter().filter_map(|id| waiting.remove(&id.sequence)));
        }
        for reply in refused {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Tells all who wait that their commands may or may not take effect.
    pub(super) fn forget_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for reply in waiting.into_values() {
            let _ = reply.send(Err(ProposeError::OutcomeUnknown));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ProposeReply<A>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
