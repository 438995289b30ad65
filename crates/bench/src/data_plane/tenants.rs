//! A hundred tenants at once, 64 connections that each go round all of them: reads and writes mixed, and writes alone.

use anyhow::Result;

use super::Bench;
use super::baseline::Server;
use super::contest::{Contest, Contestant, Way};
use super::in_process::{InProcess, Load};
use super::node::{Node, NodeOptions};
use super::requests::{Requests, Work};
use crate::report::progress;

const TENANTS: usize = 100;
const CONNECTIONS: usize = 64;

/// The same programs in all rounds.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let (programs, folder) = (&bench.programs, &bench.folder);
    let mut node = Node::start(programs, folder, NodeOptions::default()).await?;
    let target = node.create_filled_tenants(TENANTS, "many").await?;
    let mut servers = Vec::new();
    if let Some(program) = &programs.baselines {
        servers.push(("bare hyper", Server::bare_hyper(program, folder, &target.hosts).await?));
    }
    if let Some(program) = &programs.libsql {
        servers.push(("libsql-server", Server::libsql(program, folder, &target.hosts).await?));
    }
    let mut contests = Vec::new();
    for work in [Work::Mixed, Work::Insert] {
        let http = |pid, address, target| Way::Http {
            pids: vec![pid],
            address,
            requests: Requests::of(work, target),
        };
        let ours = http(node.pid()?, node.address(), &target);
        let mut contestants = vec![Contestant::new("tenant-node", ours)];
        for (name, server) in &servers {
            let way = http(server.pid()?, server.address(), server.target());
            contestants.push(Contestant::new(name, way));
        }
        if let Some(program) = &programs.baselines {
            let in_process = |load| Way::InProcess(InProcess::new(program, folder, load));
            let each = match work {
                Work::Mixed => Load::Mixed { databases: TENANTS },
                Work::Select | Work::Insert => Load::Insert { databases: TENANTS },
            };
            contestants.push(Contestant::new("SQLite, a commit each", in_process(each)));
            if work == Work::Insert {
                let together = in_process(Load::SyncedTogether { databases: TENANTS });
                contestants.push(Contestant::new("SQLite, 64 commits to one sync", together));
                let grouped = in_process(Load::GroupedInsert);
                contestants.push(Contestant::new("SQLite, one database, 64 rows a commit", grouped));
            }
        }
        contests.push(Contest::new(
            work.name().to_owned(),
            bench.plan.shape(CONNECTIONS),
            contestants,
        ));
    }
    for round in 0..bench.plan.rounds {
        progress(format_args!(
            "{TENANTS} tenants, round {} of {}",
            round + 1,
            bench.plan.rounds
        ));
        for contest in &mut contests {
            contest.measure(round).await?;
        }
    }
    bench
        .report
        .heading(&format!("{TENANTS} tenants, {CONNECTIONS} connections"));
    let rows = contests.iter().flat_map(Contest::rows).collect();
    bench.report.table(&Contest::HEADER, rows);
    Ok(())
}
