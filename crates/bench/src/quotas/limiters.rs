//! The same answer with and without limiters around it: all requests served, and all refused.

use anyhow::Result;

use super::Bench;
use super::servers::{Limit, Limited, Limiter, Setting};
use crate::data_plane::contest::{Contest, Contestant, Way, over_http};
use crate::machine::threads_time;
use crate::measured::{Measured, cells, cores, failures, micros, server_ratios};
use crate::report::progress;

const CONNECTIONS: usize = 64;
/// So many that none of them is refused often enough to be held back, and so few that Envoy's configuration is no longer
/// than an argument may be.
const MANY_TENANTS: u32 = 200;
/// Ours first, as the others' ratios are to it.
const ALL: [Limiter; 4] = [Limiter::Layers, Limiter::None, Limiter::Governor, Limiter::Envoy];
/// Bare hyper refuses nobody.
const REFUSING: [Limiter; 3] = [Limiter::Layers, Limiter::Governor, Limiter::Envoy];

/// Both with one tenant; what is refused with many, too.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    served(bench).await?;
    let mut rows = Vec::new();
    for tenants in [1, MANY_TENANTS] {
        rows.extend(refused(bench, tenants).await?);
    }
    bench.report.heading("All requests beyond the tenants' limits");
    bench.report.table(&HEADER, rows);
    bench.report.say(
        "\nProcessor times are the servers' alone. The layers hold refusals back, to a thousand a second for each tenant: with one \
         tenant their rate is no measure, and a call's time is that of a process that mostly sleeps.",
    );
    Ok(())
}

async fn served(bench: &mut Bench) -> Result<()> {
    let servers = start(bench, &ALL, Limit::Generous, 1).await?;
    let mut contestants = Vec::new();
    for server in &servers {
        let way = Way::Http {
            pids: server.pids()?,
            address: server.address(),
            requests: server.requests(),
        };
        contestants.push(Contestant::new(server.limiter.name(), way));
    }
    let shape = bench.plan.shape(CONNECTIONS);
    let mut contest = Contest::new(format!("{CONNECTIONS} connections"), shape, contestants);
    for round in 0..bench.plan.rounds {
        tell(bench, "served", round);
        contest.measure(round).await?;
    }
    bench.report.heading("All requests of one tenant within its limits");
    bench.report.table(&Contest::HEADER, contest.rows());
    Ok(())
}

/// One limiter under one limit.
struct Side {
    limit: Limit,
    server: Limited,
    rounds: Vec<Measured>,
}

/// What a refusal costs beside an answer, both measured in the same way.
async fn refused(bench: &Bench, tenants: u32) -> Result<Vec<Vec<String>>> {
    let mut sides = Vec::new();
    for limit in [Limit::Generous, Limit::NoneLeft] {
        for server in start(bench, &REFUSING, limit, tenants).await? {
            sides.push(Side {
                limit,
                server,
                rounds: Vec::new(),
            });
        }
    }
    let shape = bench.plan.shape(CONNECTIONS);
    let count = sides.len();
    for round in 0..bench.plan.rounds {
        tell(bench, &format!("refused, {tenants} tenants"), round);
        for place in 0..count {
            let Some(side) = sides.get_mut((place + round) % count) else {
                continue;
            };
            let requests = match side.limit {
                Limit::Generous => side.server.requests(),
                Limit::NoneLeft => side.server.requests().refused(),
            };
            let (pids, address) = (side.server.pids()?, side.server.address());
            let measured = over_http(threads_time, &pids, address, &requests, shape).await?;
            side.rounds.push(measured);
        }
    }
    Ok(rows(&sides, tenants))
}

/// "refused/served": what a refusal costs of what a served request does, by the servers' processor time. "cores": what the
/// refusals take of the machine.
const HEADER: [&str; 8] = [
    "tenants",
    "limiter",
    "served, CPU µs",
    "refused, CPU µs",
    "refused/served (rounds)",
    "refused /s",
    "cores",
    "failed",
];

fn rows(sides: &[Side], tenants: u32) -> Vec<Vec<String>> {
    let rounds = |limiter: Limiter, limit: Limit| {
        let of = |side: &&Side| side.server.limiter == limiter && side.limit == limit;
        sides.iter().find(of).map(|side| side.rounds.as_slice())
    };
    let row = |limiter: Limiter| {
        let (served, refused) = (rounds(limiter, Limit::Generous)?, rounds(limiter, Limit::NoneLeft)?);
        let [rate, ..] = cells(refused);
        let failed = failures(served) + failures(refused);
        Some(vec![
            tenants.to_string(),
            limiter.name().to_owned(),
            micros(served),
            micros(refused),
            server_ratios(refused, served),
            rate,
            cores(refused),
            failed.to_string(),
        ])
    };
    REFUSING.into_iter().filter_map(row).collect()
}

/// Those of the limiters that there are on this machine.
async fn start(bench: &Bench, limiters: &[Limiter], limit: Limit, tenants: u32) -> Result<Vec<Limited>> {
    let setting = Setting {
        folder: &bench.folder,
        baselines: &bench.baselines,
        envoy: bench.envoy.as_deref(),
        tenants,
    };
    let mut running = Vec::new();
    for limiter in limiters {
        running.extend(Limited::start(*limiter, limit, &setting).await?);
    }
    Ok(running)
}

fn tell(bench: &Bench, what: &str, round: usize) {
    progress(format_args!(
        "limiters, {what}, round {} of {}",
        round + 1,
        bench.plan.rounds
    ));
}
