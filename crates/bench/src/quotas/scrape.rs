//! What the metrics of many tenants cost a node: a question for all of them, the sampler's rounds, and the memory of the
//! counters.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::{Bench, Plan};
use crate::data_plane::client::Connection;
use crate::data_plane::node::{Node, NodeOptions};
use crate::data_plane::requests::{Requests, Target, metrics};
use crate::latency::Latencies;
use crate::machine::{processor_time, resident_bytes, threads_time};
use crate::measured::in_millis;
use crate::operation::tenant_id;
use crate::report::progress;

/// The node's default, and all tenants of the measurement.
const TENANT_LIMITS: [Option<usize>; 2] = [None, Some(10_000)];
const DEFAULT_LIMIT: usize = 1_000;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// What is under way after the last request ends meanwhile, and the sampler sees every tenant.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections over which each tenant's first request comes.
const ASKING: usize = 16;

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let mut rows = Vec::new();
    for limit in TENANT_LIMITS {
        let shown = limit.unwrap_or(DEFAULT_LIMIT);
        progress(format_args!("metrics, tenant limit {shown}"));
        rows.push(one_node(bench, limit).await?.row(shown));
    }
    let tenants = bench.plan.scraped_tenants;
    bench.report.heading(&format!("Metrics of {tenants} tenants"));
    bench.report.table(&HEADER, rows);
    bench.report.say(format_args!(
        "\nEach tenant had one request. Processor time of a scrape and of a round of the sampler ({} s apart) is what the node \
         used beyond its rest, and beyond that of the same node without tenants.",
        SAMPLE_INTERVAL.as_secs()
    ));
    Ok(())
}

const HEADER: [&str; 9] = [
    "tenant limit",
    "scrape, p50",
    "longest",
    "bytes",
    "lines",
    "CPU a scrape",
    "CPU a round",
    "a tenant, registered",
    "a tenant, counted",
];

/// What one node used.
struct Used {
    scrapes: Latencies,
    bytes: usize,
    lines: usize,
    scrape: Duration,
    round: Duration,
    /// Bytes of memory per tenant, against the node without tenants: once known, and once asked for.
    registered: f64,
    counted: f64,
}

async fn one_node(bench: &Bench, metrics_tenant_limit: Option<usize>) -> Result<Used> {
    let plan = bench.plan;
    let options = NodeOptions {
        metrics_tenant_limit,
        sample_interval: Some(SAMPLE_INTERVAL),
        ..NodeOptions::default()
    };
    let mut node = Node::start(&bench.node, &bench.folder, options).await?;
    let (pid, tenants) = (node.pid()?, plan.scraped_tenants);
    let (empty_rest, empty) = (rest(pid, plan).await?, resident_bytes(pid)?);
    node.register_tenants(0..tenants).await?;
    tokio::time::sleep(SETTLE).await;
    let registered = resident_bytes(pid)?;
    ask_each(&node, tenants).await?;
    let (rest, counted) = (rest(pid, plan).await?, resident_bytes(pid)?);

    let mut connection = Connection::open(node.ops()).await?;
    let request = metrics();
    let mut scrapes = Vec::new();
    let (before, begin) = (threads_time(pid)?, Instant::now());
    for _ in 0..plan.scrapes {
        let start = Instant::now();
        connection.send(&request).await?;
        scrapes.push(start.elapsed());
    }
    let (took, used) = (begin.elapsed(), threads_time(pid)?.saturating_sub(before));
    let at_rest = rest.mul_f64(took.as_secs_f64());
    let per_tenant = |now: u64| float(now.saturating_sub(empty)) / float(tenants.max(1));
    Ok(Used {
        scrapes: Latencies::of(scrapes),
        bytes: connection.answer().len(),
        lines: connection.answer().iter().filter(|byte| **byte == b'\n').count(),
        scrape: used.saturating_sub(at_rest) / plan.scrapes.max(1),
        round: rest.saturating_sub(empty_rest).mul_f64(SAMPLE_INTERVAL.as_secs_f64()),
        registered: per_tenant(registered),
        counted: per_tenant(counted),
    })
}

/// Processor time a second of a node that nobody asks.
async fn rest(pid: u32, plan: Plan) -> Result<Duration> {
    tokio::time::sleep(SETTLE).await;
    let before = processor_time(pid)?;
    let begin = Instant::now();
    tokio::time::sleep(plan.rest).await;
    let used = processor_time(pid)?.saturating_sub(before);
    Ok(used.div_f64(begin.elapsed().as_secs_f64()))
}

/// One request of each tenant that counts and opens no database: only the counters come into memory.
async fn ask_each(node: &Node, tenants: u64) -> Result<()> {
    let target = Target::real((0..tenants).map(tenant_id));
    let (requests, address) = (Requests::counted(&target), node.address());
    let mut tasks = JoinSet::new();
    for first in 0..ASKING {
        let requests = requests.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            for request in requests.iter().skip(first).step_by(ASKING) {
                connection.send(request).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task panicked")??;
    }
    Ok(())
}

impl Used {
    fn row(&self, limit: usize) -> Vec<String> {
        vec![
            limit.to_string(),
            in_millis(self.scrapes.p50()),
            in_millis(self.scrapes.max()),
            self.bytes.to_string(),
            self.lines.to_string(),
            in_millis(self.scrape),
            in_millis(self.round),
            format!("{:.1} KiB", self.registered / 1024.0),
            format!("{:.1} KiB", self.counted / 1024.0),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}
