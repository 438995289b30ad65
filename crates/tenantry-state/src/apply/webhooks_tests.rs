//! Webhooks: what operators may ask, and whose word on delivery counts.

use tenantry_types::{
    DeadLetter, DisabledBy, EventDetail, EventFilter, EventSequence, Revision, UnixMillis, Webhook, WebhookName,
    WebhookSecret, WebhookSpec, WebhookState,
};

use super::testing::{ACME, Cluster, register};
use crate::state::{MAX_DEAD_LETTERS, MAX_WEBHOOKS};
use crate::{Answer, Command, Delivery, DeliveryOutcome, Rejection};

fn name(text: &str) -> WebhookName {
    WebhookName::new(text).unwrap()
}

fn spec(path: &str) -> WebhookSpec {
    WebhookSpec {
        url: format!("https://receiver.example/{path}"),
        filter: EventFilter::default(),
        secrets: vec![WebhookSecret::new(&[7; 32]).unwrap()],
    }
}

pub(super) fn create_webhook(text: &str) -> Command {
    Command::CreateWebhook {
        name: name(text),
        spec: spec(""),
    }
}

fn update(text: &str, expected: Option<Revision>, path: &str, delivery: Delivery) -> Command {
    Command::UpdateWebhook {
        name: name(text),
        expected,
        spec: spec(path),
        delivery,
    }
}

pub(super) fn webhook(cluster: &Cluster, text: &str) -> Webhook {
    Webhook::clone(cluster.state.webhook(&name(text)).unwrap())
}

/// What the courier of the webhook as it is now has come to; letters as first and last sequence.
pub(super) fn advance(
    cluster: &Cluster,
    text: &str,
    done: u64,
    letters: &[(u64, u64)],
    outcome: DeliveryOutcome,
) -> Command {
    let seen = webhook(cluster, text);
    let letter = |&(first, last): &(u64, u64)| DeadLetter {
        first: EventSequence(first),
        last: EventSequence(last),
        at: cluster.now,
        attempts: 10,
        failure: "refused".to_owned(),
    };
    Command::AdvanceWebhook {
        name: seen.name,
        expected_revision: seen.revision,
        expected_done: seen.done,
        done: EventSequence(done),
        dead_letters: letters.iter().map(letter).collect(),
        outcome,
    }
}

fn failed(failure: &str) -> DeliveryOutcome {
    DeliveryOutcome::Failed {
        failure: failure.to_owned(),
    }
}

/// `pager`, created after three events, and five more after it.
fn with_pager() -> Cluster {
    let mut cluster = Cluster::with_acme();
    cluster.done(register("n2", 1));
    cluster.done(register("n3", 1));
    cluster.done(create_webhook("pager"));
    for _ in 0..5 {
        cluster.done(Command::RevokeTokens { uid: ACME });
    }
    cluster
}

#[test]
fn a_webhook_begins_with_the_events_after_it_and_its_name_is_its_own() {
    let mut cluster = with_pager();
    let pager = webhook(&cluster, "pager");
    assert_eq!((pager.done, pager.state), (EventSequence(3), WebhookState::Delivering));
    assert_eq!(pager.created_at, cluster.now);
    let taken = cluster.apply(None, create_webhook("pager"));
    assert_eq!(taken.outcome, Err(Rejection::WebhookNameTaken { name: name("pager") }));
    let created = cluster.apply(None, create_webhook("chat")).outcome;
    assert_eq!(created, Ok(Answer::Webhook(name("chat"))));
}

#[test]
fn there_are_a_hundred_webhooks_at_most() {
    let mut cluster = Cluster::new();
    for number in 0..MAX_WEBHOOKS {
        cluster.done(create_webhook(&format!("w{number}")));
    }
    let limit = MAX_WEBHOOKS as u64;
    let refused = cluster.apply(None, create_webhook("one-more")).outcome;
    assert_eq!(refused, Err(Rejection::TooManyWebhooks { limit }));
    cluster.done(Command::DeleteWebhook { name: name("w7") });
    cluster.done(create_webhook("one-more"));
}

#[test]
fn an_update_holds_for_the_revision_that_was_read() {
    let mut cluster = with_pager();
    let read = webhook(&cluster, "pager").revision;
    cluster.done(update("pager", Some(read), "new", Delivery::Enabled));
    let after = webhook(&cluster, "pager");
    assert_eq!(after.spec, spec("new"));
    assert!(after.revision > read);
    let late = cluster.apply(None, update("pager", Some(read), "late", Delivery::Enabled));
    let actual = after.revision;
    assert_eq!(late.outcome, Err(Rejection::WebhookChanged { expected: read, actual }));
    // The same again changes nothing, not even the etag: its courier works on.
    cluster.done(update("pager", None, "new", Delivery::Enabled));
    assert_eq!(webhook(&cluster, "pager"), after);
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let mut cluster = Cluster::new();
    let unknown = name("nobody");
    let after = EventSequence::ZERO;
    for command in [
        update("nobody", None, "", Delivery::Enabled),
        Command::DeleteWebhook { name: unknown.clone() },
        Command::RewindWebhook {
            name: unknown.clone(),
            after,
        },
    ] {
        let refused = cluster.apply(None, command).outcome;
        assert_eq!(refused, Err(Rejection::WebhookNotFound { name: unknown.clone() }));
    }
    // A courier whose webhook is gone just ends.
    let advance = Command::AdvanceWebhook {
        name: unknown,
        expected_revision: Revision(1),
        expected_done: after,
        done: after,
        dead_letters: Vec::new(),
        outcome: DeliveryOutcome::Arrived,
    };
    assert_eq!(cluster.apply(None, advance).outcome, Ok(Answer::Recorded));
}

#[test]
fn an_operator_silences_a_webhook_and_it_goes_on_where_it_stood() {
    let mut cluster = with_pager();
    let by = DisabledBy::Operator;
    cluster.now = UnixMillis(1_500);
    let news = cluster.news(update("pager", None, "", Delivery::Disabled));
    let webhook_name = name("pager");
    assert_eq!(
        news,
        [EventDetail::WebhookDisabled {
            webhook: webhook_name,
            by
        }]
    );
    let disabled = webhook(&cluster, "pager");
    let since = UnixMillis(1_500);
    assert_eq!(
        (disabled.state.clone(), disabled.done),
        (WebhookState::Disabled { since, by }, EventSequence(3))
    );
    // Once more is no news and keeps the time.
    cluster.now = UnixMillis(1_600);
    assert!(cluster.told(update("pager", None, "", Delivery::Disabled)).is_empty());
    assert_eq!(webhook(&cluster, "pager"), disabled);
    // What its courier had under way does not count any more.
    let command = advance(&cluster, "pager", 4, &[], DeliveryOutcome::Arrived);
    cluster.done(command);
    assert_eq!(webhook(&cluster, "pager"), disabled);
    assert!(cluster.told(update("pager", None, "", Delivery::Enabled)).is_empty());
    let enabled = webhook(&cluster, "pager");
    assert_eq!(
        (enabled.state, enabled.done),
        (WebhookState::Delivering, EventSequence(3))
    );
}

#[test]
fn a_deleted_webhook_leaves_no_dead_letters_to_the_next_of_its_name() {
    let mut cluster = with_pager();
    cluster.done(create_webhook("pages"));
    for text in ["pager", "pages"] {
        let done = webhook(&cluster, text).done.next().get();
        cluster.done(Command::RevokeTokens { uid: ACME });
        let command = advance(&cluster, text, done, &[(done, done)], failed("x"));
        cluster.done(command);
    }
    cluster.done(Command::DeleteWebhook { name: name("pager") });
    assert!(cluster.state.webhook(&name("pager")).is_none());
    cluster.done(create_webhook("pager"));
    let letters = |text: &str| cluster.state.dead_letters(&name(text)).count();
    assert_eq!((letters("pager"), letters("pages")), (0, 1));
}

#[test]
fn a_rewind_goes_back_never_forward_and_forgets_the_letters_from_there_on() {
    let mut cluster = with_pager();
    let command = advance(&cluster, "pager", 7, &[(4, 4), (5, 5), (6, 7)], failed("x"));
    cluster.done(command);
    let before = webhook(&cluster, "pager");
    let rewind = |after| Command::RewindWebhook {
        name: name("pager"),
        after: EventSequence(after),
    };
    cluster.done(rewind(100));
    let same = webhook(&cluster, "pager");
    assert_eq!(same.done, before.done);
    assert!(same.revision > before.revision, "so that a courier at work begins anew");
    cluster.done(rewind(4));
    assert_eq!(webhook(&cluster, "pager").done, EventSequence(4));
    let left: Vec<_> = cluster
        .state
        .dead_letters(&name("pager"))
        .map(|letter| letter.first)
        .collect();
    assert_eq!(left, [EventSequence(4)]);
}

#[test]
fn of_dead_letters_the_oldest_go_first_and_each_webhook_has_its_own() {
    let mut cluster = with_pager();
    let most = u64::try_from(MAX_DEAD_LETTERS).unwrap();
    for _ in 0..=most {
        cluster.done(Command::RevokeTokens { uid: ACME });
    }
    cluster.done(create_webhook("chat"));
    let first = webhook(&cluster, "pager").done.next().get();
    let letters: Vec<_> = (first..=first + most).map(|sequence| (sequence, sequence)).collect();
    let command = advance(&cluster, "pager", first + most, &letters, failed("x"));
    assert_eq!(
        cluster.told(command).len(),
        MAX_DEAD_LETTERS + 2,
        "each is told, and that it fails"
    );
    let kept: Vec<_> = cluster
        .state
        .dead_letters(&name("pager"))
        .map(|letter| letter.first.get())
        .collect();
    assert_eq!(
        (kept.len(), kept[0], kept[MAX_DEAD_LETTERS - 1]),
        (MAX_DEAD_LETTERS, first + 1, first + most)
    );
    assert_eq!(cluster.state.dead_letters(&name("chat")).count(), 0);
}

#[test]
fn what_a_courier_came_to_counts_only_for_the_webhook_that_it_saw() {
    let cluster = with_pager();
    let seen = webhook(&cluster, "pager");
    let with = |revision: Revision, before: u64, done: u64| Command::AdvanceWebhook {
        name: name("pager"),
        expected_revision: revision,
        expected_done: EventSequence(before),
        done: EventSequence(done),
        dead_letters: Vec::new(),
        outcome: failed("x"),
    };
    let last = cluster.state.last_event().get();
    // revision, done before, done, whether it counts
    let cases = [
        (seen.revision, 3, 3, true),
        (seen.revision, 3, 4, true),
        (seen.revision, 3, last, true),
        (seen.revision, 3, last + 1, false),
        (seen.revision, 3, 2, false),
        (seen.revision, 2, 4, false),
        (seen.revision, 4, 5, false),
        (seen.revision.next(), 3, 4, false),
    ];
    for (revision, before, done, counts) in cases {
        let mut cluster = Cluster {
            state: cluster.state.clone(),
            now: cluster.now,
        };
        let told = cluster.told(with(revision, before, done));
        assert_eq!(told.is_empty(), !counts, "{before} {done}");
        let after = webhook(&cluster, "pager");
        let expected = if counts { done } else { 3 };
        assert_eq!((after.done.get(), after != seen), (expected, counts));
        assert_eq!(after.revision, seen.revision, "the etag is the operators'");
    }
}

#[test]
fn that_it_fails_is_told_once_and_that_it_recovered_once() {
    let mut cluster = with_pager();
    let since = cluster.now;
    let failing = |failure: &str| WebhookState::Failing {
        since,
        failure: failure.to_owned(),
    };
    let command = advance(&cluster, "pager", 3, &[], failed("first"));
    let webhook_name = name("pager");
    let told = EventDetail::WebhookFailing {
        webhook: webhook_name,
        failure: "first".to_owned(),
    };
    assert_eq!(cluster.news(command), [told]);
    assert_eq!(webhook(&cluster, "pager").state, failing("first"));
    cluster.now = UnixMillis(1_700);
    let command = advance(&cluster, "pager", 3, &[], failed("second"));
    assert!(cluster.told(command).is_empty());
    assert_eq!(webhook(&cluster, "pager").state, failing("second"), "since when stays");
    let command = advance(&cluster, "pager", 4, &[(4, 4)], failed("third"));
    assert_eq!(cluster.told(command), ["webhook-gave-up"]);
    let command = advance(&cluster, "pager", 5, &[], DeliveryOutcome::Arrived);
    assert_eq!(cluster.told(command), ["webhook-recovered"]);
    let command = advance(&cluster, "pager", 6, &[], DeliveryOutcome::Arrived);
    assert!(cluster.told(command).is_empty());
    assert_eq!(webhook(&cluster, "pager").state, WebhookState::Delivering);
}

#[test]
fn a_receiver_that_is_gone_silences_its_webhook_until_an_operator_enables_it() {
    let mut cluster = with_pager();
    let by = DisabledBy::Receiver;
    let command = advance(&cluster, "pager", 4, &[], DeliveryOutcome::Gone);
    let webhook_name = name("pager");
    let told = EventDetail::WebhookDisabled {
        webhook: webhook_name,
        by,
    };
    assert_eq!(cluster.news(command), [told]);
    let gone = webhook(&cluster, "pager");
    let since = cluster.now;
    assert_eq!(
        (gone.state.clone(), gone.done),
        (WebhookState::Disabled { since, by }, EventSequence(4))
    );
    let command = advance(&cluster, "pager", 5, &[], DeliveryOutcome::Arrived);
    assert!(cluster.told(command).is_empty());
    assert_eq!(webhook(&cluster, "pager"), gone);
    cluster.done(update("pager", None, "", Delivery::Enabled));
    assert_eq!(webhook(&cluster, "pager").state, WebhookState::Delivering);
}

#[test]
fn that_news_of_a_webhook_was_given_up_is_no_news_or_two_that_refuse_would_tell_each_other_for_ever() {
    let mut cluster = with_pager();
    cluster.done(create_webhook("chat"));
    let command = advance(&cluster, "pager", 4, &[(4, 4)], failed("x"));
    assert_eq!(cluster.told(command), ["webhook-gave-up", "webhook-failing"]);
    let command = advance(&cluster, "pager", 5, &[], DeliveryOutcome::Arrived);
    assert_eq!(cluster.told(command), ["webhook-recovered"]);
    cluster.done(update("pager", None, "", Delivery::Disabled));
    let last = cluster.state.last_event().get();
    // What the chat cannot be told of the pager: dead letters, and no event for the pager.
    for told in last - 3..=last {
        let command = advance(&cluster, "chat", told, &[(told, told)], DeliveryOutcome::Arrived);
        assert!(cluster.told(command).is_empty());
    }
    assert_eq!(cluster.state.dead_letters(&name("chat")).count(), 4);
    // A range that the log dropped is told, whatever was in it.
    cluster.done(create_webhook("audit"));
    cluster.done(update("pager", None, "", Delivery::Enabled));
    cluster.done(update("pager", None, "", Delivery::Disabled));
    let last = cluster.state.last_event().get();
    cluster.done(Command::RewindWebhook {
        name: name("audit"),
        after: EventSequence(last - 2),
    });
    let command = advance(&cluster, "audit", last, &[(last - 1, last)], DeliveryOutcome::Arrived);
    assert_eq!(cluster.told(command), ["webhook-gave-up"]);
}
