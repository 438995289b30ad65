//! A neighbour's latencies right before and during each attack, in every round in another order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::answers::Answers;
use super::attack::Attack;
use super::attacker::Attacker;
use super::victim::{self, Seen};
use super::{Bench, attempts, tenants};
use crate::data_plane::node::{Node, NodeOptions};
use crate::data_plane::requests::Target;
use crate::latency::{Latencies, median, millis};
use crate::machine::{CoresTime, resident_bytes};
use crate::measured::short_millis;
use crate::report::progress;

const HEADER: [&str; 8] = [
    "attempt",
    "the hostile tenant is answered",
    "SELECT p50/p99 ms, quiet",
    "during",
    "p99 ratio (rounds)",
    "INSERT p99 ms, quiet → during",
    "p99 ratio (rounds)",
    "failed",
];
/// How often the node's memory is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_millis(50);
/// A round in which the machine's host kept more than this share of the processors to itself is measured again.
const MOST_STOLEN: f64 = 0.005;
/// So often at most.
const MOST_REPETITIONS: u32 = 3;
/// After an attack, for the node to end what was begun.
const CALM: Duration = Duration::from_millis(1_500);

/// One attack and what came of it.
struct Attempt {
    attack: Attack,
    answers: Answers,
    rounds: Vec<Round>,
    repeated: u32,
    /// Also in rounds that were measured again.
    failures: u64,
    peak_bytes: u64,
}

struct Round {
    quiet: Seen,
    during: Seen,
    /// Share of the processors' time, in the worse of the two.
    stolen: f64,
}

/// What was seen in one phase.
struct Phase {
    seen: Seen,
    peak_bytes: u64,
    /// Share of the processors' time that the machine's host had for others.
    stolen: f64,
}

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let mut node = Node::start(&bench.programs, &bench.folder, NodeOptions::default()).await?;
    let victim = node
        .create_filled(vec!["victim".to_owned()], &tenants::victim())
        .await?;
    let wanted = |attack: &Attack| {
        bench.attacks.is_empty() || bench.attacks.iter().any(|part| attack.name.contains(part.as_str()))
    };
    let mut attempts: Vec<Attempt> = attempts::all(|tenant| format!("{tenant}.localhost"))
        .into_iter()
        .filter(wanted)
        .map(|attack| Attempt {
            attack,
            answers: Answers::default(),
            rounds: Vec::new(),
            repeated: 0,
            failures: 0,
            peak_bytes: 0,
        })
        .collect();
    let names = attempts.iter().map(|attempt| Attack::tenant(attempt.attack.name));
    node.create_filled(names.collect(), &tenants::hostile()).await?;
    let (server, pid) = (node.address(), node.pid()?);
    for round in 0..bench.plan.rounds {
        let count = attempts.len();
        for place in 0..count {
            // A step that has no factor in common with most counts, so that each round has another order.
            let index = (place * (1 + 2 * round) + 5 * round) % count;
            let index = if count.is_multiple_of(1 + 2 * round) {
                (place + 5 * round) % count
            } else {
                index
            };
            let Some(attempt) = attempts.get_mut(index) else {
                continue;
            };
            progress(format_args!("round {}: {}", round + 1, attempt.attack.name));
            attempt.measure(bench, server, pid, &victim).await?;
        }
    }
    node.stop().await.context("the node did not survive its tenants")?;
    bench.report.heading("Hostile tenants and a well-behaved neighbour");
    bench.report.say(format_args!(
        "The neighbour sends {}; {} rounds of {:?}.\n",
        victim::DESCRIPTION,
        bench.plan.rounds,
        bench.plan.length
    ));
    bench.report.table(&HEADER, attempts.iter().map(Attempt::row).collect());
    let repeated: u32 = attempts.iter().map(|attempt| attempt.repeated).sum();
    let rounds = attempts.iter().flat_map(|attempt| &attempt.rounds);
    let most_stolen = rounds.map(|round| round.stolen).fold(0.0, f64::max);
    bench.report.say(format_args!(
        "\nRounds measured again, since the machine's host kept more than {} % of the processors' time to itself: {repeated}. In what is shown, at most {:.1} %.",
        100.0 * MOST_STOLEN,
        100.0 * most_stolen,
    ));
    let most = attempts.iter().max_by_key(|attempt| attempt.peak_bytes);
    if let Some(most) = most {
        bench.report.say(format_args!(
            "\nThe node's memory was at most {} MiB: {}.",
            most.peak_bytes >> 20,
            most.attack.name
        ));
    }
    Ok(())
}

impl Attempt {
    async fn measure(&mut self, bench: &Bench, server: SocketAddr, pid: u32, victim: &Target) -> Result<()> {
        let mut round = self.measure_once(bench, server, pid, victim).await?;
        for _ in 0..MOST_REPETITIONS {
            if round.stolen <= MOST_STOLEN {
                break;
            }
            self.repeated += 1;
            let again = self.measure_once(bench, server, pid, victim).await?;
            if again.stolen < round.stolen {
                round = again;
            }
        }
        self.rounds.push(round);
        Ok(())
    }

    async fn measure_once(&mut self, bench: &Bench, server: SocketAddr, pid: u32, victim: &Target) -> Result<Round> {
        let quiet = watched(server, pid, victim, bench.plan.length).await?;
        let attacker = Attacker::start(server, &self.attack)?;
        tokio::time::sleep(bench.plan.warm_up).await;
        let during = watched(server, pid, victim, bench.plan.length).await;
        self.answers.merge(attacker.stop().await?);
        let during = during?;
        self.peak_bytes = self.peak_bytes.max(during.peak_bytes);
        self.failures += during.seen.failures;
        tokio::time::sleep(CALM).await;
        Ok(Round {
            stolen: quiet.stolen.max(during.stolen),
            quiet: quiet.seen,
            during: during.seen,
        })
    }

    fn row(&self) -> Vec<String> {
        let quantiles = |of: &dyn Fn(&Round) -> &Latencies| {
            let median = |value: &dyn Fn(&Latencies) -> Duration| {
                let values = self.rounds.iter().map(|round| millis(value(of(round))));
                short_millis(Duration::from_secs_f64(median(&values.collect::<Vec<_>>()) / 1_000.0))
            };
            (median(&Latencies::p50), median(&Latencies::p99))
        };
        let (quiet, during) = (
            quantiles(&|round| &round.quiet.selects),
            quantiles(&|round| &round.during.selects),
        );
        let (quiet_inserts, inserts) = (
            quantiles(&|round| &round.quiet.inserts),
            quantiles(&|round| &round.during.inserts),
        );
        vec![
            match self.attack.connections {
                0 => self.attack.name.to_owned(),
                connections => format!("{} ({connections})", self.attack.name),
            },
            self.answers.summary(),
            format!("{} / {}", quiet.0, quiet.1),
            format!("{} / {}", during.0, during.1),
            self.ratios(|seen| &seen.selects),
            format!("{} → {}", quiet_inserts.1, inserts.1),
            self.ratios(|seen| &seen.inserts),
            self.failures.to_string(),
        ]
    }

    /// Of the 99th percentiles: the median of the rounds' ratios, and each round's.
    fn ratios(&self, of: fn(&Seen) -> &Latencies) -> String {
        let ratio = |round: &Round| millis(of(&round.during).p99()) / millis(of(&round.quiet).p99());
        let ratios: Vec<f64> = self.rounds.iter().map(ratio).collect();
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.1}")).collect();
        format!("**{:.1}** ({})", median(&ratios), each.join(" "))
    }
}

/// What the victim sees, and what the node and the machine do meanwhile.
async fn watched(server: SocketAddr, pid: u32, victim: &Target, length: Duration) -> Result<Phase> {
    let before = CoresTime::now();
    let (target, ended) = (victim.clone(), Arc::new(AtomicBool::new(false)));
    let end = Arc::clone(&ended);
    let asking = tokio::task::spawn_blocking(move || {
        let seen = victim::run(server, &target, length);
        end.store(true, Ordering::Release);
        seen
    });
    let mut peak = 0;
    while !ended.load(Ordering::Acquire) {
        peak = peak.max(resident_bytes(pid).context("the node is gone")?);
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
    let seen = asking.await.context("the victim panicked")??;
    Ok(Phase {
        seen,
        peak_bytes: peak,
        stolen: CoresTime::now().stolen_since(before),
    })
}
