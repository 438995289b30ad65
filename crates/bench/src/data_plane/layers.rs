//! The node's connections and layers around an empty handler, each kind beside bare hyper that gives the same answer.

use anyhow::Result;

use super::Bench;
use super::baseline::{Around, Server};
use super::contest::{Contest, Contestant, Way};
use super::requests::{Requests, Work};
use crate::report::progress;

const CONNECTIONS: [usize; 2] = [16, 64];

/// Nothing to do without the program of the baselines, which both sides are.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let Some(program) = &bench.programs.baselines else {
        return Ok(());
    };
    let hosts = ["t-0.localhost".to_owned()];
    let bare_hyper = Server::bare_hyper(program, &bench.folder, &hosts).await?;
    let mut servers = Vec::new();
    for around in Around::ALL {
        servers.push((around, Server::layers(program, &bench.folder, around).await?));
    }
    let mut contests = Vec::new();
    for clients in CONNECTIONS {
        for (around, server) in &servers {
            let way = |server: &Server| -> Result<Way> {
                Ok(Way::Http {
                    pids: vec![server.pid()?],
                    address: server.address(),
                    requests: Requests::of(Work::Select, server.target()),
                })
            };
            let contestants = vec![
                Contestant::new(around.name(), way(server)?),
                Contestant::new("bare hyper", way(&bare_hyper)?),
            ];
            let name = format!("{clients} connections");
            contests.push(Contest::new(name, bench.plan.shape(clients), contestants));
        }
    }
    for round in 0..bench.plan.rounds {
        progress(format_args!("layers, round {} of {}", round + 1, bench.plan.rounds));
        for contest in &mut contests {
            contest.measure(round).await?;
        }
    }
    bench.report.heading("The node's layers around an empty handler");
    let rows = contests.iter().flat_map(Contest::rows).collect();
    bench.report.table(&Contest::HEADER, rows);
    Ok(())
}
