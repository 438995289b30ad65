//! What all members agree to have committed: the commands in their order, what came of each, and the state after it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ::control_plane::codec;
use tenantry_state::{Command, Outcome};
use tenantry_types::{MemberId, RequestId, Revision};

use crate::control_plane::Breach;
use crate::control_plane::recorded::Observation;
use crate::control_plane::report::Report;

/// A command and what came of it.
#[derive(Debug)]
struct Applied {
    command: Vec<u8>,
    outcome: Outcome,
}

/// Where a member is in the history.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    revision: Revision,
    restoring: bool,
}

#[derive(Debug, Default)]
pub(super) struct Committed {
    history: BTreeMap<Revision, Applied>,
    digests: BTreeMap<Revision, u64>,
    /// The highest revision that any member has reached: what is committed below it is known.
    highest: Revision,
    positions: BTreeMap<MemberId, Position>,
    outcomes: BTreeMap<RequestId, Outcome>,
    /// Revisions at which a tenant was created, once per request.
    created: Vec<Revision>,
}

impl Committed {
    /// The last revision known to be committed.
    pub(super) const fn highest(&self) -> Revision {
        self.highest
    }

    /// What came of the command at `revision`, if there is one.
    pub(super) fn outcome(&self, revision: Revision) -> Option<&Outcome> {
        self.history.get(&revision).map(|applied| &applied.outcome)
    }

    /// How many tenants were created up to `revision`.
    pub(super) fn created_by(&self, revision: Revision) -> usize {
        self.created.iter().filter(|created| **created <= revision).count()
    }

    /// A member begins again from nothing.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.positions.remove(&member);
    }

    pub(super) fn observe(
        &mut self,
        member: MemberId,
        observation: Observation,
        report: &mut Report,
    ) -> Result<(), Breach> {
        let position = self.positions.get(&member).copied().unwrap_or_default();
        match observation {
            Observation::Restored => {
                let restoring = true;
                self.positions.insert(member, Position { restoring, ..position });
                Ok(())
            }
            Observation::Reached { revision, digest } => {
                let from = position.revision;
                // Between what was applied last and here there may be a leader's empty entries, but no command.
                if !position.restoring && (revision < from || self.commands_between(from, revision.next())) {
                    return Err(Breach::HistorySkipped {
                        member,
                        from,
                        to: revision,
                    });
                }
                self.highest = self.highest.max(revision);
                self.stand_at(member, revision);
                self.compare_digest(member, revision, digest)
            }
            Observation::Applied {
                revision,
                command,
                outcome,
                digest,
            } => {
                let from = position.revision;
                if revision <= from || self.commands_between(from, revision) {
                    return Err(Breach::HistorySkipped {
                        member,
                        from,
                        to: revision,
                    });
                }
                self.stand_at(member, revision);
                self.compare_command(member, revision, Applied { command, outcome }, report)?;
                self.compare_digest(member, revision, digest)
            }
        }
    }

    fn stand_at(&mut self, member: MemberId, revision: Revision) {
        let restoring = false;
        self.positions.insert(member, Position { revision, restoring });
    }

    /// Whether commands are known strictly between two revisions.
    fn commands_between(&self, after: Revision, before: Revision) -> bool {
        after.next() < before && self.history.range(after.next()..before).next().is_some()
    }

    fn compare_command(
        &mut self,
        member: MemberId,
        revision: Revision,
        committed: Applied,
        report: &mut Report,
    ) -> Result<(), Breach> {
        if let Some(known) = self.history.get(&revision) {
            if known.command == committed.command && known.outcome == committed.outcome {
                return Ok(());
            }
            return Err(Breach::HistoryChanged { member, revision });
        }
        if revision <= self.highest {
            // Others went past this revision without a command.
            return Err(Breach::HistoryChanged { member, revision });
        }
        self.count_request(revision, &committed, report)?;
        self.history.insert(revision, committed);
        Ok(())
    }

    fn count_request(&mut self, revision: Revision, committed: &Applied, report: &mut Report) -> Result<(), Breach> {
        let envelope = codec::decode_command(&committed.command).map_err(|error| Breach::Simulation {
            doing: "read a command that was applied",
            reason: error.to_string(),
        })?;
        match &committed.outcome {
            Ok(_) => report.accepted += 1,
            Err(_) => report.rejected += 1,
        }
        let Some(request) = envelope.request else {
            return Ok(());
        };
        match self.outcomes.entry(request.id) {
            Entry::Occupied(before) if *before.get() == committed.outcome => {
                report.repeats_applied += 1;
                Ok(())
            }
            Entry::Occupied(_) => Err(Breach::AppliedTwice {
                request: request.id,
                revision,
            }),
            Entry::Vacant(vacant) => {
                vacant.insert(committed.outcome.clone());
                if matches!(envelope.command, Command::CreateTenant { .. }) && committed.outcome.is_ok() {
                    self.created.push(revision);
                }
                Ok(())
            }
        }
    }

    pub(super) fn compare_digest(&mut self, member: MemberId, revision: Revision, found: u64) -> Result<(), Breach> {
        // A leader's empty entry changes no state.
        let same_state =
            self.digests.range(..=revision).next_back().filter(|(known, _)| {
                **known == revision || self.history.range(known.next()..=revision).next().is_none()
            });
        match same_state {
            Some((_, expected)) if *expected != found => Err(Breach::DigestsDiffer {
                member,
                revision,
                expected: *expected,
                found,
            }),
            Some(_) => Ok(()),
            None => {
                self.digests.insert(revision, found);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_state::{Envelope, Fingerprint, Rejection, Request, Rules};
    use tenantry_types::{TenantUid, UnixMillis};

    use super::*;

    fn member(id: u64) -> MemberId {
        MemberId::new(id).unwrap()
    }

    fn reached(revision: u64) -> Observation {
        Observation::Reached {
            revision: Revision(revision),
            digest: 1,
        }
    }

    fn applied(revision: u64, request: u128, outcome: Rejection) -> Observation {
        let command = Envelope {
            rules: Rules::default(),
            now: UnixMillis(1),
            proposed_by: member(1),
            request: Some(Request {
                id: RequestId::from_u128(request),
                fingerprint: Fingerprint(1),
            }),
            command: Command::UndeleteTenant {
                uid: TenantUid::from_u128(1),
            },
        };
        Observation::Applied {
            revision: Revision(revision),
            command: codec::encode_command(&command).unwrap().to_vec(),
            outcome: Err(outcome),
            digest: revision,
        }
    }

    #[test]
    fn a_member_that_goes_back_without_a_snapshot_is_found() {
        let (mut committed, mut report) = (Committed::default(), Report::default());
        committed.observe(member(1), reached(5), &mut report).unwrap();
        let back = committed.observe(member(1), reached(4), &mut report);
        assert!(matches!(back, Err(Breach::HistorySkipped { .. })), "{back:?}");
        committed
            .observe(member(1), Observation::Restored, &mut report)
            .unwrap();
        committed.observe(member(1), reached(4), &mut report).unwrap();
    }

    #[test]
    fn a_member_that_skips_a_command_is_found() {
        let (mut committed, mut report) = (Committed::default(), Report::default());
        let none = Rejection::NotInitialized;
        committed
            .observe(member(1), applied(2, 1, none.clone()), &mut report)
            .unwrap();
        committed
            .observe(member(1), applied(3, 2, none.clone()), &mut report)
            .unwrap();
        let skipped = committed.observe(member(2), applied(3, 2, none), &mut report);
        assert!(matches!(skipped, Err(Breach::HistorySkipped { .. })), "{skipped:?}");
    }

    #[test]
    fn another_command_or_another_outcome_at_one_revision_is_found() {
        let none = Rejection::NotInitialized;
        let other = Rejection::TenantNotFound {
            uid: TenantUid::from_u128(1),
        };
        for second in [applied(2, 2, none.clone()), applied(2, 1, other)] {
            let (mut committed, mut report) = (Committed::default(), Report::default());
            committed
                .observe(member(1), applied(2, 1, none.clone()), &mut report)
                .unwrap();
            let changed = committed.observe(member(2), second, &mut report);
            assert!(matches!(changed, Err(Breach::HistoryChanged { .. })), "{changed:?}");
        }
    }

    #[test]
    fn a_request_that_comes_out_differently_the_second_time_is_found() {
        let (mut committed, mut report) = (Committed::default(), Report::default());
        let none = Rejection::NotInitialized;
        let other = Rejection::TenantNotFound {
            uid: TenantUid::from_u128(1),
        };
        committed
            .observe(member(1), applied(2, 1, none.clone()), &mut report)
            .unwrap();
        committed.observe(member(1), applied(3, 1, none), &mut report).unwrap();
        assert_eq!(report.repeats_applied, 1);
        let twice = committed.observe(member(1), applied(4, 1, other), &mut report);
        assert!(matches!(twice, Err(Breach::AppliedTwice { .. })), "{twice:?}");
    }
}
