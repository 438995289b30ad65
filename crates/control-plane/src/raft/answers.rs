//! Gives callers their answers, many at a time, on the async runtime.
//!
//! An answer given from another thread wakes the runtime, which costs a system call each. A batch handed to a task of the
//! runtime costs one, and the connections that it wakes have all their answers to send at once.

use tenantry_types::Revision;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::task::TaskTracker;

use super::handle::{ProposeError, ProposeReply, ReadError, ReadReply};

/// An answer and who waits for it.
pub(super) enum Answer<A> {
    Proposal(ProposeReply<A>, Result<(Revision, A), ProposeError>),
    Read(ReadReply, Result<Revision, ReadError>),
}

impl<A> Answer<A> {
    /// A caller that has gone away needs none.
    fn give(self) {
        match self {
            Self::Proposal(reply, outcome) => drop(reply.send(outcome)),
            Self::Read(reply, outcome) => drop(reply.send(outcome)),
        }
    }
}

/// Where batches of answers go. What waits here is bounded by the callers that wait. Dropping all clones ends the task.
pub(super) struct Answers<A>(UnboundedSender<Vec<Answer<A>>>);

impl<A> Clone for Answers<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Send + 'static> Answers<A> {
    /// Starts the task. Must be called within a tokio runtime.
    pub(super) fn start(tasks: &TaskTracker) -> Self {
        let (sender, batches) = unbounded_channel();
        tasks.spawn(give_all(batches));
        Self(sender)
    }

    pub(super) fn give(&self, batch: Vec<Answer<A>>) {
        if batch.is_empty() {
            return;
        }
        // A runtime that is being shut down runs no tasks; whoever still waits is answered from here.
        if let Err(refused) = self.0.send(batch) {
            refused.0.into_iter().for_each(Answer::give);
        }
    }
}

async fn give_all<A>(mut batches: UnboundedReceiver<Vec<Answer<A>>>) {
    while let Some(batch) = batches.recv().await {
        batch.into_iter().for_each(Answer::give);
    }
}
