//! One tenant: point SELECTs and durable INSERTs of one row, at 1, 16 and 64 connections unless others are asked for.

use anyhow::Result;

use super::Bench;
use super::baseline::Server;
use super::contest::{Contest, Contestant, Way};
use super::in_process::{InProcess, Load};
use super::node::{Node, NodeOptions};
use super::requests::{Requests, Work};
use crate::report::progress;

/// The same programs in all rounds; the INSERTs' table grows meanwhile, which a b-tree hardly shows.
pub(super) async fn run(bench: &mut Bench, work: Work) -> Result<()> {
    let (programs, folder) = (&bench.programs, &bench.folder);
    let mut node = Node::start(programs, folder, NodeOptions::default()).await?;
    let target = node.create_filled_tenants(1, "one").await?;
    let mut servers = Vec::new();
    if let Some(program) = &programs.baselines {
        servers.push(("bare hyper", Server::bare_hyper(program, folder, &target.hosts).await?));
    }
    if let Some(program) = &programs.libsql {
        servers.push(("libsql-server", Server::libsql(program, folder, &target.hosts).await?));
    }
    let mut contests = Vec::new();
    for &clients in &bench.connections {
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
            for (name, load) in in_process(work, clients) {
                let way = Way::InProcess(InProcess::new(program, folder, load));
                contestants.push(Contestant::new(name, way));
            }
        }
        let name = format!("{}, {clients} connections", work.name());
        contests.push(Contest::new(name, bench.plan.shape(clients), contestants));
    }
    for round in 0..bench.plan.rounds {
        progress(format_args!(
            "{}, round {} of {}",
            work.name(),
            round + 1,
            bench.plan.rounds
        ));
        for contest in &mut contests {
            contest.measure(round).await?;
        }
    }
    bench.report.heading(match work {
        Work::Select => "Point SELECT by primary key, one tenant",
        Work::Insert => "Durable INSERT of one row, one tenant",
        Work::Mixed => "SELECT and INSERT, one tenant",
    });
    let rows = contests.iter().flat_map(Contest::rows).collect();
    bench.report.table(&Contest::HEADER, rows);
    Ok(())
}

fn in_process(work: Work, clients: usize) -> Vec<(&'static str, Load)> {
    match work {
        Work::Select => vec![("SQLite in process", Load::Select)],
        Work::Insert if clients == 1 => vec![("SQLite, a commit each", Load::Insert { databases: 1 })],
        Work::Insert => vec![
            ("SQLite, a commit each", Load::Insert { databases: 1 }),
            ("SQLite, a row a connection in one commit", Load::GroupedInsert),
        ],
        Work::Mixed => vec![("SQLite, a commit each", Load::Mixed { databases: 1 })],
    }
}
