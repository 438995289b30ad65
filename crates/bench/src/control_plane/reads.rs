//! Linearizable reads a second: one tenant by name against one of etcd's keys.

use anyhow::Result;

use super::Bench;
use super::comparison::{Aim, Comparison, Side};
use crate::load::{self, Keys, Shape};
use crate::operation::Operation;
use crate::report::progress;
use crate::subject::{Group, Timing};

const KEYS: u64 = 2_000;
const CLIENTS: usize = 64;

/// On the leader, and through all members.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    progress("reads");
    let mut ours = Group::start(&bench.ours, &bench.folder).await?;
    let channels = load::connect(ours.endpoints()).await?;
    load::fill(Operation::CreateTenant, &channels, 0..KEYS, CLIENTS).await?;
    let mut baseline = match bench.baseline(Timing::LikeOurs) {
        Some(product) => {
            let group = Group::start(&product, &bench.folder).await?;
            let channels = load::connect(group.endpoints()).await?;
            load::fill(Operation::EtcdPut, &channels, 0..KEYS, CLIENTS).await?;
            Some(group)
        }
        None => None,
    };
    let aims = [Aim::Leader, Aim::AllMembers];
    let mut comparisons = aims.map(|aim| Comparison::new(format!("read, {CLIENTS} clients, {}", aim.name())));
    for round in 0..bench.plan.rounds {
        for (aim, comparison) in aims.iter().zip(&mut comparisons) {
            for side in Side::in_turn(round) {
                let (group, operation) = match side {
                    Side::Ours => (&mut ours, Operation::GetTenant),
                    Side::Baseline => match &mut baseline {
                        Some(group) => (group, Operation::EtcdRange),
                        None => continue,
                    },
                };
                let shape = Shape {
                    clients: CLIENTS,
                    warm_up: bench.plan.warm_up,
                    length: bench.plan.length,
                };
                let keys = Keys::cycle(KEYS);
                comparison.measure(side, group, *aim, operation, &keys, shape).await?;
            }
        }
    }
    bench.report.heading("Linearizable reads");
    let rows = comparisons.iter().map(Comparison::row).collect();
    bench.report.table(&Comparison::HEADER, rows);
    Ok(())
}
