//! Watches everything that the members do, and knows what they have promised. Never influences them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ::control_plane::codec;
use ::control_plane::machine::Published;
use tenantry_state::{Answer, Command, Outcome, Request, State};
use tenantry_types::{MemberId, RequestId, Revision};

use super::Breach;
use super::recorded::Observation;
use super::report::Report;

/// What all members agree to have committed at a revision.
#[derive(Debug)]
struct Committed {
    command: Vec<u8>,
    outcome: Outcome,
}

/// What a client was told.
#[derive(Debug)]
struct Acknowledged {
    request: Request,
    outcome: Outcome,
    revision: Revision,
}

/// Where a member is in the history.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    revision: Revision,
    restoring: bool,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    leaders: BTreeMap<u64, MemberId>,
    history: BTreeMap<Revision, Committed>,
    digests: BTreeMap<Revision, u64>,
    /// The highest revision that any member has reached: what is committed below it is known.
    highest: Revision,
    positions: BTreeMap<MemberId, Position>,
    outcomes: BTreeMap<RequestId, Outcome>,
    acknowledged: Vec<Acknowledged>,
    /// Revisions at which a tenant was created, once per request.
    created: Vec<Revision>,
}

impl Checker {
    pub(super) fn leads(&mut self, member: MemberId, term: u64, report: &mut Report) -> Result<(), Breach> {
        match self.leaders.entry(term) {
            Entry::Vacant(vacant) => {
                vacant.insert(member);
                report.elections += 1;
                Ok(())
            }
            Entry::Occupied(first) if *first.get() == member => Ok(()),
            Entry::Occupied(first) => Err(Breach::TwoLeaders {
                term,
                first: *first.get(),
                second: member,
            }),
        }
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
                self.compare_command(member, revision, Committed { command, outcome }, report)?;
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
        committed: Committed,
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

    fn count_request(&mut self, revision: Revision, committed: &Committed, report: &mut Report) -> Result<(), Breach> {
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

    fn compare_digest(&mut self, member: MemberId, revision: Revision, found: u64) -> Result<(), Breach> {
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

    /// Notes that a client was told `outcome`.
    pub(super) fn acknowledge(
        &mut self,
        member: MemberId,
        request: Request,
        outcome: Outcome,
        revision: Revision,
    ) -> Result<(), Breach> {
        if self
            .history
            .get(&revision)
            .is_none_or(|committed| committed.outcome != outcome)
        {
            return Err(Breach::HistoryChanged { member, revision });
        }
        self.acknowledged.push(Acknowledged {
            request,
            outcome,
            revision,
        });
        Ok(())
    }

    /// Checks a state that readers of `member` can see.
    pub(super) fn check_state(&self, member: MemberId, published: &Published) -> Result<(), Breach> {
        let (state, revision) = (&published.state, published.revision);
        let bad = |what| Breach::BadState { member, revision, what };
        state.check().map_err(bad)?;
        let tenants = state.tenants_after(None).count();
        let created = self.created.iter().filter(|created| **created <= revision).count();
        if tenants != created {
            return Err(bad(format!("{tenants} tenants, but {created} were created")));
        }
        let lost = self
            .acknowledged
            .iter()
            .filter(|acknowledged| acknowledged.revision <= revision)
            .find(|acknowledged| !contains(state, acknowledged));
        match lost {
            None => Ok(()),
            Some(Acknowledged {
                request,
                revision: since,
                ..
            }) => Err(Breach::AcknowledgedLost {
                member,
                revision,
                request: request.id,
                since: *since,
            }),
        }
    }

    /// The last revision known to be committed.
    pub(super) const fn highest(&self) -> Revision {
        self.highest
    }
}

/// Whether a state remembers an acknowledged request, and has its effect or a later one.
fn contains(state: &State, acknowledged: &Acknowledged) -> bool {
    if state.answered(&acknowledged.request).as_ref() != Some(&acknowledged.outcome) {
        return false;
    }
    match &acknowledged.outcome {
        Ok(Answer::Tenant(told)) => state
            .tenant(told.uid)
            .is_some_and(|kept| kept.revision > told.revision || kept == told),
        Ok(Answer::Node(told)) => state
            .node(&told.id)
            .is_some_and(|kept| kept.revision > told.revision || kept == told),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> MemberId {
        MemberId::new(id).unwrap()
    }

    #[test]
    fn a_term_has_one_leader() {
        let (mut checker, mut report) = (Checker::default(), Report::default());
        checker.leads(member(1), 3, &mut report).unwrap();
        checker.leads(member(1), 3, &mut report).unwrap();
        checker.leads(member(2), 4, &mut report).unwrap();
        assert_eq!(report.elections, 2);
        let second = checker.leads(member(2), 3, &mut report);
        assert!(matches!(second, Err(Breach::TwoLeaders { term: 3, .. })), "{second:?}");
    }

    #[test]
    fn a_member_that_goes_back_without_a_snapshot_is_found() {
        let (mut checker, mut report) = (Checker::default(), Report::default());
        let reached = |revision| Observation::Reached {
            revision: Revision(revision),
            digest: 1,
        };
        checker.observe(member(1), reached(5), &mut report).unwrap();
        let back = checker.observe(member(1), reached(4), &mut report);
        assert!(matches!(back, Err(Breach::HistorySkipped { .. })), "{back:?}");
        checker.observe(member(1), Observation::Restored, &mut report).unwrap();
        checker.observe(member(1), reached(4), &mut report).unwrap();
    }
}
