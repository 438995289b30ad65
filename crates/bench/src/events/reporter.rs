//! A node as far as events go: registers, and reports over one stream with one batch under way, as tenant-nodes do.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use tenantry_proto::v1;
use tenantry_proto::v1::event_detail::Kind;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tenantry_proto::v1::placement_service_client::PlacementServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::load::connect_one;

const NODE: &str = "bench";
const INCARNATION: u64 = 1;

/// A registered node with an open stream.
pub(super) struct Reporter {
    batches: mpsc::Sender<v1::ReportRequest>,
    answers: Streaming<v1::ReportResponse>,
    next: u64,
}

impl Reporter {
    /// Registers at `leader` and opens a stream there.
    ///
    /// # Errors
    /// When the leader refuses.
    pub(super) async fn start(leader: SocketAddr) -> Result<Self> {
        let channel = connect_one(leader).await?;
        let address = "127.0.0.1:9".to_owned();
        let register = v1::RegisterNodeRequest {
            node_id: NODE.to_owned(),
            incarnation: INCARNATION,
            spec: Some(v1::NodeSpec {
                data_address: address.clone(),
                peer_address: address.clone(),
                ops_address: address,
                max_tenants: 10,
                disk_bytes: 1 << 30,
                ..v1::NodeSpec::default()
            }),
            ..v1::RegisterNodeRequest::default()
        };
        let mut placement = PlacementServiceClient::new(channel.clone());
        placement
            .register_node(register)
            .await
            .context("the node cannot register")?;
        let (batches, queue) = mpsc::channel(1);
        let mut reporter = NotificationServiceClient::new(channel);
        // The member answers once the first batch is there.
        batches.send(batch(1, 1)).await?;
        let answers = reporter.report(ReceiverStream::new(queue)).await?.into_inner();
        let mut reporter = Self {
            batches,
            answers,
            next: 2,
        };
        reporter.acknowledged(1).await?;
        Ok(reporter)
    }

    /// Reports `count` events, at most 1,000, and waits until they are in the log. Gives back the sequence of the first, and how
    /// long that took.
    ///
    /// # Errors
    /// When they are refused.
    pub(super) async fn report(&mut self, count: u64) -> Result<(u64, Duration)> {
        let first = self.next;
        let start = Instant::now();
        self.batches.send(batch(first, count)).await?;
        self.next += count;
        self.acknowledged(self.next - 1).await?;
        Ok((first, start.elapsed()))
    }

    async fn acknowledged(&mut self, last: u64) -> Result<()> {
        let answer = self.answers.message().await?.context("the stream ended")?;
        ensure!(
            answer.acknowledged_sequence == last,
            "not all was acknowledged: {answer:?}"
        );
        Ok(())
    }
}

fn batch(first: u64, count: u64) -> v1::ReportRequest {
    let event = |sequence| v1::ReportedEvent {
        sequence,
        occur_time: Some(SystemTime::now().into()),
        tenant_uid: String::new(),
        epoch: 0,
        detail: Some(v1::EventDetail {
            kind: Some(Kind::ConfigRefused(v1::ConfigRefused {
                records: 1,
                example: "tenants/acme: a record that a node could not take".to_owned(),
            })),
        }),
    };
    v1::ReportRequest {
        node_id: NODE.to_owned(),
        incarnation: INCARNATION,
        events: (first..first + count).map(event).collect(),
    }
}
