//! What must hold of the log and the table of conditions after every step.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_state::State;
use tenantry_types::{
    Cleared, Condition, EventDetail, EventOrigin, EventSequence, Incarnation, ReportSequence, TenantUid,
};

use super::report::Report;
use super::violation::Breach;

/// Follows the log.
#[derive(Debug, Default)]
pub(super) struct Judge {
    read: EventSequence,
    raised: BTreeSet<(TenantUid, Condition)>,
    seen: BTreeSet<(Incarnation, ReportSequence)>,
}

impl Judge {
    /// Reads what is new in the log.
    ///
    /// # Errors
    /// What it breaks.
    pub(super) fn read(&mut self, state: &State, report: &mut Report) -> Result<(), Breach> {
        for event in state.events_after(self.read) {
            self.read = event.sequence;
            if let EventOrigin::Node {
                incarnation, sequence, ..
            } = event.origin
                && sequence > ReportSequence::ZERO
                && !self.seen.insert((incarnation, sequence))
            {
                return Err(Breach::AppliedTwice { incarnation, sequence });
            }
            let Some((tenant, _)) = event.tenant else { continue };
            let (condition, news) = match &event.detail {
                EventDetail::Raised(figures) => {
                    report.raised += 1;
                    let condition = figures.condition();
                    (condition, self.raised.insert((tenant, condition)))
                }
                EventDetail::Cleared(cleared) => {
                    match cleared {
                        Cleared::Subsided(_) => report.cleared += 1,
                        Cleared::Ended(..) => report.ended += 1,
                    }
                    let condition = cleared.condition();
                    (condition, self.raised.remove(&(tenant, condition)))
                }
                _ => continue,
            };
            if !news {
                return Err(Breach::Repeated {
                    event: event.sequence,
                    tenant,
                    condition,
                });
            }
        }
        self.compare(state)
    }

    fn compare(&self, state: &State) -> Result<(), Breach> {
        let table: BTreeSet<_> = state
            .conditions()
            .map(|(tenant, condition, _)| (tenant, condition))
            .collect();
        match table.symmetric_difference(&self.raised).next() {
            None => Ok(()),
            Some((tenant, condition)) => Err(Breach::TableDiffers {
                tenant: *tenant,
                condition: *condition,
            }),
        }
    }

    /// The control plane begins another life: nothing is raised, and only what is in the log was seen.
    pub(super) fn begin_again(&mut self, state: &State) {
        self.read = state.last_event();
        self.raised.clear();
        let origins = state
            .events_after(EventSequence::ZERO)
            .map(|event| event.origin.clone());
        self.seen = origins
            .filter_map(|origin| match origin {
                EventOrigin::Node {
                    incarnation, sequence, ..
                } => Some((incarnation, sequence)),
                EventOrigin::ControlPlane { .. } => None,
            })
            .collect();
    }

    /// Whether the control plane says what is.
    ///
    /// # Errors
    /// The first condition of which it does not.
    pub(super) fn compare_with_truth(
        state: &State,
        truth: &BTreeMap<(TenantUid, Condition), bool>,
    ) -> Result<(), Breach> {
        for ((tenant, condition), raised) in truth {
            if state.condition(*tenant, *condition).is_some() != *raised {
                return Err(Breach::NotTheTruth {
                    tenant: *tenant,
                    condition: *condition,
                    truth: if *raised { "raised" } else { "not raised" },
                });
            }
        }
        Ok(())
    }
}
