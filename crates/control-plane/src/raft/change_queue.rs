//! Callers who wait for a change of the members: to be let through, then to be applied.
//!
//! raft-rs drops a change silently when it does not like it, so every wait has an end.

use std::sync::Arc;
use std::time::Duration;

use tenantry_types::MemberId;
use tokio::sync::oneshot;

use super::change::{ChangeFate, ProposeChangeError, ProposedChange};
use super::handle::{Control, RaftHandle};
use super::membership::{Caution, ChangeRefused, MemberChange};
use super::replica::Replica;
use crate::storage::MembersAt;

/// Callers that may wait at once.
const MAX_WAITING: usize = 64;

/// Whether a change is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It is.
    Make,
    /// The caller asks only whether it could be.
    Check,
}

/// Why a change of the members has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It was not made: another member leads, or none.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<MemberId>,
    },
    /// It was not made, for a good reason.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// It may or may not be made. Asking for it again is safe.
    #[error("the outcome of the change is unknown")]
    OutcomeUnknown,
    /// It was not made: too many changes wait.
    #[error("too many changes wait")]
    Busy,
    /// It was not made: the member's disk does not work.
    #[error("the member's disk does not work")]
    Unavailable,
    /// The member has stopped; it may or may not be made.
    #[error("the member has stopped")]
    Stopped,
}

pub(super) type ChangeReply = oneshot::Sender<Result<Arc<MembersAt>, ChangeError>>;

/// A change that somebody asked for.
pub(super) struct WantedChange {
    pub(super) change: MemberChange,
    pub(super) caution: Caution,
    pub(super) intent: Intent,
    pub(super) deadline: Duration,
    pub(super) reply: ChangeReply,
}

struct Waiting {
    wanted: WantedChange,
    proposed: Option<ProposedChange>,
    /// A refusal that may pass by itself is final from here on.
    patient_until: u64,
    deadline_tick: u64,
}

/// All changes under way.
#[derive(Default)]
pub(super) struct ChangeQueue {
    waiting: Vec<Waiting>,
}

impl ChangeQueue {
    /// Takes a change in. `tick` is how long one takes, `now` how many have passed, `patience` for how many a momentary
    /// refusal is waited out.
    pub(super) fn push(&mut self, wanted: WantedChange, tick: Duration, now: u64, patience: u64) {
        if self.waiting.len() >= MAX_WAITING {
            let _ = wanted.reply.send(Err(ChangeError::Busy));
            return;
        }
        let ticks = wanted.deadline.as_nanos() / tick.as_nanos().max(1);
        let deadline_tick = now.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX).max(1));
        self.waiting.push(Waiting {
            wanted,
            proposed: None,
            patient_until: deadline_tick.min(now + patience),
            deadline_tick,
        });
    }

    /// Does for each what can be done now.
    pub(super) fn advance(&mut self, replica: &mut Replica, now: u64) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            match waiting.advance(replica, now) {
                Some(answer) => drop(waiting.wanted.reply.send(answer)),
                None if waiting.wanted.reply.is_closed() => {}
                None => self.waiting.push(waiting),
            }
        }
    }

    /// The disk failed, or the member stops.
    pub(super) fn give_up(&mut self, error: &ChangeError) {
        for waiting in self.waiting.drain(..) {
            let error = match waiting.proposed {
                Some(_) => ChangeError::OutcomeUnknown,
                None => error.clone(),
            };
            let _ = waiting.wanted.reply.send(Err(error));
        }
    }
}

impl Waiting {
    fn advance(&mut self, replica: &mut Replica, now: u64) -> Option<Result<Arc<MembersAt>, ChangeError>> {
        let answer = |replica: &Replica| Some(Ok(Arc::new(replica.members_at().clone())));
        if let Some(proposed) = self.proposed {
            return match replica.fate(proposed) {
                ChangeFate::Made => answer(replica),
                ChangeFate::Dropped => Some(Err(ChangeRefused::InProgress.into())),
                ChangeFate::Open if now < self.deadline_tick => None,
                ChangeFate::Open | ChangeFate::Unknown => Some(Err(ChangeError::OutcomeUnknown)),
            };
        }
        let WantedChange {
            change,
            caution,
            intent,
            ..
        } = &self.wanted;
        let outcome = match intent {
            Intent::Make => replica.propose_change(change, *caution),
            Intent::Check => replica.may_change(change, *caution).map(|()| None),
        };
        match outcome {
            Ok(None) => answer(replica),
            Ok(proposed) => {
                self.proposed = proposed;
                None
            }
            Err(ProposeChangeError::NotLeader) => {
                let leader = replica.leader();
                Some(Err(ChangeError::NotLeader { leader }))
            }
            Err(ProposeChangeError::Refused(refused)) if refused.is_momentary() && now < self.patient_until => None,
            Err(ProposeChangeError::Refused(refused)) => Some(Err(refused.into())),
        }
    }
}

impl<A: Send + 'static> RaftHandle<A> {
    /// Changes the members and returns what they are then, once this member, the leader, has applied it. A change that
    /// has been made already is answered the same.
    ///
    /// # Errors
    /// `OutcomeUnknown` and `Stopped` if the change may still be made, as after `deadline`; any other error says that it
    /// is not.
    pub async fn change_members(
        &self,
        change: MemberChange,
        caution: Caution,
        intent: Intent,
        deadline: Duration,
    ) -> Result<Arc<MembersAt>, ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Control::ChangeMembers(WantedChange {
            change,
            caution,
            intent,
            deadline,
            reply,
        }));
        answer.await.unwrap_or(Err(ChangeError::Stopped))
    }
}
