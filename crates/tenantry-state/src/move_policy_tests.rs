//! Who is to move, as a table: what is measured on the node, and who should leave it.

use std::collections::BTreeMap;

use tenantry_types::{
    Incarnation, NodeId, Reactions, Revision, Scheduling, Switch, TenantName, TenantSpec, TierPolicy,
};

use super::*;
use crate::strategies::{at, every_command_once, initialize, tenant_of};
use crate::{Command, apply};

const HOT: TenantUid = TenantUid::from_u128(100);

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

/// Applies one command after the other.
fn done(state: &mut State, command: Command) {
    let revision = state.revision().next();
    apply(state, revision, at(1, command)).outcome.unwrap();
}

fn create(state: &mut State, uid: TenantUid, name: &str, tier: Tier, on: &str) {
    let spec = TenantSpec {
        domains: Vec::new(),
        ..tenant_of(tier, TierPolicy::Pinned).spec
    };
    let name = TenantName::new(name).unwrap();
    let node = Some(node(on));
    done(state, Command::CreateTenant { uid, name, spec, node });
}

fn register(state: &mut State, id: &str) {
    let spec = every_command_once()
        .into_iter()
        .find_map(|envelope| match envelope.command {
            Command::RegisterNode { spec, .. } => Some(spec),
            _ => None,
        });
    let command = Command::RegisterNode {
        id: node(id),
        incarnation: Incarnation(1),
        spec: spec.unwrap(),
        record_since: None,
    };
    done(state, command);
}

/// A hot tenant of `tier` on `n1` with `neighbours` (uids 1, 2, …), and an empty `n2`.
fn beside(tier: Tier, neighbours: u128) -> State {
    let mut state = State::new();
    done(&mut state, initialize(1));
    register(&mut state, "n1");
    register(&mut state, "n2");
    create(&mut state, HOT, "hot", tier, "n1");
    for number in 1..=neighbours {
        create(
            &mut state,
            TenantUid::from_u128(number),
            &format!("t{number}"),
            Tier::Small,
            "n1",
        );
    }
    state
}

/// Who should leave, by number, if the tenants use so much: number, CPU, requests and bytes.
fn leaving(state: &State, loads: &[(u128, u64, u64, u64)]) -> Vec<u128> {
    let loads: BTreeMap<_, _> = loads
        .iter()
        .map(|&(number, cpu_millicores, requests_per_minute, database_bytes)| {
            let load = MeasuredLoad {
                cpu_millicores,
                requests_per_minute,
                database_bytes,
            };
            (TenantUid::from_u128(number), load)
        })
        .collect();
    let hot = state.tenant(HOT).unwrap();
    let decisions = propose(state, hot, |uid| loads.get(&uid).copied());
    assert!(
        decisions
            .iter()
            .all(|decision| decision.hot == HOT && decision.node == node("n1"))
    );
    decisions.iter().map(|decision| decision.tenant.as_u128()).collect()
}

const HOT_NUMBER: u128 = 100;
const DEAR: u64 = DEAR_BYTES;

#[test]
fn a_tenant_that_is_cheap_to_move_is_moved_itself() {
    let state = beside(Tier::Small, 2);
    assert_eq!(leaving(&state, &[]), [HOT_NUMBER], "nothing is known of its size");
    assert_eq!(
        leaving(&state, &[(HOT_NUMBER, 900, 9, DEAR - 1), (1, 500, 5, 0)]),
        [HOT_NUMBER]
    );
}

#[test]
fn beside_one_that_is_dear_to_move_the_busiest_small_neighbours_are() {
    let many_bytes = [(HOT_NUMBER, 900, 9, DEAR)];
    for (tier, hot) in [
        (Tier::Small, &many_bytes[..]),
        (Tier::Large, &[]),
        (Tier::Enterprise, &[]),
    ] {
        let state = beside(tier, 6);
        let with = |rest: &[(u128, u64, u64, u64)]| leaving(&state, &[hot, rest].concat());
        assert!(with(&[]).is_empty(), "of none anything is known");
        assert_eq!(
            with(&[(1, 10, 0, 0), (2, 30, 0, 0), (3, 20, 0, 0), (4, 5, 0, 0)]),
            [2, 3, 1]
        );
        assert_eq!(
            with(&[(1, 10, 1, 0), (2, 10, 2, 0)]),
            [2, 1],
            "of equal ones the one with more requests"
        );
        assert_eq!(with(&[(2, 10, 1, 0), (1, 10, 1, 0)]), [1, 2], "then the lower uid");
        assert_eq!(
            with(&[(1, 0, 900, 0), (2, 1, 0, 0)]),
            [2],
            "an idle one would spare the node nothing"
        );
        assert_eq!(
            with(&[(1, 900, 0, DEAR), (2, 1, 0, DEAR - 1)]),
            [2],
            "nor is one moved that is dear itself"
        );
    }
}

#[test]
fn nobody_moves_without_another_open_node() {
    let mut state = beside(Tier::Small, 1);
    let scheduling = |id: &str, scheduling| Command::SetNodeScheduling {
        id: node(id),
        scheduling,
    };
    done(&mut state, scheduling("n2", Scheduling::Cordoned));
    assert!(leaving(&state, &[]).is_empty());
    register(&mut state, "n3");
    assert_eq!(leaving(&state, &[]), [HOT_NUMBER]);
    // That its own node is closed is one more reason to leave.
    done(&mut state, scheduling("n1", Scheduling::Cordoned));
    assert_eq!(leaving(&state, &[]), [HOT_NUMBER]);
}

#[test]
fn nobody_moves_who_has_the_node_for_itself_or_none() {
    assert!(leaving(&beside(Tier::Small, 0), &[]).is_empty());
    let mut state = beside(Tier::Small, 1);
    let expected = None;
    let purge_at = tenantry_types::UnixMillis(9);
    let uid = HOT;
    done(
        &mut state,
        Command::DeleteTenant {
            uid,
            expected,
            purge_at,
        },
    );
    assert!(leaving(&state, &[]).is_empty(), "it is deleted");
    let unplaced = Tenant {
        placement: None,
        ..tenant_of(Tier::Small, TierPolicy::Pinned)
    };
    assert!(propose(&state, &unplaced, |_| None).is_empty());
}

#[test]
fn nobody_moves_where_operators_do_that() {
    let mut state = beside(Tier::Small, 1);
    let reactions = Reactions {
        move_proposals: Switch::Off,
        ..Reactions::default()
    };
    done(&mut state, Command::UpdateReactions { reactions });
    assert!(leaving(&state, &[]).is_empty());
    assert!(state.revision() > Revision::ZERO);
}
