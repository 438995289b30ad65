//! What holds for every sequence of commands.

use proptest::prelude::*;
use tenantry_types::{Revision, UnixMillis};

use crate::state::Restorer;
use crate::strategies::{envelopes, histories, replay};
use crate::{Envelope, State, apply};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_command_keeps_the_invariants_and_a_rejected_one_changes_nothing(history in histories(0..60)) {
        let mut state = State::new();
        for (index, envelope) in (1..).map(Revision).zip(history) {
            let before = state.clone();
            let applied = apply(&mut state, index, envelope);
            prop_assert_eq!(state.check(), Ok(()));
            prop_assert_eq!(state.revision(), index);
            if applied.outcome.is_err() {
                prop_assert!(applied.changes.is_empty());
                prop_assert!(before.tenant_routes().eq(state.tenant_routes()));
                prop_assert!(before.nodes_after(None).eq(state.nodes_after(None)));
                prop_assert_eq!(before.last_event(), state.last_event());
            }
        }
    }

    #[test]
    fn the_same_commands_lead_to_equal_states_digests_and_outcomes(history in histories(0..60)) {
        let (mut one, mut other) = (State::new(), State::new());
        for (index, envelope) in (1..).map(Revision).zip(history) {
            let applied = apply(&mut one, index, envelope.clone());
            prop_assert_eq!(applied, apply(&mut other, index, envelope));
            prop_assert_eq!(one.digest(), other.digest());
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_retried_request_is_answered_the_same_and_changes_nothing(
        history in histories(0..40),
        retried in any::<proptest::sample::Index>(),
    ) {
        let mut state = State::new();
        let mut outcomes = Vec::new();
        for (index, envelope) in (1..).map(Revision).zip(history.clone()) {
            let known = envelope.request.is_some_and(|request| state.answered(&request).is_some());
            let outcome = apply(&mut state, index, envelope).outcome;
            outcomes.push((known, outcome));
        }
        let position = retried.index(history.len());
        let envelope = &history[position];
        let (known, outcome) = &outcomes[position];
        if envelope.request.is_some() && !known {
            let before = state.clone();
            let later = Envelope { now: UnixMillis(5_000), ..envelope.clone() };
            let applied = apply(&mut state, Revision(10_000), later);
            prop_assert_eq!(&applied.outcome, outcome);
            prop_assert!(applied.changes.is_empty());
            prop_assert!(before.tenants_after(None).eq(state.tenants_after(None)));
            prop_assert!(before.nodes_after(None).eq(state.nodes_after(None)));
            prop_assert_eq!(before.last_event(), state.last_event());
        }
    }

    #[test]
    fn a_state_is_rebuilt_from_its_records(history in histories(0..60)) {
        let state = replay(&history);
        let mut restorer = Restorer::new();
        for record in state.records() {
            restorer.add(record).unwrap();
        }
        let restored = restorer.finish().unwrap();
        prop_assert_eq!(restored.digest(), state.digest());
        prop_assert_eq!(restored, state);
    }

    #[test]
    fn one_more_command_makes_another_digest(history in histories(0..20), more in envelopes()) {
        let mut state = replay(&history);
        let before = state.digest();
        apply(&mut state, Revision(10_000), more);
        prop_assert_ne!(before, state.digest());
    }

    #[test]
    fn changes_name_every_route_that_is_different(history in histories(0..60)) {
        use std::collections::BTreeMap;
        let mut state = State::new();
        let mut followed = BTreeMap::new();
        for (index, envelope) in (1..).map(Revision).zip(history) {
            for change in apply(&mut state, index, envelope).changes {
                match change {
                    crate::Change::RouteUpserted { uid } => {
                        followed.insert(uid, state.tenant_route(uid).unwrap());
                    }
                    crate::Change::RouteRemoved { uid } => {
                        prop_assert!(followed.remove(&uid).is_some());
                    }
                    _ => {}
                }
            }
            let routes: BTreeMap<_, _> = state.tenant_routes().map(|route| (route.uid, route)).collect();
            prop_assert_eq!(&followed, &routes);
        }
    }
}
