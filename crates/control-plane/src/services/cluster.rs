//! `ClusterService`: what the members say of themselves, snapshots on demand, a change of leader. Changes of the members are in
//! `members`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mutual_tls::Security;
use tenantry_proto::v1;
use tenantry_proto::v1::cluster_service_client::ClusterServiceClient;
use tenantry_proto::v1::cluster_service_server::ClusterService;
use tenantry_types::MemberId;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use super::control_plane::ControlPlane;
use super::deadline::Deadline;
use super::snapshots::SnapshotSaves;
use super::status;
use crate::raft::{Health, RaftStatus, Role};

/// How long another member may take to say how it is. It may be dead, which is just what is asked.
const MEMBER_DEADLINE: Duration = Duration::from_millis(1_500);

/// The service.
#[derive(Clone)]
pub struct Cluster {
    pub(super) control_plane: Arc<ControlPlane>,
    /// Says which cluster it is to members that join.
    pub(super) fingerprint: u64,
    security: Security,
    snapshots: SnapshotSaves,
}

impl Cluster {
    /// `fingerprint` is the cluster's.
    #[must_use]
    pub fn new(
        control_plane: Arc<ControlPlane>,
        fingerprint: u64,
        security: Security,
        snapshots: SnapshotSaves,
    ) -> Self {
        Self {
            control_plane,
            fingerprint,
            security,
            snapshots,
        }
    }

    fn this_member(&self, status: &RaftStatus) -> v1::MemberStatus {
        v1::MemberStatus {
            member_id: status.member.get(),
            address: status
                .members
                .members
                .addresses
                .get(&status.member)
                .cloned()
                .unwrap_or_default(),
            role: role(status).into(),
            term: status.term,
            commit_index: status.commit.get(),
            applied_index: status.applied.get(),
            first_log_index: status.first_index,
            last_log_index: status.last_index,
            snapshot_index: status.snapshot_index,
            state_digest: status.digest,
            storage_error: storage_error(&status.health),
        }
    }

    /// What another member says of itself, or only its id and address when it does not answer in time.
    async fn other_member(&self, member: MemberId, address: &str) -> v1::MemberStatus {
        let ask = async {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
            let role = mutual_tls::Role::ControlPlane;
            let channel = self.security.connected_channel(&endpoint, role, MEMBER_DEADLINE);
            let mut client = ClusterServiceClient::new(channel.await.ok()?);
            let request = v1::GetClusterStatusRequest { local_only: true };
            client
                .get_cluster_status(request)
                .await
                .ok()?
                .into_inner()
                .members
                .into_iter()
                .next()
        };
        let answer = tokio::time::timeout(MEMBER_DEADLINE, ask).await.ok().flatten();
        answer.unwrap_or_else(|| v1::MemberStatus {
            member_id: member.get(),
            address: address.to_owned(),
            ..v1::MemberStatus::default()
        })
    }
}

/// What is wrong with a member; empty when nothing is.
fn storage_error(health: &Health) -> String {
    match health {
        Health::Running | Health::Stopped => String::new(),
        Health::StorageFailed { reason } | Health::Fatal { reason } => reason.clone(),
    }
}

fn role(status: &RaftStatus) -> v1::MemberRole {
    match status.role {
        Role::Leader => v1::MemberRole::Leader,
        Role::Follower if !status.members.members.voters.contains(&status.member) => v1::MemberRole::Learner,
        Role::Follower => v1::MemberRole::Follower,
        Role::PreCandidate | Role::Candidate => v1::MemberRole::Candidate,
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        let log = self.control_plane.log.status().borrow().clone();
        let published = self.control_plane.published.current();
        let mut members = vec![self.this_member(&log)];
        if !request.into_inner().local_only {
            let addresses = &log.members.members.addresses;
            let others = addresses.iter().filter(|(member, _)| **member != log.member);
            members.extend(join_all(others.map(|(member, address)| self.other_member(*member, address))).await);
            members.sort_by_key(|member| member.member_id);
        }
        Ok(Response::new(v1::GetClusterStatusResponse {
            cluster_uid: published
                .state
                .cluster()
                .map(|cluster| cluster.uid.to_string())
                .unwrap_or_default(),
            leader_id: log.leader.map_or(0, MemberId::get),
            members,
            answered_by: log.member.get(),
            tenants: published.state.active_tenants(),
            nodes: published.state.node_count() as u64,
            cluster_epoch: published.state.cluster().map_or(0, |cluster| cluster.epoch.get()),
        }))
    }

    async fn take_snapshot(
        &self,
        _request: Request<v1::TakeSnapshotRequest>,
    ) -> Result<Response<v1::TakeSnapshotResponse>, Status> {
        let index = self
            .control_plane
            .log
            .take_snapshot()
            .await
            .map_err(|error| status::control_failed(&error))?;
        Ok(Response::new(v1::TakeSnapshotResponse { index: index.get() }))
    }

    type SaveSnapshotStream = ReceiverStream<Result<v1::SaveSnapshotResponse, Status>>;

    async fn save_snapshot(
        &self,
        request: Request<v1::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        self.snapshots.save(Deadline::of(&request)).await.map(Response::new)
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let member = MemberId::new(request.into_inner().member_id)
            .map_err(|error| status::invalid_field("member_id", error.to_string()))?;
        let known = self
            .control_plane
            .log
            .status()
            .borrow()
            .members
            .members
            .contains(member);
        if !known {
            return Err(status::not_found("Member", &member.to_string()));
        }
        self.control_plane
            .log
            .transfer_leadership(member)
            .await
            .map_err(|error| status::control_failed(&error))?;
        Ok(Response::new(v1::TransferLeadershipResponse {
            leader_id: member.get(),
        }))
    }

    async fn list_members(
        &self,
        _request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        self.list().await.map(Response::new)
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        self.add(request.into_inner()).await.map(Response::new)
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        self.promote(request.into_inner()).await.map(Response::new)
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        self.remove(request.into_inner()).await.map(Response::new)
    }

    async fn replace_member(
        &self,
        request: Request<v1::ReplaceMemberRequest>,
    ) -> Result<Response<v1::ReplaceMemberResponse>, Status> {
        self.replace(request.into_inner()).await.map(Response::new)
    }
}
