//! Pages of the event log, in both directions, while it changes.

use tenantry_state::strategies::{at, every_command_once, replay};
use tenantry_state::{Command, EVENT_LIFETIME_MS, apply};
use tenantry_types::TenantUid;

use super::*;

/// All kinds of events, and ten revocations of which every second one is of `hot`.
fn state() -> State {
    let mut state = replay(&every_command_once());
    for number in 0..10_u128 {
        let uid = TenantUid::from_u128(1 + number % 2);
        done(&mut state, 1_000, Command::RevokeTokens { uid });
    }
    state
}

fn done(state: &mut State, now: u64, command: Command) {
    let revision = state.revision().next();
    apply(state, revision, at(now, command)).outcome.unwrap();
}

fn request(filter: &v1::EventFilter, newest_first: bool, page_size: i32, page_token: &str) -> v1::ListEventsRequest {
    v1::ListEventsRequest {
        filter: Some(filter.clone()),
        page_size,
        page_token: page_token.to_owned(),
        newest_first,
    }
}

fn of_hot() -> v1::EventFilter {
    v1::EventFilter {
        kinds: vec!["tokens-revoked".to_owned()],
        tenants: vec!["tenants/hot".to_owned()],
        ..v1::EventFilter::default()
    }
}

/// Sequences page by page.
fn pages(state: &State, filter: &v1::EventFilter, newest_first: bool, page_size: i32) -> Vec<Vec<u64>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let answer = list(state, request(filter, newest_first, page_size, &token)).unwrap();
        pages.push(answer.events.iter().map(|event| event.sequence).collect());
        assert!(pages.len() < 100, "it ends");
        token = answer.next_page_token;
        if token.is_empty() {
            return pages;
        }
    }
}

#[test]
fn pages_follow_each_other_without_holes_in_both_directions() {
    let state = state();
    let all: Vec<u64> = state
        .events_after(EventSequence::ZERO)
        .map(|event| event.sequence.get())
        .collect();
    let everything = v1::EventFilter::default();
    for size in [1, 3, 1_000] {
        assert_eq!(pages(&state, &everything, false, size).concat(), all, "{size}");
        let mut backwards = pages(&state, &everything, true, size).concat();
        backwards.reverse();
        assert_eq!(backwards, all, "{size}");
    }
}

#[test]
fn a_page_is_full_of_what_the_filter_lets_pass_and_the_last_one_has_no_token() {
    let state = state();
    let forwards = pages(&state, &of_hot(), false, 2);
    assert_eq!(forwards.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let exact = pages(&state, &of_hot(), false, 5);
    assert_eq!(exact.len(), 1, "no empty page follows a full last one");
    let mut backwards = pages(&state, &of_hot(), true, 2).concat();
    backwards.reverse();
    assert_eq!(backwards, forwards.concat());
    let nobody = v1::EventFilter {
        tenants: vec!["tenants/zoo".to_owned()],
        ..v1::EventFilter::default()
    };
    assert_eq!(pages(&state, &nobody, false, 2), [Vec::<u64>::new()]);
}

#[test]
fn a_token_goes_on_where_it_was_while_events_come_and_go() {
    let mut state = state();
    let first = list(&state, request(&of_hot(), false, 2, "")).unwrap();
    let newest = list(&state, request(&of_hot(), true, 2, "")).unwrap();
    let hot = TenantUid::from_u128(2);
    done(&mut state, 1_000, Command::RevokeTokens { uid: hot });
    let appended = state.last_event().get();
    let second = list(&state, request(&of_hot(), true, 100, &newest.next_page_token)).unwrap();
    assert!(
        second
            .events
            .iter()
            .all(|event| event.sequence < newest.events[1].sequence)
    );

    // All but what comes now have expired behind the token.
    done(
        &mut state,
        2_000 + EVENT_LIFETIME_MS,
        Command::RevokeTokens { uid: hot },
    );
    let rest = list(&state, request(&of_hot(), false, 100, &first.next_page_token)).unwrap();
    let sequences: Vec<_> = rest.events.iter().map(|event| event.sequence).collect();
    assert_eq!((sequences, rest.oldest_sequence), (vec![appended + 1], appended + 1));
    let older = list(&state, request(&of_hot(), true, 100, &newest.next_page_token)).unwrap();
    assert!(older.events.is_empty() && older.next_page_token.is_empty());
}

#[test]
fn a_token_of_another_list_is_refused() {
    let state = state();
    let token = list(&state, request(&of_hot(), false, 2, "")).unwrap().next_page_token;
    let everything = v1::EventFilter::default();
    for refused in [
        request(&everything, false, 2, &token),
        request(&of_hot(), true, 2, &token),
        request(&of_hot(), false, 2, "nonsense"),
        request(&of_hot(), false, -1, ""),
    ] {
        let status = list(&state, refused).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
    let unknown = v1::EventFilter {
        kinds: vec!["no-such-kind".to_owned()],
        ..v1::EventFilter::default()
    };
    let status = list(&state, request(&unknown, false, 2, "")).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[test]
fn an_empty_log_has_no_oldest_event() {
    let mut state = state();
    let nothing = Command::RecordAvailability { changes: Vec::new() };
    done(&mut state, 2_000 + EVENT_LIFETIME_MS, nothing);
    let answer = list(&state, request(&v1::EventFilter::default(), false, 2, "")).unwrap();
    assert_eq!((answer.events.len(), answer.oldest_sequence), (0, 0));
}

#[test]
fn what_is_raised_is_listed_with_what_is_proposed_because_of_it() {
    let answer = conditions(&state());
    let [condition] = &answer.conditions[..] else {
        panic!("{:?}", answer.conditions)
    };
    assert_eq!(
        (condition.tenant.as_str(), condition.node.as_str()),
        ("tenants/hot", "nodes/n1")
    );
    assert_eq!(condition.kind(), v1::ConditionKind::Hotspot);
    let [proposal] = &answer.move_proposals[..] else {
        panic!("{:?}", answer.move_proposals)
    };
    assert_eq!(
        (proposal.tenant.as_str(), proposal.hot_tenant_uid.as_str()),
        ("tenants/hot", "")
    );
}
