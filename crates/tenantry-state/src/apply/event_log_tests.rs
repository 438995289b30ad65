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
fn an_event_is_kept_for_thirty_days_of_the_leaders_clock() {
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
    // A leader whose clock is behind brings nothing back.
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
        EventSequence(1),
        "it is behind what the log still has, and that is for the courier to say"
    );
    cluster.done(Command::RewindWebhook {
        name: WebhookName::new("chat").unwrap(),
        after: EventSequence::ZERO,
    });
    assert_eq!(
        webhook(&cluster, "chat").done.next(),
        cluster.state.oldest_event(),
        "what the log has dropped was dealt with before, and is not lost now"
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

#[test]
fn a_clock_that_was_years_ahead_and_is_mended_leaves_a_log_that_keeps_what_happens() {
    let mut cluster = Cluster::with_acme();
    let mended = cluster.now;
    cluster.now = UnixMillis(mended.0 + 12 * EVENT_LIFETIME_MS);
    cluster.done(register("n2", 1));
    cluster.now = mended;
    for name in ["n3", "n4", "n5"] {
        cluster.done(register(name, 1));
    }
    assert_eq!(kept(&cluster), [2, 3, 4, 5]);
}

#[test]
fn a_node_whose_clock_is_wrong_can_neither_keep_the_log_from_expiring_nor_lose_its_event() {
    let mut cluster = Cluster::with_acme();
    cluster.now = UnixMillis(10 * EVENT_LIFETIME_MS);
    let mut events = vec![crossed(1, ACME), crossed(2, ACME)];
    events[0].occurred_at = UnixMillis(u64::MAX);
    events[1].occurred_at = UnixMillis(0);
    cluster.done(report(5, events, &[]));
    cluster.done(nothing());
    assert_eq!(kept(&cluster), [2, 3]);
    cluster.now = UnixMillis(cluster.now.0 + EVENT_LIFETIME_MS + 1);
    cluster.done(nothing());
    assert_eq!(kept(&cluster), []);
}
