//! One kind of load on the node and on every baseline, in turn, in every round; and the rows of the report.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::client;
use super::in_process::InProcess;
use super::requests::Requests;
use crate::load::Shape;
use crate::machine::processor_time;
use crate::measured::{Measured, cells, failures, processor_ratios, ratios};

/// Who is measured, under one load.
pub(crate) struct Contestant {
    name: &'static str,
    way: Way,
    rounds: Vec<Measured>,
}

/// How it is asked.
pub(crate) enum Way {
    /// Over HTTP; the processes are all that work on the answer.
    Http {
        pids: Vec<u32>,
        address: SocketAddr,
        requests: Requests,
    },
    /// By itself: a process that makes its calls without a client.
    InProcess(InProcess),
}

impl Contestant {
    pub(crate) const fn new(name: &'static str, way: Way) -> Self {
        Self {
            name,
            way,
            rounds: Vec::new(),
        }
    }

    async fn measure(&mut self, shape: Shape) -> Result<()> {
        let measured = match &self.way {
            Way::Http {
                pids,
                address,
                requests,
            } => over_http(processor_time, pids, *address, requests, shape).await?,
            Way::InProcess(in_process) => in_process.run(shape).await?,
        };
        self.rounds.push(measured);
        Ok(())
    }
}

/// Lets the load's connections ask one server, whose processor time `used` tells.
///
/// # Errors
/// When more requests fail than succeed.
pub(crate) async fn over_http(
    used: fn(u32) -> Result<Duration>,
    pids: &[u32],
    address: SocketAddr,
    requests: &Requests,
    shape: Shape,
) -> Result<Measured> {
    let servers = || pids.iter().map(|pid| used(*pid)).sum::<Result<Duration>>();
    let (before, this) = (servers()?, std::process::id());
    let client = processor_time(this)?;
    let sample = client::run(address, requests, shape).await?;
    Ok(Measured {
        sample,
        servers: servers()?.saturating_sub(before),
        client: processor_time(this)?.saturating_sub(client),
    })
}

/// One load: the node first, then its baselines.
pub(crate) struct Contest {
    name: String,
    shape: Shape,
    contestants: Vec<Contestant>,
}

impl Contest {
    /// "CPU µs": processor time for one call, of the server and of the client, in microseconds. "by CPU": the
    /// ratio that these come to, which other work on the machine blurs least.
    pub(crate) const HEADER: [&str; 9] = [
        "load",
        "server",
        "/s",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "ours/this (rounds)",
        "by CPU (rounds)",
        "failed",
    ];

    /// `contestants` begin with ours.
    pub(crate) const fn new(name: String, shape: Shape, contestants: Vec<Contestant>) -> Self {
        Self {
            name,
            shape,
            contestants,
        }
    }

    /// Measures all, beginning with another one each round.
    ///
    /// # Errors
    /// When one fails under the load.
    pub(crate) async fn measure(&mut self, round: usize) -> Result<()> {
        let count = self.contestants.len();
        for place in 0..count {
            if let Some(contestant) = self.contestants.get_mut((place + round) % count) {
                contestant.measure(self.shape).await?;
            }
        }
        Ok(())
    }

    /// A row under [`Contest::HEADER`] for each contestant.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let ours = self.contestants.first().map(|first| first.rounds.as_slice());
        let row = |(place, contestant): (usize, &Contestant)| {
            let mut row = vec![self.name.clone(), contestant.name.to_owned()];
            row.extend(cells(&contestant.rounds));
            let [rates, processor] = match (place, ours) {
                (0, _) | (_, None) => [String::new(), String::new()],
                (_, Some(ours)) => [
                    ratios(ours, &contestant.rounds),
                    processor_ratios(ours, &contestant.rounds),
                ],
            };
            row.extend([rates, processor]);
            row.push(failures(&contestant.rounds).to_string());
            row
        };
        self.contestants.iter().enumerate().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::requests::{AnswerKind, Target, Work};
    use crate::measured::tests::measured;

    #[test]
    fn the_first_has_no_ratio_and_the_others_have_one_to_it() {
        let target = Target {
            hosts: vec!["a.localhost".to_owned()],
            headers: String::new(),
            answer: AnswerKind::Real,
        };
        let contestant = |name, rate| Contestant {
            name,
            way: Way::Http {
                pids: vec![1],
                address: ([127, 0, 0, 1], 1).into(),
                requests: Requests::of(Work::Select, &target),
            },
            rounds: vec![measured(rate)],
        };
        let shape = Shape {
            clients: 1,
            warm_up: Duration::ZERO,
            length: Duration::ZERO,
        };
        let contest = Contest::new(
            "x".to_owned(),
            shape,
            vec![contestant("ours", 20.0), contestant("it", 40.0)],
        );
        let rows = contest.rows();
        let ratios: Vec<&str> = rows.iter().filter_map(|row| row.get(6)).map(String::as_str).collect();
        assert_eq!(ratios, ["", "**0.50** (0.50)"]);
        assert!(rows.iter().all(|row| row.len() == Contest::HEADER.len()), "{rows:?}");
    }
}
