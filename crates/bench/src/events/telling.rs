//! From a node's report to those who watch. The baseline is the commit alone: the time until the node may forget the event.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use super::reporter::Reporter;
use super::subscriber::Subscribers;
use crate::latency::{Latencies, millis};
use crate::measured::in_millis;
use crate::report::progress;
use crate::subject::Group;

/// Between two events, so that each is told alone.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan;
    let mut group = Group::start(&bench.control_plane, &bench.folder).await?;
    let leader = group.leader_endpoint().await?;
    let endpoints = group.endpoints().to_vec();
    let mut reporter = Reporter::start(leader).await?;
    let mut rows = Vec::new();
    for subscribers in [1, plan.subscribers] {
        progress(format_args!("{} events to {subscribers} subscribers", plan.events));
        let mut listening = Subscribers::start(&endpoints, subscribers).await?;
        let (mut committed, mut told) = (Vec::new(), Vec::new());
        for _ in 0..plan.events {
            let sent = Instant::now();
            let (sequence, took) = reporter.report(1).await?;
            committed.push(took);
            told.push(listening.told(sequence).await?.saturating_duration_since(sent));
            tokio::time::sleep(PAUSE).await;
        }
        let (committed, told) = (Latencies::of(committed), Latencies::of(told));
        rows.push(row(subscribers, "the node's acknowledgement", &committed, None));
        rows.push(row(subscribers, "the last subscriber", &told, Some(&committed)));
    }
    bench.report.heading("From a node's report");
    let header = [
        "subscribers",
        "until",
        "events",
        "p50",
        "p99",
        "longest",
        "p50 ratio",
        "p99 ratio",
    ];
    bench.report.table(&header, rows);
    Ok(())
}

fn row(subscribers: usize, until: &str, latencies: &Latencies, baseline: Option<&Latencies>) -> Vec<String> {
    let ratio = |of: fn(&Latencies) -> Duration| {
        baseline.map_or_else(
            || "1".to_owned(),
            |baseline| {
                format!(
                    "{:.2}",
                    millis(of(latencies)) / millis(of(baseline)).max(f64::MIN_POSITIVE)
                )
            },
        )
    };
    vec![
        subscribers.to_string(),
        until.to_owned(),
        latencies.count().to_string(),
        in_millis(latencies.p50()),
        in_millis(latencies.p99()),
        in_millis(latencies.max()),
        ratio(Latencies::p50),
        ratio(Latencies::p99),
    ]
}
