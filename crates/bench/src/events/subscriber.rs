//! Those who watch the event log.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tenantry_proto::v1;
use tenantry_proto::v1::event_origin::Origin;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tenantry_proto::v1::notification_service_watch_response::Part;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::load::connect_one;

const PATIENCE: Duration = Duration::from_secs(60);
/// News that subscribers may be ahead of the counting.
const NEWS: usize = 4_096;

/// A stream of what happens from now on, which is known to be open.
///
/// # Errors
/// When the member refuses.
pub(super) async fn watch(endpoint: SocketAddr) -> Result<Streaming<v1::NotificationServiceWatchResponse>> {
    let mut client = NotificationServiceClient::new(connect_one(endpoint).await?);
    let request = v1::NotificationServiceWatchRequest {
        only_new: true,
        ..v1::NotificationServiceWatchRequest::default()
    };
    let mut stream = client.watch(request).await.context("no watch")?.into_inner();
    let first = stream.message().await?.and_then(|message| message.part);
    match first {
        Some(Part::Bookmark(_)) => Ok(stream),
        other => bail!("a watch began with {other:?}"),
    }
}

/// A subscriber was told the event that the node had given this sequence.
struct News {
    subscriber: usize,
    sequence: u64,
    at: Instant,
}

/// Subscribers with connections of their own, spread over all members.
pub(super) struct Subscribers {
    newest: Vec<u64>,
    tasks: JoinSet<Result<()>>,
    news: mpsc::Receiver<News>,
}

impl Subscribers {
    /// So many, all of which listen when this returns.
    ///
    /// # Errors
    /// When a member refuses one.
    pub(super) async fn start(endpoints: &[SocketAddr], count: usize) -> Result<Self> {
        let (sender, news) = mpsc::channel(NEWS);
        let mut tasks = JoinSet::new();
        for (subscriber, endpoint) in (0..count).zip(endpoints.iter().cycle()) {
            let stream = watch(*endpoint).await?;
            tasks.spawn(follow(subscriber, stream, sender.clone()));
        }
        Ok(Self {
            newest: vec![0; count],
            tasks,
            news,
        })
    }

    /// When the last of them was told of the event.
    ///
    /// # Errors
    /// When a stream ends, or it takes too long.
    pub(super) async fn told(&mut self, sequence: u64) -> Result<Instant> {
        let mut last = None;
        let wait = async {
            while self.newest.iter().any(|newest| *newest < sequence) {
                tokio::select! {
                    Some(news) = self.news.recv() => {
                        if let Some(newest) = self.newest.get_mut(news.subscriber) {
                            *newest = news.sequence;
                        }
                        last = last.max(Some(news.at));
                    }
                    ended = self.tasks.join_next() => match ended {
                        Some(Ok(Err(error))) => return Err(error),
                        other => bail!("a subscriber ended: {other:?}"),
                    },
                }
            }
            last.context("nobody was told")
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("not all subscribers were told within {PATIENCE:?}"))?
    }
}

async fn follow(
    subscriber: usize,
    mut stream: Streaming<v1::NotificationServiceWatchResponse>,
    news: mpsc::Sender<News>,
) -> Result<()> {
    while let Some(message) = stream.message().await.context("a watch broke")? {
        let Some(Part::Event(event)) = message.part else {
            continue;
        };
        let Some(Origin::Node(origin)) = event.origin.and_then(|origin| origin.origin) else {
            continue;
        };
        let told = News {
            subscriber,
            sequence: origin.sequence,
            at: Instant::now(),
        };
        if news.send(told).await.is_err() {
            return Ok(());
        }
    }
    bail!("a watch ended")
}
