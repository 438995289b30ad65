//! A snapshot of many tenants: how long it takes, how large it is, and how long it stalls a sequential writer.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tenantry_proto::v1;
use tenantry_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::task::JoinSet;

use super::Bench;
use super::writer::Writer;
use crate::latency::{median, millis};
use crate::load::{Keys, connect_one};
use crate::measured::in_millis;
use crate::operation::Operation;
use crate::report::progress;
use crate::subject::Group;

const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// How long the writer runs without a snapshot.
const QUIET: Duration = Duration::from_secs(2);

/// Members that write a snapshot at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshotting {
    None,
    Leader,
    /// As it happens by itself: all members reach the same number of entries together.
    All,
}

/// What was seen in one round.
#[derive(Default)]
struct Seen {
    times: Vec<f64>,
    longest: Vec<f64>,
    p50: Vec<f64>,
}

/// Uses the group with many tenants.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let rounds = bench.plan.rounds.max(3);
    let filled = bench.filled().await?;
    progress("snapshots");
    let leader = filled.group.leader().await?;
    // Below the names of the filling and above those of other measurements with this group.
    let keys = Keys::fresh_from(10 * filled.tenants + 1);
    let endpoints = [filled.group.leader_endpoint().await?];
    let writer = Writer::new(&endpoints, Operation::CreateBareTenant, keys, WRITE_LIMIT)?;
    // The next one that is due by itself is far away then.
    take_snapshots(&filled.group, Snapshotting::All, leader).await?;
    let kinds = [Snapshotting::None, Snapshotting::Leader, Snapshotting::All];
    let mut seen: [Seen; 3] = Default::default();
    for _ in 0..rounds {
        for (kind, seen) in kinds.into_iter().zip(&mut seen) {
            let (latencies, time) = writer.write_beside(take_snapshots(&filled.group, kind, leader)).await?;
            seen.times.push(millis(time));
            seen.longest.push(millis(latencies.max()));
            seen.p50.push(millis(latencies.p50()));
        }
    }
    let bytes = newest_snapshot_bytes(&filled.group.data_folder(leader))?;
    let tenants = filled.tenants;
    let rows = kinds.into_iter().zip(&seen).map(|(kind, seen)| {
        let name = match kind {
            Snapshotting::None => "none",
            Snapshotting::Leader => "the leader",
            Snapshotting::All => "all members at once",
        };
        let of = |values: &[f64]| in_millis(Duration::from_secs_f64(median(values) / 1_000.0));
        vec![name.to_owned(), of(&seen.times), of(&seen.p50), of(&seen.longest)]
    });
    let rows = rows.collect();
    bench.report.heading(&format!("Snapshot of {tenants} tenants"));
    bench.report.say(format_args!(
        "{bytes} bytes on disk, {} a tenant; medians of {rounds} rounds\n",
        bytes / tenants.max(1)
    ));
    let header = [
        "who writes a snapshot",
        "time",
        "a sequential write, p50",
        "longest write",
    ];
    bench.report.table(&header, rows);
    Ok(())
}

/// Has the members write snapshots and waits for the last.
async fn take_snapshots(group: &Group, kind: Snapshotting, leader: usize) -> Result<Duration> {
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for (index, endpoint) in group.endpoints().iter().enumerate() {
        if kind == Snapshotting::All || (kind == Snapshotting::Leader && index == leader) {
            let channel = connect_one(*endpoint).await?;
            calls.spawn(async move {
                let mut client = ClusterServiceClient::new(channel);
                client.take_snapshot(v1::TakeSnapshotRequest {}).await
            });
        }
    }
    if kind == Snapshotting::None {
        tokio::time::sleep(QUIET).await;
    }
    while let Some(ended) = calls.join_next().await {
        ended.context("a call panicked")?.context("no snapshot")?;
    }
    Ok(start.elapsed())
}

fn newest_snapshot_bytes(data_folder: &Path) -> Result<u64> {
    let folder = data_folder.join("raft/snapshots");
    let mut newest = None;
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        // Files are named by index and term, with leading zeros.
        if entry.path().extension().is_some_and(|extension| extension == "snap") {
            newest = newest.max(Some((entry.file_name(), entry.metadata()?.len())));
        }
    }
    newest
        .map(|(_, bytes)| bytes)
        .with_context(|| format!("{} holds no snapshot", folder.display()))
}
