//! `PlacementService`: nodes' registration and heartbeats, the routing watch, and answers to "where?" and "why?".

use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt as _};
use prost::Message as _;
use tenantry_proto::convert::{self, NodeView, Within as _, names};
use tenantry_proto::v1;
use tenantry_proto::v1::placement_service_server::PlacementService;
use tenantry_state::{Answer, Command};
use tenantry_types::{Incarnation, Node, NodeId, NodeLoad, NodeSpec, Revision, Scheduling, TenantUsage, Tier};
use tonic::{Code, Request, Response, Status};

use super::control_plane::ControlPlane;
use super::deadline::Deadline;
use super::routing_watch::RoutingWatch;
use super::{admin, page, placing, status};
use crate::machine::Published;

/// Tenants in one heartbeat; more are refused.
const MOST_USAGE: usize = 1_000;

/// The service.
#[derive(Clone)]
pub struct Placement {
    control_plane: Arc<ControlPlane>,
    watch: RoutingWatch,
}

impl Placement {
    /// Works on the given control plane; its watchers are fed by `watch`.
    #[must_use]
    pub const fn new(control_plane: Arc<ControlPlane>, watch: RoutingWatch) -> Self {
        Self { control_plane, watch }
    }

    fn heartbeat_interval_ms(&self) -> u64 {
        u64::try_from(self.control_plane.patience.heartbeat_interval.as_millis()).unwrap_or(u64::MAX)
    }

    fn node_message(&self, published: &Published, node: &Node) -> v1::Node {
        let view = NodeView {
            availability: self.control_plane.availability(&node.id),
            load: self
                .control_plane
                .observations(|observations| observations.load(&node.id)),
            placed_tenants: published
                .state
                .tenants_on(&node.id)
                .map_or(0, tenantry_state::NodeTenants::count),
        };
        convert::node_view_to_proto(node, &view)
    }

    async fn set_scheduling(
        &self,
        deadline: Deadline,
        method: &'static str,
        name: &str,
        request_id: &str,
        scheduling: Scheduling,
    ) -> Result<v1::Node, Status> {
        let id = names::parse_node("name", name).map_err(status::invalid)?;
        let request = ControlPlane::request(method, request_id, &v1::GetNodeRequest { name: name.to_owned() })?;
        match self
            .control_plane
            .propose_by(deadline.at(), request, Command::SetNodeScheduling { id, scheduling })
            .await?
        {
            Answer::Node(node) => Ok(self.node_message(&self.control_plane.published.current(), &node)),
            other => Err(status::internal(format!("a node was expected, not {other:?}"))),
        }
    }
}

fn node_id(text: &str) -> Result<NodeId, Status> {
    NodeId::new(text).map_err(|error| status::invalid_field("node_id", error.to_string()))
}

#[tonic::async_trait]
impl PlacementService for Placement {
    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Result<Response<v1::RegisterNodeResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let id = node_id(&request.node_id)?;
        let spec = request
            .spec
            .ok_or_else(|| status::invalid_field("spec", "must be given"))?;
        let spec = NodeSpec::try_from(spec).within("spec").map_err(status::invalid)?;
        let published = self.control_plane.read(deadline).await?;
        let cluster = published.state.cluster().ok_or_else(status::no_leader)?.uid.to_string();
        if !request.cluster_uid.is_empty() && request.cluster_uid != cluster {
            let message = format!(
                "the node belongs to cluster {}, this is cluster {cluster}",
                request.cluster_uid
            );
            let metadata = [("cluster_uid", cluster)];
            return Err(status::with_reason(
                Code::FailedPrecondition,
                message,
                "OTHER_CLUSTER",
                metadata,
            ));
        }
        let register = Command::RegisterNode {
            id,
            incarnation: Incarnation(request.incarnation),
            spec,
            record_since: (request.record_since > 0).then_some(Incarnation(request.record_since)),
        };
        self.control_plane.propose_by(deadline.at(), None, register).await?;
        let heartbeat_interval_ms = self.heartbeat_interval_ms();
        Ok(Response::new(v1::RegisterNodeResponse {
            cluster_uid: cluster,
            heartbeat_interval_ms,
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let id = node_id(&request.node_id)?;
        let incarnation = Incarnation(request.incarnation);
        if request.usage.len() > MOST_USAGE {
            return Err(status::invalid_field(
                "usage",
                format!("must hold at most {MOST_USAGE} tenants"),
            ));
        }
        let heartbeat_interval_ms = self.heartbeat_interval_ms();
        let published = self.control_plane.published.current();
        if published
            .state
            .node(&id)
            .is_none_or(|node| node.incarnation != incarnation)
        {
            return Ok(Response::new(v1::HeartbeatResponse {
                heartbeat_interval_ms,
                register_again: true,
            }));
        }
        let load = request.load.map(NodeLoad::from).unwrap_or_default();
        let mut usage = Vec::with_capacity(request.usage.len());
        for (index, message) in request.usage.into_iter().enumerate() {
            let parsed = TenantUsage::try_from(message).within(&format!("usage[{index}]"));
            usage.push(parsed.map_err(status::invalid)?);
        }
        let now = self.control_plane.uptime();
        self.control_plane
            .observations(|observations| observations.hear(&id, incarnation, now, load, usage));
        Ok(Response::new(v1::HeartbeatResponse {
            heartbeat_interval_ms,
            register_again: false,
        }))
    }

    type WatchStream = BoxStream<'static, Result<v1::PlacementServiceWatchResponse, Status>>;

    /// What `RoutingWatchService` answers in encoded form, for callers that are not behind it.
    async fn watch(
        &self,
        request: Request<v1::PlacementServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let messages = self.watch.open(&request.into_inner())?.map(|message| {
            v1::PlacementServiceWatchResponse::decode(message?).map_err(|error| status::internal(error.to_string()))
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn resolve_tenant(
        &self,
        request: Request<v1::ResolveTenantRequest>,
    ) -> Result<Response<v1::ResolveTenantResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = names::parse_tenant_ref("name", &request.name).map_err(status::invalid)?;
        let published = self
            .control_plane
            .read_with(request.read, Revision::ZERO, deadline)
            .await?;
        let tenant = admin::find(&published.state, &name)?;
        let placement = tenant.placement.as_ref();
        let node = placement.and_then(|placement| published.state.node(&placement.node));
        Ok(Response::new(v1::ResolveTenantResponse {
            tenant_uid: tenant.uid.to_string(),
            placement: placement.map(Into::into),
            data_address: node.map(|node| node.spec.endpoints.data.clone()).unwrap_or_default(),
            revision: published.revision.get(),
        }))
    }

    async fn explain_placement(
        &self,
        request: Request<v1::ExplainPlacementRequest>,
    ) -> Result<Response<v1::ExplainPlacementResponse>, Status> {
        let deadline = Deadline::of(&request);
        let tier = convert::tier_from_wire("tier", request.into_inner().tier).map_err(status::invalid)?;
        self.control_plane.read(deadline).await?;
        let placing = placing::choose(&self.control_plane, tier.unwrap_or(Tier::Small));
        let decision = &placing.decision;
        let candidates = decision.candidates.iter().map(|candidate| v1::PlacementCandidate {
            node: names::node(&candidate.node),
            rejection: candidate
                .rejection()
                .map(|reason| reason.to_string())
                .unwrap_or_default(),
            load: candidate.score.load(),
        });
        Ok(Response::new(v1::ExplainPlacementResponse {
            node: decision.chosen.as_ref().map(names::node).unwrap_or_default(),
            candidates: candidates.collect(),
        }))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let size = page::size(request.page_size)?;
        let after = page::node_after(&request.page_token)?;
        let published = self.control_plane.read(deadline).await?;
        let mut found = published.state.nodes_after(after.as_ref());
        let nodes: Vec<&Arc<Node>> = found.by_ref().take(size).collect();
        let more = found.next().is_some();
        let next_page_token = nodes
            .last()
            .filter(|_| more)
            .map(|last| page::node_token(&last.id))
            .unwrap_or_default();
        let nodes = nodes
            .into_iter()
            .map(|node| self.node_message(&published, node))
            .collect();
        Ok(Response::new(v1::ListNodesResponse { nodes, next_page_token }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Result<Response<v1::GetNodeResponse>, Status> {
        let deadline = Deadline::of(&request);
        let name = request.into_inner().name;
        let id = names::parse_node("name", &name).map_err(status::invalid)?;
        let published = self.control_plane.read(deadline).await?;
        let node = published
            .state
            .node(&id)
            .ok_or_else(|| status::not_found("Node", &name))?;
        Ok(Response::new(v1::GetNodeResponse {
            node: Some(self.node_message(&published, node)),
        }))
    }

    async fn cordon_node(
        &self,
        request: Request<v1::CordonNodeRequest>,
    ) -> Result<Response<v1::CordonNodeResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let node = self
            .set_scheduling(
                deadline,
                "CordonNode",
                &request.name,
                &request.request_id,
                Scheduling::Cordoned,
            )
            .await?;
        Ok(Response::new(v1::CordonNodeResponse { node: Some(node) }))
    }

    async fn uncordon_node(
        &self,
        request: Request<v1::UncordonNodeRequest>,
    ) -> Result<Response<v1::UncordonNodeResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let node = self
            .set_scheduling(
                deadline,
                "UncordonNode",
                &request.name,
                &request.request_id,
                Scheduling::Open,
            )
            .await?;
        Ok(Response::new(v1::UncordonNodeResponse { node: Some(node) }))
    }
}
