//! Many watchers of the routing table: how long until the last one knows of a change, and what it costs when all come back
//! at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tenantry_proto::v1;
use tenantry_proto::v1::placement_service_client::PlacementServiceClient;
use tenantry_proto::v1::placement_service_watch_response::Part;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Bench;
use super::writer::Writer;
use crate::latency::Latencies;
use crate::load::{self, Keys, connect_one};
use crate::measured::in_millis;
use crate::operation::{Operation, key_of};
use crate::report::progress;
use crate::subject::Group;

const PATIENCE: Duration = Duration::from_secs(60);
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long the writer runs with all watchers connected and nothing else to do.
const QUIET: Duration = Duration::from_secs(3);
/// News that the watchers may be ahead of the counting; beyond that they wait.
const NEWS: usize = 4_096;

/// A watcher learned of the tenant with this number, and so of all before it.
struct News {
    watcher: usize,
    key: u64,
    at: Instant,
}

/// Where a watcher left off.
#[derive(Debug, Clone, Default)]
struct Position {
    revision: u64,
    cluster_uid: String,
}

/// Watchers, each with a connection of its own; spread over all members.
struct Watchers {
    /// The newest tenant that each knows, and since when.
    known: Vec<Option<(u64, Instant)>>,
    tasks: JoinSet<Result<()>>,
    news: mpsc::Receiver<News>,
}

/// Three members, many watchers, one writer.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan;
    let mut group = Group::start(&bench.ours, &bench.folder).await?;
    progress(format_args!(
        "{} tenants for {} watchers",
        plan.watched_tenants, plan.watchers
    ));
    let leader = group.leader_endpoint().await?;
    let channels = load::connect(&[leader]).await?;
    load::fill(Operation::CreateBareTenant, &channels, 0..plan.watched_tenants, 64).await?;
    let keys = Keys::fresh_from(plan.watched_tenants);
    let mut endpoints = vec![leader];
    endpoints.extend(group.endpoints().iter().filter(|endpoint| **endpoint != leader));
    let writer = Writer::new(&endpoints, Operation::CreateBareTenant, keys, WRITE_LIMIT)?;
    let (alone, ()) = writer.write_beside(quiet()).await?;

    progress("all watchers begin with nothing");
    let last = last_key(&writer.keys);
    let beginning = async {
        let start = Instant::now();
        let mut watchers = Watchers::start(group.endpoints(), plan.watchers, &Position::default());
        watchers.wait_for(last).await?;
        Ok((watchers, start.elapsed()))
    };
    let (while_beginning, (mut watchers, begin_time)) = writer.write_beside(beginning).await?;
    watchers.wait_for(last_key(&writer.keys)).await?;

    progress("changes");
    let mut delays = Vec::new();
    for _ in 0..plan.changes {
        let sent = Instant::now();
        let key = writer.write().await?;
        delays.push(watchers.wait_for(key).await?.saturating_duration_since(sent));
    }
    let delays = Latencies::of(delays);
    let (with_watchers, ()) = writer.write_beside(watchers.drain_during(QUIET)).await?;
    watchers.wait_for(last_key(&writer.keys)).await?;

    progress("all watchers come back");
    let position = position(leader).await?;
    drop(watchers);
    // Something that they all have to learn.
    let missed = writer.write().await?;
    let returning = async {
        let start = Instant::now();
        let mut watchers = Watchers::start(group.endpoints(), plan.watchers, &position);
        watchers.wait_for(missed).await?;
        Ok((watchers, start.elapsed()))
    };
    let (while_returning, (watchers, return_time)) = writer.write_beside(returning).await?;
    drop(watchers);
    let leader_changed = group.leader_endpoint().await? != leader;

    let report = &mut bench.report;
    report.heading(&format!("{} watchers, {} tenants", plan.watchers, plan.watched_tenants));
    report.table(
        &[
            "from sending a change to the last watcher",
            "changes",
            "p50",
            "p99",
            "longest",
        ],
        vec![row("one change at a time", &delays)],
    );
    report.say(format_args!(
        "\nall begin at once with nothing: in sync after {}\nall come back at once where they left off: in sync after {}\n",
        in_millis(begin_time),
        in_millis(return_time)
    ));
    report.table(
        &["a sequential writer", "writes", "p50", "p99", "longest"],
        vec![
            row("without watchers", &alone),
            row("while all begin with nothing", &while_beginning),
            row("with all watchers informed of each write", &with_watchers),
            row("while all come back", &while_returning),
        ],
    );
    if leader_changed {
        report.say("\nanother member led at the end: the leader was lost meanwhile");
    }
    Ok(())
}

impl Watchers {
    fn start(endpoints: &[SocketAddr], count: usize, position: &Position) -> Self {
        let (sender, news) = mpsc::channel(NEWS);
        let mut tasks = JoinSet::new();
        for (watcher, endpoint) in (0..count).zip(endpoints.iter().cycle()) {
            tasks.spawn(watch(watcher, *endpoint, position.clone(), sender.clone()));
        }
        Self {
            known: vec![None; count],
            tasks,
            news,
        }
    }

    /// When the last watcher learned of `key`, or of a later one if it has been told of that since.
    ///
    /// # Errors
    /// When a watch ends, or it takes too long.
    async fn wait_for(&mut self, key: u64) -> Result<Instant> {
        let wait = async {
            loop {
                let knowing = self.known.iter().flatten().filter(|(known, _)| *known >= key);
                if knowing.clone().count() == self.known.len() {
                    let last = knowing.map(|(_, since)| *since).max();
                    return last.context("there are no watchers");
                }
                self.learn().await?;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("not all watchers learned of a change within {PATIENCE:?}"))?
    }

    /// Reads news for so long, since watchers wait for their reader.
    async fn drain_during(&mut self, time: Duration) -> Result<()> {
        let drain = async {
            loop {
                self.learn().await?;
            }
        };
        tokio::time::timeout(time, drain).await.unwrap_or(Ok(()))
    }

    async fn learn(&mut self) -> Result<()> {
        tokio::select! {
            Some(news) = self.news.recv() => {
                if let Some(known) = self.known.get_mut(news.watcher) {
                    *known = Some((news.key, news.at));
                }
                Ok(())
            }
            ended = self.tasks.join_next() => match ended {
                Some(Ok(Err(error))) => Err(error),
                Some(Err(error)) => Err(error.into()),
                Some(Ok(Ok(()))) | None => bail!("a watch ended"),
            },
        }
    }
}

/// Follows one stream and tells what it learns.
async fn watch(watcher: usize, endpoint: SocketAddr, position: Position, news: mpsc::Sender<News>) -> Result<()> {
    let request = v1::PlacementServiceWatchRequest {
        after_revision: position.revision,
        cluster_uid: position.cluster_uid,
        ..v1::PlacementServiceWatchRequest::default()
    };
    let mut client = PlacementServiceClient::new(connect_one(endpoint).await?);
    let mut stream = client.watch(request).await.context("no watch")?.into_inner();
    let mut newest = 0;
    while let Some(message) = stream.message().await.context("a watch broke")? {
        let (tenants, complete) = match message.part {
            Some(Part::Snapshot(piece)) => (piece.tenants, piece.last),
            Some(Part::Delta(delta)) => (delta.tenants, true),
            Some(Part::Resync(resync)) => bail!("a watcher has to start over: {}", resync.reason),
            Some(Part::Bookmark(_)) | None => continue,
        };
        let keys = tenants.iter().filter_map(|tenant| key_of(&tenant.tenant_id));
        newest = keys.fold(newest, u64::max);
        if complete {
            let learned = News {
                watcher,
                key: newest,
                at: Instant::now(),
            };
            if news.send(learned).await.is_err() {
                return Ok(());
            }
        }
    }
    bail!("a watch ended")
}

/// The newest revision of the routing table, as a new watcher is told.
async fn position(endpoint: SocketAddr) -> Result<Position> {
    let mut client = PlacementServiceClient::new(connect_one(endpoint).await?);
    let request = v1::PlacementServiceWatchRequest::default();
    let mut stream = client.watch(request).await.context("no watch")?.into_inner();
    match stream.message().await?.and_then(|message| message.part) {
        Some(Part::Snapshot(piece)) => Ok(Position {
            revision: piece.revision,
            cluster_uid: piece.cluster_uid,
        }),
        other => bail!("a watch began with {other:?}"),
    }
}

async fn quiet() -> Result<()> {
    tokio::time::sleep(QUIET).await;
    Ok(())
}

/// The last number that was given out.
fn last_key(keys: &Keys) -> u64 {
    keys.given_out().saturating_sub(1)
}

fn row(name: &str, latencies: &Latencies) -> Vec<String> {
    vec![
        name.to_owned(),
        latencies.count().to_string(),
        in_millis(latencies.p50()),
        in_millis(latencies.p99()),
        in_millis(latencies.max()),
    ]
}
