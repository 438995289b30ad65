//! `NotificationService`: takes nodes' events into the replicated log, and streams the log to whoever watches.

use std::collections::HashSet;
use std::sync::Arc;

use tenantry_proto::convert::{self, Within as _, names};
use tenantry_proto::v1;
use tenantry_proto::v1::notification_service_server::NotificationService;
use tenantry_state::{Answer, Command, TierDecision, tier_policy};
use tenantry_types::{EventDetail, EventSequence, Incarnation, NodeId, ReportedEvent};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::control_plane::ControlPlane;
use super::status;
use crate::watch::{EventFilter, WatchTiming, event_stream};

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
            let event = ReportedEvent::try_from(message).within(&format!("events[{index}]"));
            events.push(event.map_err(status::invalid)?);
        }
        let tier_changes = self.tier_changes(&events);
        let incarnation = Incarnation(request.incarnation);
        let command = Command::RecordEvents {
            node,
            incarnation,
            events,
            tier_changes,
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
            (Some(uid), EventDetail::QuotaCrossed { quota, .. }) => {
                tier_policy::lift(published.state.tenant(uid)?, *quota)
            }
            _ => None,
        });
        changes.collect()
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
        let filter = filter(&request)?;
        let (out, stream) = mpsc::channel(WATCH_QUEUE);
        let (published, timing, stop) = (self.control_plane.published.clone(), self.timing, self.stop.clone());
        // Owned by the stream: it ends when the watcher leaves or this member stops.
        tokio::spawn(async move {
            stop.run_until_cancelled(event_stream(published, cursor, filter, timing, out))
                .await
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn filter(request: &v1::NotificationServiceWatchRequest) -> Result<EventFilter, Status> {
    for kind in &request.kinds {
        if !EventDetail::KINDS.contains(&kind.as_str()) {
            let known = EventDetail::KINDS.join(", ");
            return Err(status::invalid_field(
                "kinds",
                format!("`{kind}` is not one of {known}"),
            ));
        }
    }
    let mut tenants = HashSet::new();
    for (index, name) in request.tenants.iter().enumerate() {
        tenants.insert(names::parse_tenant(&format!("tenants[{index}]"), name).map_err(status::invalid)?);
    }
    let min_severity = convert::severity_from_wire("min_severity", request.min_severity).map_err(status::invalid)?;
    Ok(EventFilter {
        kinds: request.kinds.iter().cloned().collect(),
        tenants,
        min_severity,
    })
}
