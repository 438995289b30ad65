//! Operators' orders that take a while: a change of leader, and a snapshot.

use tenantry_types::{MemberId, Revision};
use tokio::sync::oneshot;

use super::Role;
use super::handle::ControlError;
use super::replica::Replica;

type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// Changes of leader that were asked for.
#[derive(Debug, Default)]
pub(super) struct Transfers(Vec<Transfer>);

#[derive(Debug)]
struct Transfer {
    to: MemberId,
    deadline_tick: u64,
    reply: Reply<()>,
}

impl Transfers {
    pub(super) fn begin(&mut self, replica: &mut Replica, to: MemberId, deadline_tick: u64, reply: Reply<()>) {
        if replica.role() != Role::Leader {
            let leader = replica.leader();
            let _ = reply.send(Err(ControlError::NotLeader { leader }));
        } else if !replica.members().voters.contains(&to) {
            let _ = reply.send(Err(ControlError::NotVoter { member: to }));
        } else {
            replica.transfer_leadership(to);
            self.0.push(Transfer {
                to,
                deadline_tick,
                reply,
            });
        }
    }

    /// Answers those that came true, and those that did not in time.
    pub(super) fn finish(&mut self, leader: Option<MemberId>, tick: u64) {
        for transfer in std::mem::take(&mut self.0) {
            if leader == Some(transfer.to) {
                let _ = transfer.reply.send(Ok(()));
            } else if tick >= transfer.deadline_tick {
                let _ = transfer.reply.send(Err(ControlError::TimedOut));
            } else {
                self.0.push(transfer);
            }
        }
    }
}

/// Callers that wait for a snapshot of at least some index.
#[derive(Debug, Default)]
pub(super) struct SnapshotWaiters(Vec<(u64, Reply<Revision>)>);

impl SnapshotWaiters {
    pub(super) fn push(&mut self, index: u64, reply: Reply<Revision>) {
        self.0.push((index, reply));
    }

    /// `newest` is the newest snapshot; with a `refusal`, whoever it does not satisfy is turned away.
    pub(super) fn answer(&mut self, newest: u64, refusal: Option<&str>) {
        for (wanted, reply) in std::mem::take(&mut self.0) {
            if newest >= wanted {
                let _ = reply.send(Ok(Revision(newest)));
            } else if let Some(reason) = refusal {
                let reason = reason.to_owned();
                let _ = reply.send(Err(ControlError::Unavailable { reason }));
            } else {
                self.0.push((wanted, reply));
            }
        }
    }
}
