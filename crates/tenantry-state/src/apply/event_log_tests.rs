//! The event log is bounded by age and by count, whoever still stands behind its old end.

use tenantry_types::{EventSequence, UnixMillis, WebhookName, WebhookState};

use super::testing::{ACME, Cluster, crossed, register, report};
use super::webhooks_tests::{advance, create_webhook, webhook};
use crate::state::{EVENT_LIFETIME_MS, MAX_EVENTS};
use crate::{Command, DeliveryOutcome};

fn kept(cluster: &Cluster) -> Vec<u64> {
    let events = cluster.state.events_after(EventSequence::ZERO);
    events.map(|event| event.sequence.get()).collect()
}

/// Something that appends nothing.
fn nothing() -> Command {
    Command::RecordAvailability { changes: Vec::new() }
}

#[test]
fn an_event_is_kept_for_thirty_days_of_the_replicated_clock() {
    let mut cluster = Cluster::with_acme();
    let begun = cluster.now.0;
    cluster.now = UnixMillis(begun + 1_000);
    cluster.done(register("n2", 1));
    assert_eq!(kept(&cluster), [1, 2]);
    cluster.now = UnixMillis(begun + EVENT_LIFETIME_MS);
    cluster.done(nothing());
    assert_eq!(kept(&cluster), [1, 2]);
    cluster.now = UnixMillis(begun + EVENT_LIFETIME_MS + 1);
    cluster.done(nothing());
    assert_eq!(kept(&cluster), [2]);
    // A leader whose clock is behind does not bring the time back.
    cluster.now = UnixMillis(begun + EVENT_LIFETIME_MS + 1_001);
    cluster.done(nothing());
    assert_eq!(kept(&cluster), []);
    cluster.now = UnixMillis(begun);
    cluster.done(nothing());
    assert_eq!(cluster.state.oldest_event(), EventSequence(3));
    assert_eq!(cluster.state.last_event(), EventSequence(2));
    cluster.done(register("n3", 1));
    assert_eq!(kept(&cluster), [3], "numbers go on");
}

#[test]
fn events_that_expire_leave_webhooks_where_they_are_and_these_can_go_on() {
    let mut cluster = Cluster::with_acme();
    cluster.done(create_webhook("pager"));
    assert_eq!(webhook(&cluster, "pager").done, EventSequence(1));
    let events = (1..=3).map(|sequence| crossed(sequence, ACME));
    cluster.done(report(5, events.collect(), &[]));
    cluster.now = UnixMillis(cluster.now.0 + EVENT_LIFETIME_MS + 1);
    cluster.done(nothing());
    assert_eq!(
        (kept(&cluster), webhook(&cluster, "pager").done),
        (vec![], EventSequence(1))
    );
    let command = advance(&cluster, "pager", 4, &[(2, 4)], DeliveryOutcome::Arrived);
    assert_eq!(cluster.told(command), ["webhook-gave-up"]);
    assert_eq!(webhook(&cluster, "pager").done, EventSequence(4));
}

#[test]
fn a_full_log_drops_the_oldest_though_a_webhook_has_not_seen_it() {
    let mut cluster = Cluster::with_acme();
    cluster.done(create_webhook("pager"));
    let count = u64::try_from(MAX_EVENTS).unwrap();
    for first in (1..=count).step_by(1_000) {
        let events = (first..first + 1_000).map(|sequence| crossed(sequence, ACME));
        cluster.done(report(5, events.collect(), &[]));
    }
    cluster.done(register("n2", 1));
    assert_eq!(cluster.state.oldest_event(), EventSequence(3));
    assert_eq!(kept(&cluster).len(), MAX_EVENTS);
    let pager = webhook(&cluster, "pager");
    assert_eq!((pager.done, pager.state), (EventSequence(1), WebhookState::Delivering));
    // Created now, one begins behind all of them.
    cluster.done(create_webhook("chat"));
    assert_eq!(webhook(&cluster, "chat").done, cluster.state.last_event());
    let pager = WebhookName::new("pager").unwrap();
    cluster.done(Command::RewindWebhook {
        name: pager,
        after: EventSequence::ZERO,
    });
    assert_eq!(
        webhook(&cluster, "pager").done,
        EventSequence::ZERO,
        "what is gone is for the courier to say"
    );
}

#[test]
fn a_clock_that_jumps_years_ahead_empties_the_log_and_breaks_nothing() {
    let mut cluster = Cluster::with_acme();
    cluster.done(create_webhook("pager"));
    cluster.now = UnixMillis(u64::MAX);
    cluster.done(register("n2", 1));
    cluster.done(register("n3", 1));
    assert_eq!(kept(&cluster), [2, 3]);
}
