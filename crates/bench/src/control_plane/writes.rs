//! Acknowledged writes a second: one proposal of 256 bytes against one of etcd's, on the leader and through all members.

use anyhow::Result;

use super::Bench;
use super::comparison::{Aim, Comparison, Side};
use crate::load::{Keys, Shape};
use crate::operation::Operation;
use crate::report::progress;
use crate::subject::{Group, Timing};

/// Tenants that updates go round. Far more than clients, so that no two of them meet at one.
const UPDATED_TENANTS: u64 = 2_000;

/// One row of the table.
struct Step {
    clients: usize,
    aim: Aim,
    ours: Operation,
}

const STEPS: [Step; 6] = [
    Step {
        clients: 1,
        aim: Aim::Leader,
        ours: Operation::CreateTenant,
    },
    Step {
        clients: 64,
        aim: Aim::Leader,
        ours: Operation::CreateTenant,
    },
    Step {
        clients: 256,
        aim: Aim::Leader,
        ours: Operation::CreateTenant,
    },
    Step {
        clients: 64,
        aim: Aim::AllMembers,
        ours: Operation::CreateTenant,
    },
    Step {
        clients: 256,
        aim: Aim::AllMembers,
        ours: Operation::CreateTenant,
    },
    Step {
        clients: 64,
        aim: Aim::Leader,
        ours: Operation::UpdateTenant,
    },
];

/// New groups in every round, so that all rounds begin with the same: nothing.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let mut comparisons: Vec<Comparison> = STEPS
        .iter()
        .map(|step| {
            let verb = if step.ours == Operation::UpdateTenant {
                "update"
            } else {
                "create"
            };
            Comparison::new(format!("{verb}, {} clients, {}", step.clients, step.aim.name()))
        })
        .collect();
    for round in 0..bench.plan.rounds {
        progress(format_args!("writes, round {} of {}", round + 1, bench.plan.rounds));
        let mut ours = Group::start(&bench.ours, &bench.folder).await?;
        let mut baseline = match bench.baseline(Timing::LikeOurs) {
            Some(product) => Some(Group::start(&product, &bench.folder).await?),
            None => None,
        };
        // Across the steps, so that no name comes twice.
        let (our_keys, their_keys) = (Keys::fresh(), Keys::fresh());
        for (step, comparison) in STEPS.iter().zip(&mut comparisons) {
            let shape = Shape {
                clients: step.clients,
                warm_up: bench.plan.warm_up,
                length: bench.plan.length,
            };
            for side in Side::in_turn(round) {
                let (group, operation, keys) = match side {
                    Side::Ours if step.ours == Operation::UpdateTenant => {
                        (&mut ours, step.ours, Keys::cycle(UPDATED_TENANTS))
                    }
                    Side::Ours => (&mut ours, step.ours, our_keys.clone()),
                    Side::Baseline => match &mut baseline {
                        Some(group) => (group, Operation::EtcdPut, their_keys.clone()),
                        None => continue,
                    },
                };
                comparison
                    .measure(side, group, step.aim, operation, &keys, shape)
                    .await?;
            }
        }
    }
    bench.report.heading("Acknowledged writes");
    let rows = comparisons.iter().map(Comparison::row).collect();
    bench.report.table(&Comparison::HEADER, rows);
    Ok(())
}
