//! The state with which a restored cluster begins its next life.
//!
//! After the snapshot was taken, the old life may have handed out revisions, placement epochs and event sequences that the
//! snapshot does not know. None of them may ever be handed out again for something else, so all three counters jump far
//! ahead. What is raised of tenants, and who led, is forgotten: nodes and members tell it anew. Everything else is as it was. Pure, so that every member comes to the same state from the same snapshot.

use std::sync::Arc;

use tenantry_types::{ClusterEpoch, DeadLetter, Epoch, Event, EventSequence, Placement, Revision, Tenant, Webhook};

use super::{ClusterInfo, Record, RestoreError, Restorer, State};

/// Why a state cannot begin another life.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewEpochError {
    /// Nothing has happened to the cluster yet.
    #[error("the cluster has no identity yet: there is nothing to restore")]
    NoCluster,
    /// The epoch must grow.
    #[error("the cluster is in epoch {current}; the next one must be higher than that, not {given}")]
    NotHigher {
        /// What the snapshot says.
        current: ClusterEpoch,
        /// What was asked for.
        given: ClusterEpoch,
    },
    /// The raised state is not one. Should be impossible.
    #[error("the state cannot be raised to a new epoch")]
    Inconsistent(#[from] RestoreError),
}

impl State {
    /// Revisions and event sequences that a restore skips, for each epoch that it raises the cluster by: half a year's
    /// worth at 270 changes a second.
    pub const SKIPPED_BY_RESTORE: u64 = 1 << 32;

    /// How far a restore into `epoch` raises revisions and event sequences.
    ///
    /// # Errors
    /// When `epoch` is not higher than the state's, or the state is of no cluster.
    pub fn skipped_by(&self, epoch: ClusterEpoch) -> Result<u64, NewEpochError> {
        let current = self.cluster.as_ref().ok_or(NewEpochError::NoCluster)?.epoch;
        if epoch <= current {
            return Err(NewEpochError::NotHigher { current, given: epoch });
        }
        Ok((epoch.get() - current.get()).saturating_mul(Self::SKIPPED_BY_RESTORE))
    }

    /// The same content in the life `epoch`, which begins at `revision`. Placement epochs and event sequences are raised,
    /// and with them those of every tenant and event; kept answers stay what was answered.
    ///
    /// # Errors
    /// When `epoch` is not higher than the state's, or the state is of no cluster.
    pub fn in_new_epoch(&self, epoch: ClusterEpoch, revision: Revision) -> Result<Self, NewEpochError> {
        let skipped = self.skipped_by(epoch)?;
        let cluster = self.cluster.ok_or(NewEpochError::NoCluster)?;
        let placements = epoch.placement_floor().get() - cluster.epoch.placement_floor().get();
        let mut restorer = Restorer::new();
        for record in self.records() {
            restorer.add(match record {
                Record::Head {
                    revision: _,
                    clock,
                    last_event,
                    cluster: _,
                    tiers,
                    reactions,
                } => Record::Head {
                    revision,
                    clock,
                    last_event: raised_event(last_event, skipped),
                    cluster: Some(ClusterInfo { epoch, ..cluster }),
                    tiers,
                    reactions,
                },
                Record::Tenant(tenant) => Record::Tenant(raised_placement(tenant, placements)),
                Record::Event(event) => Record::Event(Arc::new(Event {
                    sequence: raised_event(event.sequence, skipped),
                    ..Event::clone(&event)
                })),
                Record::Webhook(webhook) => Record::Webhook(Arc::new(Webhook {
                    done: raised_event(webhook.done, skipped),
                    ..Webhook::clone(&webhook)
                })),
                Record::DeadLetter(name, letter) => {
                    let letter = DeadLetter {
                        first: raised_event(letter.first, skipped),
                        last: raised_event(letter.last, skipped),
                        ..DeadLetter::clone(&letter)
                    };
                    Record::DeadLetter(name, Arc::new(letter))
                }
                // Nodes tell what is raised once they hear of the new life: what was cleared since the snapshot is not told again.
                Record::Condition(..) | Record::Move(..) => continue,
                // The new life has members of its own; that they are recorded for the first time says that it has begun.
                Record::Members(_) => continue,
                same @ (Record::Node(_)
                | Record::Cursor(..)
                | Record::Request(_)
                | Record::Key(_)
                | Record::Availability(..)) => same,
            })?;
        }
        Ok(restorer.finish()?)
    }
}

const fn raised_event(sequence: EventSequence, by: u64) -> EventSequence {
    EventSequence(sequence.0.saturating_add(by))
}

fn raised_placement(tenant: Arc<Tenant>, by: u64) -> Arc<Tenant> {
    match &tenant.placement {
        None => tenant,
        Some(placement) => Arc::new(Tenant {
            placement: Some(Placement {
                node: placement.node.clone(),
                epoch: Epoch(placement.epoch.get().saturating_add(by)),
            }),
            ..Tenant::clone(&tenant)
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_types::{MemberId, UnixMillis};

    use super::*;
    use crate::strategies::{every_command_once, histories, initialize, replay};
    use crate::{Command, Envelope, Rules, apply};

    /// Puts the counters back, so that what is left over can be compared as a whole.
    fn lowered(state: &State, from: &State) -> State {
        let cluster = from.cluster.unwrap();
        let placements = state.cluster.unwrap().epoch.placement_floor().get() - cluster.epoch.placement_floor().get();
        let skipped = state.last_event.get() - from.last_event.get();
        let mut restorer = Restorer::new();
        for record in state.records() {
            let record = match record {
                Record::Head {
                    clock,
                    last_event,
                    tiers,
                    reactions,
                    ..
                } => Record::Head {
                    revision: from.revision,
                    clock,
                    last_event: EventSequence(last_event.get() - skipped),
                    cluster: Some(cluster),
                    tiers,
                    reactions,
                },
                Record::Tenant(tenant) => {
                    let mut tenant = Tenant::clone(&tenant);
                    if let Some(placement) = &mut tenant.placement {
                        placement.epoch = Epoch(placement.epoch.get() - placements);
                    }
                    Record::Tenant(Arc::new(tenant))
                }
                Record::Event(event) => Record::Event(Arc::new(Event {
                    sequence: EventSequence(event.sequence.get() - skipped),
                    ..Event::clone(&event)
                })),
                Record::Webhook(webhook) => Record::Webhook(Arc::new(Webhook {
                    done: EventSequence(webhook.done.get() - skipped),
                    ..Webhook::clone(&webhook)
                })),
                Record::DeadLetter(name, letter) => {
                    let letter = DeadLetter {
                        first: EventSequence(letter.first.get() - skipped),
                        last: EventSequence(letter.last.get() - skipped),
                        ..DeadLetter::clone(&letter)
                    };
                    Record::DeadLetter(name, Arc::new(letter))
                }
                other => other,
            };
            restorer.add(record).unwrap();
        }
        restorer.finish().unwrap()
    }

    /// The state without what nodes and members tell anew.
    fn without_what_is_told_anew(state: &State) -> State {
        let mut restorer = Restorer::new();
        let told_anew =
            |record: &Record| matches!(record, Record::Condition(..) | Record::Move(..) | Record::Members(_));
        for record in state.records().filter(|record| !told_anew(record)) {
            restorer.add(record).unwrap();
        }
        restorer.finish().unwrap()
    }

    proptest! {
        #[test]
        fn only_the_epoch_and_the_raised_counters_differ(history in histories(0..60), raise in 1..5_u64) {
            let state = replay(&history);
            let epoch = ClusterEpoch(1 + raise);
            let revision = Revision(state.revision().get() + state.skipped_by(epoch).unwrap());
            let restored = state.in_new_epoch(epoch, revision).unwrap();
            prop_assert_eq!(restored.check(), Ok(()));
            prop_assert_eq!(restored.revision(), revision);
            prop_assert_eq!(restored.cluster().unwrap().epoch, epoch);
            prop_assert_ne!(restored.digest(), state.digest());
            let floor = epoch.placement_floor();
            let is_raised = |tenant: &Arc<Tenant>| tenant.placement.as_ref().is_none_or(|at| at.epoch > floor);
            prop_assert!(restored.tenants.values().all(is_raised));
            prop_assert_eq!(lowered(&restored, &state), without_what_is_told_anew(&state));
        }

        #[test]
        fn a_restored_cluster_answers_retries_as_before_and_goes_on(history in histories(0..60)) {
            let mut restored = replay(&history).in_new_epoch(ClusterEpoch(2), Revision(1 << 33)).unwrap();
            let kept = restored.clone();
            for envelope in history {
                let Some(request) = envelope.request else { continue };
                let Some(answer) = kept.answered(&request) else { continue };
                let next = restored.revision().next();
                prop_assert_eq!(apply(&mut restored, next, envelope).outcome, answer);
            }
        }
    }

    #[test]
    fn an_epoch_that_is_not_higher_is_refused() {
        let state = replay(&every_command_once());
        for given in [ClusterEpoch::ZERO, ClusterEpoch::FIRST] {
            let current = ClusterEpoch::FIRST;
            let refused = state.in_new_epoch(given, Revision(99)).unwrap_err();
            assert_eq!(refused, NewEpochError::NotHigher { current, given });
        }
        let nothing = State::new().in_new_epoch(ClusterEpoch(2), Revision(99)).unwrap_err();
        assert_eq!(nothing, NewEpochError::NoCluster);
    }

    /// A tenant that the snapshot does not know as placed may have been placed at any epoch of the old life.
    #[test]
    fn the_first_placement_after_a_restore_is_later_than_any_of_the_life_before() {
        let (node, uid) =
            every_command_once()
                .into_iter()
                .fold((None, None), |found, envelope| match envelope.command {
                    Command::RegisterNode {
                        id, incarnation, spec, ..
                    } => (Some((id, incarnation, spec)), found.1),
                    Command::CreateTenant { uid, name, spec, .. } => (found.0, Some((uid, name, spec))),
                    _ => found,
                });
        let ((id, incarnation, node_spec), (uid, name, spec)) = (node.unwrap(), uid.unwrap());
        let at = |now, command| Envelope {
            rules: Rules::default(),
            now: UnixMillis(now),
            proposed_by: MemberId::new(1).unwrap(),
            request: None,
            command,
        };
        let before = replay(&[
            at(1, initialize(1)),
            at(
                2,
                Command::RegisterNode {
                    id: id.clone(),
                    incarnation,
                    spec: node_spec,
                    record_since: None,
                },
            ),
            at(
                3,
                Command::CreateTenant {
                    uid,
                    name,
                    spec,
                    node: None,
                },
            ),
        ]);
        let mut restored = before.in_new_epoch(ClusterEpoch(3), Revision(1 << 34)).unwrap();
        let place = Command::PlaceTenant {
            uid,
            node: id,
            expected_epoch: Epoch::ZERO,
        };
        apply(&mut restored, Revision((1 << 34) + 1), at(4, place))
            .outcome
            .unwrap();
        let placement = restored.tenant(uid).unwrap().placement.clone().unwrap();
        assert_eq!(placement.epoch, Epoch(2 * ClusterEpoch::PLACEMENT_EPOCHS + 1));
    }
}
