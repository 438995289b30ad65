//! Who gets how much when one tenant has 500 connections and its neighbour 8, both as fast as they are answered.

use std::net::SocketAddr;

use anyhow::Result;
use tenantry_proto::v1;

use super::{Bench, Plan, tenants};
use crate::data_plane::client;
use crate::data_plane::node::{Node, NodeOptions};
use crate::data_plane::requests::{Requests, Target, Work};
use crate::latency::{median, millis};
use crate::load::{Sample, Shape};
use crate::measured::short_millis;
use crate::report::progress;

const MANY: usize = 500;
const FEW: usize = 8;
const HEADER: [&str; 8] = [
    "load",
    "crowd (500)",
    "victim (8)",
    "crowd /s",
    "victim /s",
    "victim p99 ms",
    "victim alone /s, p99 ms",
    "victim's share of all requests (rounds)",
];

/// What both sides ask.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// One row by its key.
    Point,
    /// A look at all 10,000 rows: about a millisecond.
    Scan,
}

impl Asked {
    const fn name(self) -> &'static str {
        match self {
            Self::Point => "point SELECTs",
            Self::Scan => "queries of about 1 ms",
        }
    }

    fn requests(self, target: &Target) -> Requests {
        let host = target.hosts.first().map(String::as_str).unwrap_or_default();
        match self {
            Self::Point => Requests::of(Work::Select, target),
            Self::Scan => Requests::statement(host, "select sum(length(name)) from items", "\"value\":\"130000\""),
        }
    }
}

struct Contest {
    asked: Asked,
    /// Tiers of the crowd and of the victim.
    tiers: (v1::Tier, v1::Tier),
    rounds: Vec<Round>,
}

struct Round {
    alone: Sample,
    crowd: Sample,
    victim: Sample,
}

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let mut node = Node::start(&bench.programs, &bench.folder, NodeOptions::default()).await?;
    let (micro, enterprise) = (v1::Tier::Micro, v1::Tier::Enterprise);
    let mut contests = Vec::new();
    for asked in [Asked::Point, Asked::Scan] {
        for tiers in [(micro, micro), (micro, enterprise), (enterprise, micro)] {
            contests.push(Contest {
                asked,
                tiers,
                rounds: Vec::new(),
            });
        }
    }
    let mut targets = Vec::new();
    for (side, tier) in [
        ("crowd", micro),
        ("crowd", enterprise),
        ("victim", micro),
        ("victim", enterprise),
    ] {
        let name = format!("{side}-{}", short_name(tier));
        let spec = tenants::of_tier(tier, roomy());
        targets.push(((side, tier), node.create_filled(vec![name], &spec).await?));
    }
    let target = |side: &str, tier: v1::Tier| {
        targets
            .iter()
            .find(|(key, _)| *key == (side, tier))
            .map(|(_, target)| target)
    };
    for round in 0..bench.plan.rounds {
        for contest in &mut contests {
            progress(format_args!("fairness, round {}: {}", round + 1, contest.asked.name()));
            if let (Some(crowd), Some(victim)) = (target("crowd", contest.tiers.0), target("victim", contest.tiers.1)) {
                contest.measure(bench.plan, node.address(), crowd, victim).await?;
            }
        }
    }
    node.stop().await?;
    bench
        .report
        .heading("Fairness: 500 connections of one tenant, 8 of another");
    bench.report.table(&HEADER, contests.iter().map(Contest::row).collect());
    Ok(())
}

impl Contest {
    async fn measure(&mut self, plan: Plan, server: SocketAddr, crowd: &Target, victim: &Target) -> Result<()> {
        let shape = |clients, warm_up| Shape {
            clients,
            warm_up,
            length: plan.length,
        };
        let (crowd, victim) = (self.asked.requests(crowd), self.asked.requests(victim));
        let alone = client::run(server, &victim, shape(FEW, plan.warm_up)).await?;
        // Each side has a thread of its own.
        let (crowd, victim) = tokio::join!(
            client::run(server, &crowd, shape(MANY, 2 * plan.warm_up)),
            client::run(server, &victim, shape(FEW, 2 * plan.warm_up)),
        );
        self.rounds.push(Round {
            alone,
            crowd: crowd?,
            victim: victim?,
        });
        Ok(())
    }

    fn row(&self) -> Vec<String> {
        let of = |value: &dyn Fn(&Round) -> f64| median(&self.rounds.iter().map(value).collect::<Vec<_>>());
        let p99 = |sample: fn(&Round) -> &Sample| {
            let value = of(&|round| millis(sample(round).latencies.p99()));
            short_millis(std::time::Duration::from_secs_f64(value / 1_000.0))
        };
        let share = |round: &Round| {
            100.0 * round.victim.per_second / (round.victim.per_second + round.crowd.per_second).max(1e-9)
        };
        let each: Vec<String> = self.rounds.iter().map(|round| format!("{:.0}", share(round))).collect();
        vec![
            self.asked.name().to_owned(),
            short_name(self.tiers.0),
            short_name(self.tiers.1),
            format!("{:.0}", of(&|round| round.crowd.per_second)),
            format!("{:.0}", of(&|round| round.victim.per_second)),
            p99(|round| &round.victim),
            format!(
                "{:.0}, {}",
                of(&|round| round.alone.per_second),
                p99(|round| &round.alone)
            ),
            format!("**{:.0} %** ({})", of(&share), each.join(" ")),
        ]
    }
}

/// Only the weight is to matter: nobody is refused.
fn roomy() -> v1::QuotaOverrides {
    v1::QuotaOverrides {
        concurrent_requests: Some(1_000),
        database_bytes: Some(1 << 30),
        query_time_ms: Some(30_000),
        memory_bytes: Some(1 << 30),
        ..v1::QuotaOverrides::default()
    }
}

fn short_name(tier: v1::Tier) -> String {
    tier.as_str_name().trim_start_matches("TIER_").to_ascii_lowercase()
}
