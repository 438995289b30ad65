//! The first request to a closed tenant, one after the other over one connection, beside opening the same files without a
//! server.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Bench;
use super::client::Connection;
use super::in_process::open_each;
use super::node::{Node, NodeOptions};
use super::requests::{Requests, Target};
use crate::latency::Latencies;
use crate::measured::short_millis;
use crate::report::progress;

/// Uses one node throughout. The files lie in the machine's page cache, on both sides.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let tenants = bench.plan.cold_tenants;
    progress(format_args!("first requests to {tenants} tenants"));
    let (programs, folder) = (&bench.programs, &bench.folder);
    let mut node = Node::start(programs, folder, NodeOptions::default()).await?;
    let target = node.create_filled_tenants(tenants, "cold").await?;
    let room = NodeOptions {
        max_open_tenants: Some(tenants),
        ..NodeOptions::default()
    };
    node.restart(room).await?;
    let first = each_once(&node, &target).await?;
    let open = each_once(&node, &target).await?;
    let half = NodeOptions {
        max_open_tenants: Some(tenants.div_ceil(2)),
        ..NodeOptions::default()
    };
    node.restart(half).await?;
    each_once(&node, &target).await?;
    // Round and round, and room for half of them: whoever comes has been closed.
    let evicted = each_once(&node, &target).await?;
    node.stop().await?;
    let mut rows = vec![
        row("first request after the node's start", &first),
        row("first request after it was closed to make room", &evicted),
        row("a request to an open tenant", &open),
    ];
    if let Some(program) = &programs.baselines {
        let opened = open_each(program, &node.tenants_folder(), folder).await?;
        rows.push(row("SQLite in process: open, SELECT", &opened));
    }
    bench
        .report
        .heading(&format!("First request to each of {tenants} tenants"));
    bench
        .report
        .table(&["one connection", "count", "p50 ms", "p99 ms", "longest ms"], rows);
    Ok(())
}

async fn each_once(node: &Node, target: &Target) -> Result<Latencies> {
    let requests = Requests::one_select_each(target);
    let mut connection = Connection::open(node.address()).await?;
    let mut durations = Vec::with_capacity(requests.len());
    for place in 0..requests.len() {
        let request = requests.at(place).context("each tenant has a request")?;
        let start = Instant::now();
        connection.send(request).await?;
        durations.push(start.elapsed());
    }
    Ok(Latencies::of(durations))
}

fn row(name: &str, latencies: &Latencies) -> Vec<String> {
    vec![
        name.to_owned(),
        latencies.count().to_string(),
        short_millis(latencies.p50()),
        short_millis(latencies.p99()),
        short_millis(latencies.max()),
    ]
}
