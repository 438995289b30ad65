//! The leader is killed: how long until the next write is acknowledged to a client that tries all members in turn.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Bench;
use super::writer::Writer;
use crate::latency::Latencies;
use crate::load::Keys;
use crate::measured::in_millis;
use crate::operation::Operation;
use crate::report::progress;
use crate::subject::{Group, Product, Timing};

/// How long one attempt may take before the next member is asked, on both sides: a member that still believes in the dead
/// leader would hold the call.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(250);
/// Writes that succeed before each kill.
const WRITES_BEFORE: usize = 20;

/// One group that loses its leader again and again.
struct Subject {
    name: &'static str,
    group: Group,
    writer: Writer,
    gaps: Vec<Duration>,
}

/// All groups in turn, so many times.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let ours = Subject::start(
        "ours, 100 / 500–1000 ms (default)",
        &bench.ours,
        Operation::CreateTenant,
        bench,
    );
    let mut subjects = vec![ours.await?];
    for (name, timing) in [
        ("etcd, 50 / 500–1000 ms", Timing::LikeOurs),
        ("etcd, 100 / 1000–2000 ms (default)", Timing::Default),
    ] {
        if let Some(product) = bench.baseline(timing) {
            subjects.push(Subject::start(name, &product, Operation::EtcdPut, bench).await?);
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
    async fn start(name: &'static str, product: &Product, operation: Operation, bench: &Bench) -> Result<Self> {
        let group = Group::start(product, &bench.folder).await?;
        let writer = Writer::new(group.endpoints(), operation, Keys::fresh(), ATTEMPT_LIMIT)?;
        Ok(Self {
            name,
            group,
            writer,
            gaps: Vec::new(),
        })
    }

    async fn kill_the_leader(&mut self) -> Result<Duration> {
        let leader = self.group.leader().await?;
        self.write_some().await?;
        let killed = Instant::now();
        self.group.member(leader)?.kill();
        self.writer.write().await?;
        let gap = killed.elapsed();
        self.group.member(leader)?.start()?;
        // All members again, and none of them behind.
        self.group.leader().await?;
        self.write_some().await?;
        Ok(gap)
    }

    async fn write_some(&self) -> Result<()> {
        for _ in 0..WRITES_BEFORE {
            self.writer.write().await?;
        }
        Ok(())
    }
}
