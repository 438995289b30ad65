//! The part of `ClusterService` that changes who the members are. Runs on the leader.
//!
//! What is sound is decided in `raft`; here the leader asks a new member who it is, steps aside when it is to leave itself,
//! and says what became of it all.

use std::time::Duration;

use tenantry_proto::v1;
use tenantry_types::MemberId;
use tonic::{Code, Status};

use super::cluster::Cluster;
use super::status;
use crate::raft::{Caution, ChangeError, ChangeRefused, Intent, IntroductionFailed, MemberChange};
use crate::storage::{Expulsion, Members};

/// How long a change may take to be applied. Shorter than a client waits for one answer.
const DEADLINE: Duration = Duration::from_millis(2_500);

impl Cluster {
    pub(super) async fn list(&self) -> Result<v1::ListMembersResponse, Status> {
        let log = self.control_plane.log.status().borrow().clone();
        let members = &log.members.members;
        let progress = self.control_plane.log.progress().await;
        let progress = progress.map_err(|error| status::control_failed(&error))?;
        let all = members.addresses.keys().map(|member| {
            let progress = progress.get(member).copied().unwrap_or_default();
            v1::Member {
                matched_index: progress.matched,
                active: progress.active,
                ..member_of(members, *member)
            }
        });
        Ok(v1::ListMembersResponse {
            members: all.collect(),
            leader_id: log.leader.map_or(0, MemberId::get),
            removed_ids: members.removed.iter().map(|member| member.get()).collect(),
            join_token: format!("{:016x}", self.fingerprint),
        })
    }

    pub(super) async fn add(&self, request: v1::AddMemberRequest) -> Result<v1::AddMemberResponse, Status> {
        let member = member_id("member_id", request.member_id)?;
        let address = request.address;
        let current = self.members();
        if current.removed.contains(&member) {
            return Err(refused(&ChangeRefused::IdUsed { member }));
        }
        let log = self.control_plane.log.introduce(member, &address).await;
        let log = log.map_err(|error| self.not_introduced(member, &address, &error))?;
        let known = current.logs.get(&member);
        if known.is_some_and(|known| *known != log) {
            let message = format!("member {member}: {}", Expulsion::DiskLost);
            return Err(status::with_reason(
                Code::FailedPrecondition,
                message,
                "MEMBER_DISK_LOST",
                [],
            ));
        }
        let change = if current.contains(member) {
            MemberChange::SetAddress { member, address }
        } else {
            MemberChange::AddLearner { member, address, log }
        };
        let member = self
            .change(change, Caution::Careful, request.validate_only, member)
            .await?;
        Ok(v1::AddMemberResponse { member })
    }

    pub(super) async fn promote(&self, request: v1::PromoteMemberRequest) -> Result<v1::PromoteMemberResponse, Status> {
        let member = member_id("member_id", request.member_id)?;
        let change = MemberChange::Promote { member };
        let member = self
            .change(change, Caution::Careful, request.validate_only, member)
            .await?;
        Ok(v1::PromoteMemberResponse { member })
    }

    pub(super) async fn remove(&self, request: v1::RemoveMemberRequest) -> Result<v1::RemoveMemberResponse, Status> {
        let member = member_id("member_id", request.member_id)?;
        self.step_aside(member, request.validate_only).await?;
        let change = MemberChange::Remove { member };
        self.change(change, caution(request.force), request.validate_only, member)
            .await?;
        Ok(v1::RemoveMemberResponse {})
    }

    pub(super) async fn replace(&self, request: v1::ReplaceMemberRequest) -> Result<v1::ReplaceMemberResponse, Status> {
        let old = member_id("old_member_id", request.old_member_id)?;
        let new = member_id("new_member_id", request.new_member_id)?;
        self.step_aside(old, request.validate_only).await?;
        let change = MemberChange::Replace { old, new };
        let member = self
            .change(change, caution(request.force), request.validate_only, new)
            .await?;
        Ok(v1::ReplaceMemberResponse { member })
    }

    fn members(&self) -> Members {
        self.control_plane.log.status().borrow().members.members.clone()
    }

    /// Makes a change and answers with `shown` as it is then; `None` if it was only to be checked.
    async fn change(
        &self,
        change: MemberChange,
        caution: Caution,
        validate_only: bool,
        shown: MemberId,
    ) -> Result<Option<v1::Member>, Status> {
        let intent = if validate_only { Intent::Check } else { Intent::Make };
        let log = &self.control_plane.log;
        let now = match log.change_members(change, caution, intent, DEADLINE).await {
            Ok(now) => now,
            // It would hand over first.
            Err(ChangeError::Refused(ChangeRefused::Leads { .. })) if validate_only => return Ok(None),
            Err(error) => return Err(change_failed(&error)),
        };
        let present = !validate_only && now.members.contains(shown);
        Ok(present.then(|| member_of(&now.members, shown)))
    }

    /// A leader that is to leave hands over first; the caller is sent to the next one. A caller who only asks is not.
    async fn step_aside(&self, leaving: MemberId, validate_only: bool) -> Result<(), Status> {
        let log = &self.control_plane.log;
        let members = self.members();
        if leaving != log.status().borrow().member || !members.voters.contains(&leaving) {
            return Ok(());
        }
        let progress = log.progress().await.map_err(|error| status::control_failed(&error))?;
        let live = |voter: &&MemberId| progress.get(voter).is_some_and(|progress| progress.active);
        let others = members.voters.iter().filter(|voter| **voter != leaving).filter(live);
        let successor = others.max_by_key(|voter| progress.get(voter).map(|progress| progress.matched));
        let Some(successor) = successor else {
            return Err(refused(&ChangeRefused::LastVoter { member: leaving }));
        };
        if validate_only {
            return Ok(());
        }
        let handed_over = log.transfer_leadership(*successor).await;
        handed_over.map_err(|error| status::control_failed(&error))?;
        let address = members.addresses.get(successor).map(String::as_str);
        Err(status::not_leader(*successor, address))
    }

    fn not_introduced(&self, member: MemberId, address: &str, error: &IntroductionFailed) -> Status {
        let message = format!(
            "{error}. Start the new member first, and let it wait: control-plane --member-id {member} --join {:016x} \
             --listen {address} --data-dir FOLDER, with an empty folder",
            self.fingerprint
        );
        status::with_reason(Code::FailedPrecondition, message, "MEMBER_NOT_INTRODUCED", [])
    }
}

fn member_id(field: &'static str, id: u64) -> Result<MemberId, Status> {
    MemberId::new(id).map_err(|error| status::invalid_field(field, error.to_string()))
}

const fn caution(force: bool) -> Caution {
    if force { Caution::Forced } else { Caution::Careful }
}

/// What the log says of a member.
fn member_of(members: &Members, member: MemberId) -> v1::Member {
    let kind = if members.voters.contains(&member) || members.voters_outgoing.contains(&member) {
        v1::MemberKind::Voter
    } else {
        v1::MemberKind::Learner
    };
    v1::Member {
        member_id: member.get(),
        address: members.addresses.get(&member).cloned().unwrap_or_default(),
        kind: kind.into(),
        ..v1::Member::default()
    }
}

fn change_failed(error: &ChangeError) -> Status {
    match error {
        ChangeError::NotLeader { leader: Some(leader) } => status::not_leader(*leader, None),
        ChangeError::NotLeader { leader: None } => status::no_leader(),
        ChangeError::Refused(reason) => refused(reason),
        ChangeError::OutcomeUnknown => {
            let message = "the change may or may not have been made; asking for it again is safe";
            status::with_reason(Code::Unavailable, message, "OUTCOME_UNKNOWN", [])
        }
        ChangeError::Busy | ChangeError::Unavailable | ChangeError::Stopped => {
            status::with_reason(Code::Unavailable, error.to_string(), "UNAVAILABLE", [])
        }
    }
}

fn refused(refused: &ChangeRefused) -> Status {
    let (code, reason) = match refused {
        ChangeRefused::InProgress => (Code::Aborted, "CHANGE_IN_PROGRESS"),
        ChangeRefused::IdUsed { .. } => (Code::FailedPrecondition, "MEMBER_ID_USED"),
        ChangeRefused::IdTaken { .. } => (Code::AlreadyExists, "MEMBER_EXISTS"),
        ChangeRefused::AddressTaken { .. } => (Code::AlreadyExists, "ADDRESS_TAKEN"),
        ChangeRefused::InvalidAddress { .. } => (Code::InvalidArgument, "INVALID_ADDRESS"),
        ChangeRefused::Unknown { .. } => (Code::NotFound, "MEMBER_NOT_FOUND"),
        ChangeRefused::NotLearner { .. } => (Code::FailedPrecondition, "NOT_A_LEARNER"),
        ChangeRefused::NotVoter { .. } => (Code::FailedPrecondition, "NOT_A_VOTER"),
        ChangeRefused::NotCaughtUp { .. } => (Code::FailedPrecondition, "NOT_CAUGHT_UP"),
        ChangeRefused::NotActive { .. } => (Code::FailedPrecondition, "MEMBER_SILENT"),
        ChangeRefused::Leads { .. } => (Code::FailedPrecondition, "MEMBER_LEADS"),
        ChangeRefused::LastVoter { .. } => (Code::FailedPrecondition, "LAST_VOTER"),
        ChangeRefused::WouldLoseMajority { .. } => (Code::FailedPrecondition, "WOULD_LOSE_MAJORITY"),
    };
    status::with_reason(code, refused.to_string(), reason, [])
}
