//! Reading: lists, pages, names and weights.

use proptest::prelude::*;
use tenantry_types::{NodeId, Tier};

use super::*;
use crate::Rules;
use crate::strategies::{every_command_once, histories, replay};

/// What is in the state, without how far it has come and what every request leaves behind.
fn content(state: &State) -> Vec<Record> {
    let rows = state.records().filter_map(|record| match record {
        Record::Head {
            cluster,
            tiers,
            reactions,
            ..
        } => Some(Record::Head {
            revision: Revision::ZERO,
            clock: UnixMillis(0),
            last_event: EventSequence::ZERO,
            cluster,
            tiers,
            reactions,
        }),
        Record::Request(_) => None,
        other => Some(other),
    });
    rows.collect()
}

#[test]
fn every_command_of_the_full_history_is_accepted() {
    let mut state = State::new();
    for (index, envelope) in (1..).map(Revision).zip(every_command_once()) {
        let (before, command) = (content(&state), envelope.command.clone());
        let applied = crate::apply(&mut state, index, envelope);
        assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
        assert_ne!(content(&state), before, "{command:?} changed nothing");
    }
    let n2 = NodeId::new("n2").unwrap();
    assert_eq!(state.weight_on(&n2), 5, "one medium tenant");
}

/// All pages of a list, one after the other.
fn pages(state: &State, filter: &TenantFilter, size: usize) -> Vec<Arc<Tenant>> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = state.tenants_page(filter, after.as_ref(), size);
        all.extend(page.tenants);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

proptest! {
    #[test]
    fn pages_of_any_size_add_up_to_the_filtered_list(
        history in histories(0..80),
        size in 1..5_usize,
        name_prefix in proptest::sample::select(vec!["", "a", "acme", "acme-", "acme-2", "zz", "A"]),
        on_n1 in any::<bool>(),
        tier in proptest::option::of(proptest::sample::select(Tier::ALL.to_vec())),
        deleted in proptest::sample::select(vec![DeletedTenants::Hidden, DeletedTenants::Shown]),
    ) {
        let state = replay(&history);
        let node = on_n1.then(|| NodeId::new("n1").unwrap());
        let mut expected: Vec<_> = state.tenants.values().filter(|tenant| {
            tenant.name.as_str().starts_with(name_prefix)
                && node.as_ref().is_none_or(|node| tenant.placement.as_ref().is_some_and(|at| at.node == *node))
                && tier.is_none_or(|tier| tenant.spec.tier == tier)
                && (deleted == DeletedTenants::Shown || tenant.is_active())
        }).cloned().collect();
        expected.sort_by_key(|tenant| TenantKey::of(tenant));
        let filter = TenantFilter { name_prefix: name_prefix.to_owned(), node, tier, deleted };
        prop_assert_eq!(pages(&state, &filter, size), expected);
    }

    #[test]
    fn the_weight_on_a_node_is_that_of_its_tenants(history in histories(0..80)) {
        let state = replay(&history);
        for node in state.nodes_after(None) {
            let here = |tenant: &&Arc<Tenant>| {
                tenant.is_active() && tenant.placement.as_ref().is_some_and(|at| at.node == node.id)
            };
            let weight: u64 = state
                .tenants
                .values()
                .filter(here)
                .map(|tenant| u64::from(state.tiers.get(tenant.spec.tier).weight))
                .sum();
            prop_assert_eq!(state.weight_on(&node.id), weight);
            let count = state.tenants_on(&node.id).map_or(0, |tenants| tenants.uids().count());
            prop_assert_eq!(state.tenants.values().filter(here).count(), count);
        }
    }

    #[test]
    fn names_lead_to_active_tenants_alone(history in histories(0..80)) {
        let state = replay(&history);
        for tenant in state.tenants.values() {
            let found = state.tenant_by_name(&tenant.name);
            prop_assert!(found.is_none_or(|found| found.is_active() && found.name == tenant.name));
            prop_assert!(!tenant.is_active() || found == Some(tenant));
        }
    }
}

/// What the version before token generations came to for the same eleven commands. Snapshots that it wrote carry that
/// digest, members of both versions compare theirs, and entries of its log are still applied by its rules.
#[test]
fn rows_without_later_fields_are_hashed_as_before_there_were_any() {
    let mut history = every_command_once();
    history.truncate(11);
    history.iter_mut().for_each(|envelope| envelope.rules = Rules::First);
    let state = replay(&history);
    assert_eq!(state.digest(), 0x312b_0ea7_0334_1552, "{:#x}", state.digest());
}
