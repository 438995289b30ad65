//! Which changes of the members are let through, what they look like in the log, and what the members are after one.
//!
//! Pure: the leader's knowledge is passed in, and nothing is kept. raft-rs itself refuses next to nothing: it would
//! remove half the cluster, or give a vote to a member with an empty log.

use prost::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};
use tenantry_proto::internal::v1::{MemberRecord, MembershipContext};
use tenantry_types::MemberId;

use super::bootstrap::check_address;
use crate::storage::{LogId, Members};

/// A learner is promoted only when it lacks at most so many entries: a voter that is far behind would hold up commits
/// as soon as another one fails.
const MAX_PROMOTION_LAG: u64 = 1000;
const CONTEXT_VERSION: u32 = 1;

/// A change of who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member begins to follow, without a vote.
    AddLearner {
        /// Its id, never used before.
        member: MemberId,
        /// Where it takes gRPC, `host:port`.
        address: String,
        /// Its log, as it says itself. Messages of that id with another log are refused ever after.
        log: LogId,
    },
    /// A learner that has caught up is given a vote.
    Promote {
        /// Which.
        member: MemberId,
    },
    /// A member leaves, for ever.
    Remove {
        /// Which. Not the leader: it hands over first.
        member: MemberId,
    },
    /// A learner that has caught up takes a voter's place, in one step.
    Replace {
        /// The voter that leaves. Not the leader.
        old: MemberId,
        /// The learner that gets the vote.
        new: MemberId,
    },
    /// A member has moved.
    SetAddress {
        /// Which.
        member: MemberId,
        /// Where it takes gRPC now.
        address: String,
    },
}

/// Whether a change may leave fewer live voters than a majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caution {
    /// It may not.
    Careful,
    /// It may: the operator knows better.
    Forced,
}

/// What the leader knows of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemberProgress {
    /// The last index that it is known to hold.
    pub matched: u64,
    /// Whether it was heard of within an election timeout.
    pub active: bool,
}

/// What the leader knows when it is asked for a change.
pub(super) struct LeaderView<'a, P> {
    /// The leader.
    pub(super) leader: MemberId,
    /// The end of its log.
    pub(super) last_index: u64,
    /// Whether an earlier change is in the log and not yet applied.
    pub(super) change_pending: bool,
    /// The members at the last applied change.
    pub(super) members: &'a Members,
    /// What is known of a member; `None` for nothing.
    pub(super) progress: P,
}

/// Why a change was not let through. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Changes are made one at a time.
    #[error("another change of the members is under way")]
    InProgress,
    /// The id belonged to a member that was removed.
    #[error("member {member} was removed; its id is never used again: choose a new one")]
    IdUsed {
        /// The id.
        member: MemberId,
    },
    /// The id belongs to a member with another address or another log.
    #[error("there is a member {member} already, at {address}")]
    IdTaken {
        /// The id.
        member: MemberId,
        /// Where it is.
        address: String,
    },
    /// Another member has the address.
    #[error("member {holder} has the address {address}")]
    AddressTaken {
        /// Whose it is.
        holder: MemberId,
        /// The address.
        address: String,
    },
    /// No other machine can connect to the address.
    #[error("the address {address} cannot be used: {reason}")]
    InvalidAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such member.
    #[error("there is no member {member}")]
    Unknown {
        /// The id.
        member: MemberId,
    },
    /// It has a vote already, and another change is meant.
    #[error("member {member} is not a learner")]
    NotLearner {
        /// Which.
        member: MemberId,
    },
    /// Only a voter can be replaced.
    #[error("member {member} has no vote")]
    NotVoter {
        /// Which.
        member: MemberId,
    },
    /// The learner lacks too much of the log.
    #[error(
        "member {member} holds the log up to {matched} of {last}: it can have a vote when it lacks at most \
         {MAX_PROMOTION_LAG} entries"
    )]
    NotCaughtUp {
        /// Which.
        member: MemberId,
        /// The last index that it holds.
        matched: u64,
        /// The end of the leader's log.
        last: u64,
    },
    /// The learner was not heard of within an election timeout.
    #[error("member {member} does not answer")]
    NotActive {
        /// Which.
        member: MemberId,
    },
    /// A leader is not removed; it hands over first.
    #[error("member {member} leads: it must hand over before it can leave")]
    Leads {
        /// The leader.
        member: MemberId,
    },
    /// Nobody would be left.
    #[error("member {member} is the last voter")]
    LastVoter {
        /// Which.
        member: MemberId,
    },
    /// Too few of the remaining voters are alive to commit anything.
    #[error("{live} of {voters} voters would be alive, fewer than the majority of {needed}")]
    WouldLoseMajority {
        /// Live voters after the change.
        live: usize,
        /// Voters after the change.
        voters: usize,
        /// Their majority.
        needed: usize,
    },
}

impl ChangeRefused {
    /// Whether the same change may be let through a moment later, without anybody doing anything.
    #[must_use]
    pub fn is_momentary(&self) -> bool {
        matches!(
            self,
            Self::InProgress | Self::NotCaughtUp { .. } | Self::NotActive { .. } | Self::WouldLoseMajority { .. }
        )
    }
}

/// What the log holds of a change is not for this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the membership change is of a version that is not known here")]
pub(super) struct UnknownChange;

/// The entry that makes the change; `None` when everything is so already, as after a retry.
///
/// # Errors
/// When the change must not be made, or not now.
pub(super) fn propose<P>(
    view: &LeaderView<'_, P>,
    change: &MemberChange,
    caution: Caution,
) -> Result<Option<ConfChangeV2>, ChangeRefused>
where
    P: Fn(MemberId) -> Option<MemberProgress>,
{
    if view.is_done(change) {
        return Ok(None);
    }
    if view.change_pending || !view.members.voters_outgoing.is_empty() {
        return Err(ChangeRefused::InProgress);
    }
    let (steps, record) = match change {
        MemberChange::AddLearner { member, address, log } => {
            view.check_new(*member)?;
            view.check_address(*member, address)?;
            let record = record(*member, address, Some(*log));
            (vec![(ConfChangeType::AddLearnerNode, *member)], Some(record))
        }
        MemberChange::Promote { member } => {
            view.check_caught_up(*member)?;
            (vec![(ConfChangeType::AddNode, *member)], None)
        }
        MemberChange::Remove { member } => {
            view.check_removal(*member, None, caution)?;
            (vec![(ConfChangeType::RemoveNode, *member)], None)
        }
        MemberChange::Replace { old, new } => {
            if !view.members.voters.contains(old) {
                view.check_known(*old)?;
                return Err(ChangeRefused::NotVoter { member: *old });
            }
            view.check_caught_up(*new)?;
            view.check_removal(*old, Some(*new), caution)?;
            let steps = vec![(ConfChangeType::AddNode, *new), (ConfChangeType::RemoveNode, *old)];
            (steps, None)
        }
        MemberChange::SetAddress { member, address } => {
            view.check_known(*member)?;
            view.check_address(*member, address)?;
            // Raft is asked for what is so already.
            let kind = if view.members.voters.contains(member) {
                ConfChangeType::AddNode
            } else {
                ConfChangeType::AddLearnerNode
            };
            let log = view.members.logs.get(member).copied();
            (vec![(kind, *member)], Some(record(*member, address, log)))
        }
    };
    Ok(Some(conf_change(&steps, record)))
}

/// The members once raft-rs has applied `change` and answered with `state`. The same on every member.
///
/// # Errors
/// When the change was written by a newer version.
pub(super) fn after(before: &Members, change: &ConfChangeV2, state: &ConfState) -> Result<Members, UnknownChange> {
    let ids = |ids: &[u64]| ids.iter().filter_map(|id| MemberId::new(*id).ok()).collect();
    let mut now = Members {
        voters: ids(&state.voters),
        learners: ids(&state.learners),
        voters_outgoing: ids(&state.voters_outgoing),
        learners_next: ids(&state.learners_next),
        auto_leave: state.auto_leave,
        addresses: before.addresses.clone(),
        logs: before.logs.clone(),
        removed: before.removed.clone(),
    };
    // The second half of a replacement comes from raft-rs itself and carries nothing.
    if !change.context.is_empty() {
        let context = MembershipContext::decode(&change.context[..]).map_err(|_| UnknownChange)?;
        if context.version != CONTEXT_VERSION {
            return Err(UnknownChange);
        }
        if let Some(record) = context.record {
            let member = MemberId::new(record.member_id).map_err(|_| UnknownChange)?;
            if let Some(log) = LogId::new(record.log_id) {
                now.logs.insert(member, log);
            }
            now.addresses.insert(member, record.address);
        }
    }
    let gone: Vec<_> = before.all().filter(|member| !now.contains(*member)).collect();
    now.removed.extend(gone);
    let present: std::collections::BTreeSet<_> = now.all().collect();
    now.addresses.retain(|member, _| present.contains(member));
    now.logs.retain(|member, _| present.contains(member));
    Ok(now)
}

fn record(member: MemberId, address: &str, log: Option<LogId>) -> MemberRecord {
    MemberRecord {
        member_id: member.get(),
        address: address.to_owned(),
        log_id: log.map_or(0, LogId::get),
    }
}

fn conf_change(steps: &[(ConfChangeType, MemberId)], record: Option<MemberRecord>) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    // One step is a simple change; more go through both majorities, and raft-rs finishes them by itself.
    change.set_transition(match steps {
        [_] => ConfChangeTransition::Auto,
        _ => ConfChangeTransition::Implicit,
    });
    let steps: Vec<_> = steps
        .iter()
        .map(|(kind, member)| {
            let mut step = ConfChangeSingle::default();
            step.set_change_type(*kind);
            step.node_id = member.get();
            step
        })
        .collect();
    change.set_changes(steps.into());
    let version = CONTEXT_VERSION;
    change.context = MembershipContext { version, record }.encode_to_vec().into();
    change
}

impl<P: Fn(MemberId) -> Option<MemberProgress>> LeaderView<'_, P> {
    fn is_done(&self, change: &MemberChange) -> bool {
        let members = self.members;
        let at = |member, address: &str| members.addresses.get(member).is_some_and(|known| known == address);
        match change {
            MemberChange::AddLearner { member, address, log } => {
                members.contains(*member) && at(member, address) && members.logs.get(member) == Some(log)
            }
            MemberChange::Promote { member } => members.voters.contains(member),
            MemberChange::Remove { member } => members.removed.contains(member),
            MemberChange::Replace { old, new } => members.removed.contains(old) && members.voters.contains(new),
            MemberChange::SetAddress { member, address } => members.contains(*member) && at(member, address),
        }
    }

    fn check_known(&self, member: MemberId) -> Result<(), ChangeRefused> {
        if self.members.removed.contains(&member) {
            Err(ChangeRefused::IdUsed { member })
        } else if self.members.contains(member) {
            Ok(())
        } else {
            Err(ChangeRefused::Unknown { member })
        }
    }

    fn check_new(&self, member: MemberId) -> Result<(), ChangeRefused> {
        if self.members.removed.contains(&member) {
            return Err(ChangeRefused::IdUsed { member });
        }
        if self.members.contains(member) {
            let address = self.members.addresses.get(&member).cloned().unwrap_or_default();
            return Err(ChangeRefused::IdTaken { member, address });
        }
        Ok(())
    }

    fn check_address(&self, member: MemberId, address: &str) -> Result<(), ChangeRefused> {
        if let Err(reason) = check_address(address) {
            return Err(ChangeRefused::InvalidAddress {
                address: address.to_owned(),
                reason: reason.to_owned(),
            });
        }
        let holder = self
            .members
            .addresses
            .iter()
            .find(|(holder, known)| **holder != member && known.eq_ignore_ascii_case(address));
        match holder {
            None => Ok(()),
            Some((holder, address)) => Err(ChangeRefused::AddressTaken {
                holder: *holder,
                address: address.clone(),
            }),
        }
    }

    fn check_caught_up(&self, member: MemberId) -> Result<(), ChangeRefused> {
        self.check_known(member)?;
        if !self.members.learners.contains(&member) {
            return Err(ChangeRefused::NotLearner { member });
        }
        let MemberProgress { matched, active } = (self.progress)(member).unwrap_or_default();
        if !active {
            return Err(ChangeRefused::NotActive { member });
        }
        let last = self.last_index;
        if last.saturating_sub(matched) > MAX_PROMOTION_LAG || matched == 0 {
            return Err(ChangeRefused::NotCaughtUp { member, matched, last });
        }
        Ok(())
    }

    fn check_removal(
        &self,
        member: MemberId,
        successor: Option<MemberId>,
        caution: Caution,
    ) -> Result<(), ChangeRefused> {
        self.check_known(member)?;
        if member == self.leader {
            return Err(ChangeRefused::Leads { member });
        }
        if !self.members.voters.contains(&member) {
            return Ok(());
        }
        let mut voters = self.members.voters.clone();
        voters.remove(&member);
        voters.extend(successor);
        if voters.is_empty() {
            return Err(ChangeRefused::LastVoter { member });
        }
        let needed = voters.len() / 2 + 1;
        let live = voters.iter().filter(|voter| self.is_live(**voter)).count();
        if live < needed && caution == Caution::Careful {
            let voters = voters.len();
            return Err(ChangeRefused::WouldLoseMajority { live, voters, needed });
        }
        Ok(())
    }

    fn is_live(&self, member: MemberId) -> bool {
        member == self.leader || (self.progress)(member).is_some_and(|progress| progress.active)
    }
}
