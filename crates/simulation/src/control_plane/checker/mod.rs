//! Watches everything that the members do, and knows what they have promised. Never influences them.

mod committed;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ::control_plane::machine::Published;
use tenantry_state::{Answer, Outcome, Request, State};
use tenantry_types::{MemberId, Revision};

use super::Breach;
use super::recorded::Observation;
use super::report::Report;
use committed::Committed;

/// What a client was told.
#[derive(Debug)]
struct Acknowledged {
    request: Request,
    outcome: Outcome,
    revision: Revision,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    leaders: BTreeMap<u64, MemberId>,
    committed: Committed,
    acknowledged: Vec<Acknowledged>,
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
        self.committed.observe(member, observation, report)
    }

    /// A member begins again from nothing.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.committed.forget(member);
    }

    /// Notes that a client was told `outcome`.
    pub(super) fn acknowledge(
        &mut self,
        member: MemberId,
        request: Request,
        outcome: Outcome,
        revision: Revision,
    ) -> Result<(), Breach> {
        if self.committed.outcome(revision) != Some(&outcome) {
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
    pub(super) fn check_state(&mut self, member: MemberId, published: &Published) -> Result<(), Breach> {
        let (state, revision) = (&published.state, published.revision);
        let bad = |what| Breach::BadState { member, revision, what };
        state.check().map_err(bad)?;
        let (tenants, created) = (state.tenants_after(None).count(), self.committed.created_by(revision));
        if tenants != created {
            return Err(bad(format!("{tenants} tenants, but {created} were created")));
        }
        self.check_shown(member, published)?;
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

    /// Checks that what readers of `member` see is what all had at the revision that they are told.
    pub(super) fn check_shown(&mut self, member: MemberId, published: &Published) -> Result<(), Breach> {
        self.committed
            .compare_digest(member, published.revision, published.state.digest())
    }

    /// Whether a command is known to be committed at `revision`.
    pub(super) fn knows(&self, revision: Revision) -> bool {
        self.committed.outcome(revision).is_some()
    }

    /// The last revision known to be committed.
    pub(super) const fn highest(&self) -> Revision {
        self.committed.highest()
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

    #[test]
    fn a_term_has_one_leader() {
        let member = |id| MemberId::new(id).unwrap();
        let (mut checker, mut report) = (Checker::default(), Report::default());
        checker.leads(member(1), 3, &mut report).unwrap();
        checker.leads(member(1), 3, &mut report).unwrap();
        checker.leads(member(2), 4, &mut report).unwrap();
        assert_eq!(report.elections, 2);
        let second = checker.leads(member(2), 3, &mut report);
        assert!(matches!(second, Err(Breach::TwoLeaders { term: 3, .. })), "{second:?}");
    }

    #[test]
    fn a_reader_who_is_shown_another_state_than_the_revision_says_is_noticed() {
        let member = MemberId::new(1).unwrap();
        let (mut checker, mut report) = (Checker::default(), Report::default());
        let shown = Published {
            state: State::new(),
            revision: Revision(5),
            routing_digest: 0,
        };
        let (revision, digest) = (shown.revision, shown.state.digest());
        checker
            .observe(member, Observation::Reached { revision, digest }, &mut report)
            .unwrap();
        checker.check_shown(member, &shown).unwrap();

        let mut checker = Checker::default();
        let digest = digest + 1;
        checker
            .observe(member, Observation::Reached { revision, digest }, &mut report)
            .unwrap();
        let wrong = checker.check_shown(member, &shown);
        assert!(matches!(wrong, Err(Breach::DigestsDiffer { .. })), "{wrong:?}");
    }
}
