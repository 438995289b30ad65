//! Once per sample period: looks at the tenants whose turn it is, publishes their figures, and hands what changes to the
//! outbox.
//!
//! `busiest`, `attention` and `round` say who is looked at and what is found; here it is run, without a wait on anybody: while
//! one round's changes are under way to the disk, or when they do not get through, the next round finds them again.

mod attention;
mod busiest;
mod round;

use std::sync::Arc;
use std::time::Duration;

use tenantry_layers::quota::RequestLimits;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use busiest::Busiest;
pub use round::{Accepted, Proposal, Round, RoundOptions, Rounds};

use crate::events::{Outbox, Receipt};
use crate::latest_usage::LatestUsage;
use crate::metrics::{Exposition, NodeFigures};
use crate::usage::UsageReader;

/// Quotas of tenants that were quiet for this long are written and forgotten. Nothing is counted any more by then, so that a sample needs
/// no ledger: 24 hours, and a bucket.
const QUOTA_QUIET: Duration = Duration::from_secs(24 * 60 * 60 + 150);
/// How often such tenants are looked for. All that are in memory are asked, so not in every round.
const QUOTA_LOOK: Duration = Duration::from_secs(60);
/// Ledgers that are read before a round, of tenants that an earlier process left something of.
const LEDGERS_AT_ONCE: usize = 100;

/// What the sampler works with.
pub struct Sampler {
    /// Reads the figures.
    pub reader: UsageReader,
    /// Shows them at `/metrics`.
    pub exposition: Arc<Exposition>,
    /// Takes what changes.
    pub outbox: Arc<Outbox>,
    /// Takes the figures for the heartbeat.
    pub latest: LatestUsage,
    /// How often.
    pub interval: Duration,
}

/// A batch on its way to the disk, and what holds when it is there.
type UnderWay = Option<(Receipt, Accepted)>;

impl Sampler {
    /// Samples until `stop`.
    pub async fn run(self, mut rounds: Rounds, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        // After a stall the next period starts now; a burst of samples would look like a burst of load.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut under_way = None;
        let mut next_look = Instant::now() + QUOTA_LOOK;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = settled(&mut under_way) => {
                    if let Some(accepted) = accepted {
                        rounds.accept(&accepted);
                    }
                    continue;
                }
                _ = ticks.tick() => {}
            }
            self.follow(&mut rounds).await;
            let Some(after) = self.round(rounds, &mut under_way).await else {
                return;
            };
            rounds = after;
            if Instant::now() >= next_look {
                next_look = Instant::now() + QUOTA_LOOK;
                self.reader.quotas.forget_idle(QUOTA_QUIET).await;
            }
        }
    }

    /// Reads the ledgers of tenants that are to be followed from an earlier process on: without them they would look as if they
    /// had had no requests.
    async fn follow(&self, rounds: &mut Rounds) {
        for route in rounds.to_follow(LEDGERS_AT_ONCE) {
            let limits = RequestLimits::from(&route.quota);
            match self.reader.quotas.standing(route.uid, &limits).await {
                Ok(_) => rounds.follow(&route),
                Err(error) => {
                    tracing::warn!(tenant = %route.name, %error, "a tenant's ledger cannot be read; it is followed later");
                }
            }
        }
    }

    /// One round; gives back what is remembered for the next one.
    async fn round(&self, mut rounds: Rounds, under_way: &mut UnderWay) -> Option<Rounds> {
        let sampling = tokio::task::spawn_blocking(move || {
            let round = rounds.round();
            (rounds, round)
        });
        let (rounds, round) = match sampling.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a round of samples panicked; nothing is sampled any more");
                return None;
            }
        };
        if round.control_plane_restored {
            self.outbox.tell_raised_again();
        }
        if under_way.is_none() {
            *under_way = self.hand_over(round.proposal);
        }
        self.latest
            .update(round.samples.iter().map(|sample| sample.usage.clone()), &round.gone);
        let open = self.reader.databases.open_tenants().len() as u64;
        let figures = NodeFigures {
            sampled_tenants: round.samples.len() as u64,
            sampling: round.took,
            ..NodeFigures::gather(open, &self.reader.meters, &self.reader.quotas)
        };
        let exposition = Arc::clone(&self.exposition);
        let publishing = tokio::task::spawn_blocking(move || exposition.publish(&figures, &round.samples, &round.gone));
        if let Err(error) = publishing.await {
            tracing::error!(%error, "publishing the figures panicked");
        }
        Some(rounds)
    }

    fn hand_over(&self, proposal: Proposal) -> UnderWay {
        let Proposal { batch, then } = proposal;
        if batch.is_empty() {
            return None;
        }
        let events = batch.events.len();
        let receipt = self.outbox.try_append(batch);
        if receipt.is_none() {
            metrics::counter!("tenantry_node_event_batches_deferred_total").increment(1);
            tracing::warn!(events, "the outbox is behind; the next round finds this again");
        }
        receipt.map(|receipt| (receipt, then))
    }
}

/// What holds from now on, once a batch that is under way is on disk; `None` if it did not get there.
async fn settled(under_way: &mut UnderWay) -> Option<Accepted> {
    let Some((receipt, _)) = under_way else {
        return std::future::pending().await;
    };
    let written = receipt.written().await;
    let (_, accepted) = under_way.take()?;
    written.then_some(accepted)
}
