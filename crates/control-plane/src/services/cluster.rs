//! `ClusterService`: what the members say of themselves, snapshots on demand, and a change of leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
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
const MEMBER_DEADLINE: Duration = Duration::from_millis(800);

/// The service.
#[derive(Clone)]
pub struct Cluster {
    control_plane: Arc<ControlPlane>,
    addresses: Arc<BTreeMap<MemberId, String>>,
    snapshots: SnapshotSaves,
}

impl Cluster {
    /// `addresses` are all members', `host:port`.
    #[must_use]
    pub fn new(
        control_plane: Arc<ControlPlane>,
        addresses: BTreeMap<MemberId, String>,
        snapshots: SnapshotSaves,
    ) -> Self {
        Self {
            control_plane,
            addresses: Arc::new(addresses),
            snapshots,
        }
    }

    fn this_member(&self, status: &RaftStatus) -> v1::MemberStatus {
        v1::MemberStatus {
            member_id: status.member.get(),
            address: self.addresses.get(&status.member).cloned().unwrap_or_default(),
            role: role(status.role).into(),
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
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .ok()?
                .connect_timeout(MEMBER_DEADLINE);
            let mut client = ClusterServiceClient::new(endpoint.connect().await.ok()?);
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

const fn role(role: Role) -> v1::MemberRole {
    match role {
        Role::Leader => v1::MemberRole::Leader,
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
            let others = self.addresses.iter().filter(|(member, _)| **member != log.member);
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
        if !self.addresses.contains_key(&member) {
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
}
