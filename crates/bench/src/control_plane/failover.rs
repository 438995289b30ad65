//! The leader is killed: how long until the next write is acknowledged to a client that tries all members in turn.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tonic::transport::Channel;

use super::Bench;
use super::comparison::in_millis;
use crate::latency::Latencies;
use crate::load::{Keys, lazy_endpoint, limited};
use crate::operation::Operation;
use crate::report::progress;
use crate::subject::{Group, Timing};

/// How long one attempt may take before the next member is asked, on both sides: a member that still believes in the dead
/// leader would hold the call.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(2);
/// Without a write for this long, the group is dead.
const PATIENCE: Duration = Duration::from_secs(30);
/// Writes that succeed before each kill.
const WRITES_BEFORE: usize = 20;

/// One group that loses its leader again and again.
struct Subject {
    name: &'static str,
    operation: Operation,
    group: Group,
    keys: Keys,
    gaps: Vec<Duration>,
}

/// All groups in turn, so many times.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let mut subjects = vec![Subject {
        name: "ours, 100 / 500–1000 ms (default)",
        operation: Operation::CreateTenant,
        group: Group::start(&bench.ours, &bench.folder).await?,
        keys: Keys::fresh(),
        gaps: Vec::new(),
    }];
    for (name, timing) in [
        ("etcd, 50 / 500–1000 ms", Timing::LikeOurs),
        ("etcd, 100 / 1000–2000 ms (default)", Timing::Default),
    ] {
        if let Some(product) = bench.baseline(timing) {
            subjects.push(Subject {
                name,
                operation: Operation::EtcdPut,
                group: Group::start(&product, &bench.folder).await?,
                keys: Keys::fresh(),
                gaps: Vec::new(),
            });
        }
    }
    for kill in 0..bench.plan.kills {
        progress(format_args!("kill {} of {}", kill + 1, bench.plan.kills));
        for subject in &mut subjects {
            let gap = subject.kill_the_leader().await.context(subject.name)?;
            subject.gaps.push(gap);
        }
    }
    bench
        .report
        .heading("The leader is killed: time until the next acknowledged write");
    let rows = subjects.into_iter().map(|subject| {
        let gaps = Latencies::of(subject.gaps);
        vec![
            subject.name.to_owned(),
            gaps.count().to_string(),
            in_millis(gaps.p50()),
            in_millis(gaps.p99()),
            in_millis(gaps.max()),
        ]
    });
    let rows = rows.collect();
    let header = ["heartbeat / election", "kills", "p50", "p99", "longest"];
    bench.report.table(&header, rows);
    Ok(())
}

impl Subject {
    async fn kill_the_leader(&mut self) -> Result<Duration> {
        let endpoints = self.group.endpoints().iter();
        let channels = endpoints.map(|endpoint| Ok(lazy_endpoint(*endpoint)?.connect_lazy()));
        let channels = channels.collect::<Result<Vec<_>>>()?;
        let leader = self.group.leader().await?;
        for _ in 0..WRITES_BEFORE {
            self.write(&channels).await?;
        }
        let killed = Instant::now();
        self.group.member(leader)?.kill();
        self.write(&channels).await?;
        let gap = killed.elapsed();
        self.group.member(leader)?.start()?;
        // All members again, and none of them behind.
        self.group.leader().await?;
        for _ in 0..WRITES_BEFORE {
            self.write(&channels).await?;
        }
        Ok(gap)
    }

    /// One write, under one request id, until some member acknowledges it.
    async fn write(&self, channels: &[Channel]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (key, id) = (self.keys.next(), Operation::new_request_id());
        // Another member first each time.
        let first = usize::try_from(key).unwrap_or_default() % channels.len().max(1);
        for channel in channels.iter().cycle().skip(first) {
            match limited(self.operation, channel.clone(), key, &id, ATTEMPT_LIMIT).await {
                Ok(()) => return Ok(()),
                Err(status) if Instant::now() >= deadline => bail!("no write within {PATIENCE:?}: {status}"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        bail!("there are no members")
    }
}
