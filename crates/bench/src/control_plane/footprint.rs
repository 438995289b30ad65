//! Memory of a member per tenant, and how long a member with many tenants takes to be ready again.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use crate::latency::Latencies;
use crate::machine::resident_bytes;
use crate::measured::in_millis;
use crate::report::progress;
use crate::subject::MEMBERS;

const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// How a member goes down before it comes back.
#[derive(Debug, Clone, Copy)]
enum End {
    Asked,
    Killed,
}

/// Uses the group with many tenants.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let starts = bench.plan.rounds.max(3);
    let filled = bench.filled().await?;
    let (tenants, took) = (filled.tenants, filled.took);
    let leader = filled.group.leader().await?;
    let mut memory = Vec::new();
    for (index, (empty, full)) in filled.empty.iter().zip(&filled.full).enumerate() {
        memory.push(vec![
            if index == leader { "leader" } else { "follower" }.to_owned(),
            mebibytes(*empty),
            mebibytes(*full),
            per_tenant(*empty, *full, tenants),
        ]);
    }
    progress("restarts");
    let follower = (leader + 1) % MEMBERS;
    let mut restarts = Vec::new();
    for (name, end) in [("asked to stop", End::Asked), ("kill -9", End::Killed)] {
        let mut times = Vec::new();
        for _ in 0..starts {
            match end {
                End::Asked => filled.group.member(follower)?.stop(STOP_PATIENCE).await?,
                End::Killed => filled.group.member(follower)?.kill(),
            }
            let start = Instant::now();
            filled.group.member(follower)?.start()?;
            filled.group.wait_until_ready(follower).await?;
            times.push(start.elapsed());
            filled.group.leader().await?;
        }
        let times = Latencies::of(times);
        restarts.push(vec![
            name.to_owned(),
            times.count().to_string(),
            in_millis(times.p50()),
            in_millis(times.max()),
        ]);
    }
    let empty = filled.empty.get(follower).copied().unwrap_or_default();
    let restarted = resident_bytes(filled.group.member(follower)?.pid()?)?;
    memory.push(vec![
        "follower, restarted".to_owned(),
        mebibytes(empty),
        mebibytes(restarted),
        per_tenant(empty, restarted, tenants),
    ]);
    let report = &mut bench.report;
    report.heading(&format!("Footprint of {tenants} tenants"));
    report.say(format_args!(
        "created by 256 clients in {:.1} s, {:.0} /s\n",
        took.as_secs_f64(),
        float(tenants) / took.as_secs_f64()
    ));
    report.table(&["member", "RSS empty", "RSS filled", "per tenant"], memory);
    report.say("");
    report.table(&["start to ready, after", "starts", "median", "longest"], restarts);
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", float(bytes) / f64::from(1 << 20))
}

fn per_tenant(empty: u64, full: u64, tenants: u64) -> String {
    format!("{} B", full.saturating_sub(empty) / tenants.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}
