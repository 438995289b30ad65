//! `NotificationService`: takes nodes' events into the replicated log, and streams the log to whoever watches.

use std::sync::Arc;

use tenantry_proto::convert::{self, Within as _};
use tenantry_proto::v1;
use tenantry_proto::v1::notification_service_server::NotificationService;
use tenantry_state::move_policy::{self, MeasuredLoad};
use tenantry_state::{Answer, Command, MoveDecision, State, TierDecision, tier_policy};
use tenantry_types::{
    Condition, EventDetail, EventSequence, Incarnation, NodeId, QuotaKind, ReportedEvent, Reporter, TenantUid,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::control_plane::ControlPlane;
use super::deadline::Deadline;
use super::{events, status};
use crate::watch::{EventMatcher, WatchTiming, event_stream};

/// Messages that wait for a watcher to read. When full, its stream waits, and nothing else does.
const WATCH_QUEUE: usize = 64;
/// Acknowledgements that wait for a node to read.
const REPORT_QUEUE: usize = 4;
/// Events in one batch; more are refused.
const MOST_EVENTS: usize = 1_000;

/// The service.
#[derive(Clone)]
pub struct Notification {
    control_plane: Arc<ControlPlane>,
    timing: WatchTiming,
    stop: CancellationToken,
}

impl Notification {
    /// Works on the given control plane; streams end at `stop`.
    #[must_use]
    pub const fn new(control_plane: Arc<ControlPlane>, timing: WatchTiming, stop: CancellationToken) -> Self {
        Self {
            control_plane,
            timing,
            stop,
        }
    }

    /// Replicates one batch and says up to where the node may forget.
    async fn record(&self, request: v1::ReportRequest) -> Result<v1::ReportResponse, Status> {
        let node =
            NodeId::new(&request.node_id).map_err(|error| status::invalid_field("node_id", error.to_string()))?;
        if request.events.is_empty() || request.events.len() > MOST_EVENTS {
            return Err(status::invalid_field(
                "events",
                format!("must hold 1 to {MOST_EVENTS} events"),
            ));
        }
        let mut events = Vec::with_capacity(request.events.len());
        for (index, message) in request.events.into_iter().enumerate() {
            let field = format!("events[{index}]");
            let event = ReportedEvent::try_from(message)
                .within(&field)
                .map_err(status::invalid)?;
            if event.detail.reporter() == Reporter::ControlPlane {
                let message = format!("`{}` is not a node's to report", event.detail.kind());
                return Err(status::invalid_field(field, message));
            }
            events.push(event);
        }
        let tier_changes = self.tier_changes(&events);
        let moves = self.moves(&node, &events);
        let incarnation = Incarnation(request.incarnation);
        let command = Command::RecordEvents {
            node,
            incarnation,
            events,
            tier_changes,
            moves,
        };
        match self.control_plane.propose(None, command).await? {
            Answer::Events { acknowledged, .. } => Ok(v1::ReportResponse {
                acknowledged_sequence: acknowledged.get(),
            }),
            other => Err(status::internal(format!(
                "an acknowledgement was expected, not {other:?}"
            ))),
        }
    }

    /// What the reported classes and crossed quotas mean for AUTO tenants. The state machine checks again that they still rest on the truth.
    fn tier_changes(&self, events: &[ReportedEvent]) -> Vec<TierDecision> {
        let published = self.control_plane.published.current();
        let changes = events.iter().filter_map(|event| match (event.tenant, &event.detail) {
            (Some(uid), EventDetail::ClassChanged { to, .. }) => tier_policy::decide(published.state.tenant(uid)?, *to),
            (Some(uid), EventDetail::QuotaCrossed { quota, limit, .. }) => {
                let tenant = published.state.tenant(uid)?;
                let in_force = published.state.effective_quota(tenant);
                let now = match quota {
                    QuotaKind::RequestsPerDay => in_force.requests_per_day,
                    QuotaKind::Database => in_force.database_bytes,
                };
                // A share of the limit before the last lift is no reason for another.
                (*limit == now).then(|| tier_policy::lift(tenant, *quota)).flatten()
            }
            _ => None,
        });
        changes.collect()
    }

    /// Who should leave the node because of tenants that became hot.
    fn moves(&self, node: &NodeId, events: &[ReportedEvent]) -> Vec<MoveDecision> {
        let published = self.control_plane.published.current();
        let hot = |event: &ReportedEvent| match &event.detail {
            EventDetail::Raised(figures) if figures.condition() == Condition::Hotspot => event.tenant,
            _ => None,
        };
        // What is raised already is told again by every node that meets a new leader, and leads to nothing new.
        let news = |uid: &TenantUid| published.state.condition(*uid, Condition::Hotspot).is_none();
        let propose = |uid| self.moves_because_of(&published.state, node, uid);
        events.iter().filter_map(hot).filter(news).flat_map(propose).collect()
    }

    fn moves_because_of(&self, state: &State, node: &NodeId, hot: TenantUid) -> Vec<MoveDecision> {
        let Some(tenant) = state.tenant(hot) else {
            return Vec::new();
        };
        self.control_plane.observations(|observations| {
            move_policy::propose(state, tenant, |uid| {
                let usage = observations.usage(node, uid)?;
                Some(MeasuredLoad {
                    cpu_millicores: usage.cpu_millicores,
                    requests_per_minute: usage.requests_last_minute,
                    database_bytes: usage.database_bytes,
                })
            })
        })
    }
}

#[tonic::async_trait]
impl NotificationService for Notification {
    type ReportStream = ReceiverStream<Result<v1::ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<v1::ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let mut batches = request.into_inner();
        let (out, stream) = mpsc::channel(REPORT_QUEUE);
        let (service, stop) = (self.clone(), self.stop.clone());
        // Owned by the stream: it ends when the node leaves, at the first refusal, or when this member stops.
        tokio::spawn(async move {
            let serve = async {
                while let Some(batch) = batches.next().await {
                    let result = match batch {
                        Ok(batch) => service.record(batch).await,
                        Err(status) => Err(status),
                    };
                    let refused = result.is_err();
                    if out.send(result).await.is_err() || refused {
                        return;
                    }
                }
            };
            stop.run_until_cancelled(serve).await
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type WatchStream = ReceiverStream<Result<v1::NotificationServiceWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::NotificationServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let cursor = (!request.only_new).then_some(EventSequence(request.after_sequence));
        let filter = convert::event_filter_from_wire(v1::EventFilter {
            kinds: request.kinds,
            tenants: request.tenants,
            labels: request.labels,
            min_severity: request.min_severity,
        });
        let matcher = EventMatcher::new(filter.map_err(status::invalid)?);
        let (out, stream) = mpsc::channel(WATCH_QUEUE);
        let (published, timing, stop) = (self.control_plane.published.clone(), self.timing, self.stop.clone());
        // Owned by the stream: it ends when the watcher leaves or this member stops.
        tokio::spawn(async move {
            stop.run_until_cancelled(event_stream(published, cursor, matcher, timing, out))
                .await
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let published = self.control_plane.read(Deadline::of(&request)).await?;
        events::list(&published.state, request.into_inner()).map(Response::new)
    }

    async fn list_conditions(
        &self,
        request: Request<v1::ListConditionsRequest>,
    ) -> Result<Response<v1::ListConditionsResponse>, Status> {
        let published = self.control_plane.read(Deadline::of(&request)).await?;
        Ok(Response::new(events::conditions(&published.state)))
    }

    async fn get_reactions(
        &self,
        request: Request<v1::GetReactionsRequest>,
    ) -> Result<Response<v1::GetReactionsResponse>, Status> {
        let published = self.control_plane.read(Deadline::of(&request)).await?;
        Ok(Response::new(v1::GetReactionsResponse {
            reactions: Some(published.state.reactions().into()),
        }))
    }

    async fn update_reactions(
        &self,
        request: Request<v1::UpdateReactionsRequest>,
    ) -> Result<Response<v1::UpdateReactionsResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let reactions = request
            .reactions
            .ok_or_else(|| status::invalid_field("reactions", "must be given"))?;
        let by = ControlPlane::request("UpdateReactions", &request.request_id, &reactions)?;
        let reactions = reactions.into();
        let command = Command::UpdateReactions { reactions };
        match self.control_plane.propose_by(deadline.at(), by, command).await? {
            Answer::Reactions(reactions) => Ok(Response::new(v1::UpdateReactionsResponse {
                reactions: Some((&reactions).into()),
            })),
            other => Err(status::internal(format!("switches were expected, not {other:?}"))),
        }
    }
}

#[cfg(test)]
#[path = "notification_tests.rs"]
mod tests;
