//! What the log tells of conditions and moves, for every sequence of commands.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenantry_types::{Condition, EventDetail, Incarnation, NodeId, ReportSequence, Revision, TenantUid, UnixMillis};

use super::testing::{create, proposing, raised, register, subsided};
use crate::strategies::{at, histories};
use crate::{Command, Envelope, State, apply};

/// What a reader of the log alone believes.
#[derive(Default)]
struct Reader {
    raised: BTreeMap<(TenantUid, Condition), bool>,
    proposed: BTreeMap<TenantUid, NodeId>,
    seen: tenantry_types::EventSequence,
}

impl Reader {
    /// Reads what is new and holds it against the tables.
    fn read(&mut self, state: &State) -> Result<(), TestCaseError> {
        for event in state.events_after(self.seen) {
            let tenant = event.tenant.as_ref().map(|(uid, _)| *uid);
            match (&event.detail, tenant) {
                (EventDetail::Raised(figures), Some(uid)) => {
                    let before = self.raised.insert((uid, figures.condition()), true);
                    prop_assert!(before != Some(true), "raised twice: {event:?}");
                }
                (EventDetail::Cleared(cleared), Some(uid)) => {
                    let before = self.raised.insert((uid, cleared.condition()), false);
                    prop_assert!(before == Some(true), "cleared without having been raised: {event:?}");
                }
                (EventDetail::MoveProposed { node, .. }, Some(uid)) if event_is_ours(event) => {
                    let before = self.proposed.insert(uid, node.clone());
                    prop_assert!(before.is_none(), "proposed twice: {event:?}");
                }
                (EventDetail::MoveWithdrawn { node }, Some(uid)) if event_is_ours(event) => {
                    let before = self.proposed.remove(&uid);
                    prop_assert!(before.as_ref() == Some(node), "withdrawn without a proposal: {event:?}");
                }
                _ => {}
            }
        }
        self.seen = state.last_event();
        let raised = self.raised.iter().filter(|(_, raised)| **raised).map(|(key, _)| *key);
        prop_assert!(raised.eq(state.conditions().map(|(uid, condition, _)| (uid, condition))));
        let proposed = self.proposed.iter().map(|(uid, node)| (*uid, node));
        prop_assert!(proposed.eq(state.move_proposals().map(|(uid, proposal)| (uid, &proposal.node))));
        Ok(())
    }
}

/// Random reports hold what only the control plane may say; the service refuses them, `apply` just appends them.
fn event_is_ours(event: &tenantry_types::Event) -> bool {
    matches!(event.origin, tenantry_types::EventOrigin::ControlPlane { .. })
}

/// Three nodes and six tenants on them, so that reports meet somebody.
fn beginning() -> Vec<Command> {
    let mut commands: Vec<_> = ["n1", "n2", "n3"].map(|id| register(id, 1)).to_vec();
    for number in 1..=6_u128 {
        let on = ["n1", "n2", "n3"][usize::try_from(number % 3).unwrap()];
        let uid = TenantUid::from_u128(number);
        commands.push(create(uid, &format!("t{number}"), &[], Some(on)));
    }
    commands
}

/// One condition of one tenant, by the first node, and moves because of it.
fn hot_reports() -> impl Strategy<Value = Command> {
    let conditions = proptest::sample::select(vec![
        Condition::Hotspot,
        Condition::Hotspot,
        Condition::Spike,
        Condition::NodeExceeded,
    ]);
    let uids = || (1..7_u128).prop_map(TenantUid::from_u128);
    let nodes = proptest::sample::select(vec!["n1", "n2", "n3"]);
    (nodes, uids(), uids(), conditions, any::<bool>()).prop_map(|(on, uid, beside, condition, sets_in)| {
        let (_, detail) = if sets_in {
            raised(uid, condition)
        } else {
            subsided(uid, condition)
        };
        let event = tenantry_types::ReportedEvent {
            sequence: ReportSequence(1),
            occurred_at: UnixMillis(1_000),
            tenant: Some(uid),
            epoch: None,
            detail,
        };
        let report = Command::RecordEvents {
            node: NodeId::new(on).unwrap(),
            incarnation: Incarnation(1),
            events: vec![event],
            tier_changes: Vec::new(),
            moves: Vec::new(),
        };
        let mut report = proposing(report, &[(uid, uid), (beside, uid)]);
        if let Command::RecordEvents { node, moves, .. } = &mut report {
            moves.iter_mut().for_each(|decision| decision.node = node.clone());
        }
        report
    })
}

/// Numbers a report so that it is none of those that came before: most random ones would be repetitions.
fn renumbered(state: &State, mut envelope: Envelope) -> Envelope {
    if let Command::RecordEvents {
        node,
        incarnation,
        events,
        ..
    } = &mut envelope.command
        && let Some(registered) = state.node(node)
    {
        *incarnation = registered.incarnation;
        let cursor = state
            .report_cursor(node)
            .filter(|cursor| cursor.incarnation == *incarnation);
        let first = cursor.map_or(1, |cursor| cursor.sequence.get() + 1);
        for (sequence, event) in (first..).zip(events) {
            event.sequence = ReportSequence(sequence);
        }
    }
    envelope
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_log_alternates_and_the_tables_say_what_it_said_last(
        history in histories(0..60),
        hot in proptest::collection::vec((hot_reports(), any::<proptest::sample::Index>()), 0..60),
    ) {
        let mut all = history;
        for (command, position) in hot {
            all.insert(1 + position.index(all.len()), at(1_000, command));
        }
        let rest = all.split_off(1);
        all.extend(beginning().into_iter().map(|command| at(1, command)));
        all.extend(rest);
        let mut state = State::new();
        let mut reader = Reader::default();
        for (revision, envelope) in (1..).map(Revision).zip(all) {
            let envelope = renumbered(&state, envelope);
            // No event expires, so that a reader sees all of them.
            let _ = apply(&mut state, revision, envelope);
            prop_assert_eq!(state.check(), Ok(()));
            reader.read(&state)?;
        }
    }
}
