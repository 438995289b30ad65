//! Couriers at a real log and real receivers: what arrives, in which order, how often, and what is recorded of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tenantry_state::{Command, Delivery, State};
use tenantry_types::{
    DeadLetter, DisabledBy, EventFilter, EventSequence, Webhook, WebhookName, WebhookSecret, WebhookSpec, WebhookState,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webhook_delivery::{AddressPolicy, Client, ClientOptions, Schedule};

use super::test_receiver::Receiver;
use super::{Deliverer, DeliveryOptions};
use crate::single_member::{SingleMember, eventually};

/// A deliverer at work.
struct AtWork {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl AtWork {
    /// May send to loopback; a message gets one attempt more than there are pauses, of a millisecond each.
    fn begin(member: &SingleMember, pauses: usize, pauses_if_refused: usize) -> Self {
        let schedule = |pauses| Schedule::new(vec![Duration::from_millis(1); pauses]);
        let allowed = vec!["127.0.0.1".parse().unwrap()];
        let options = DeliveryOptions {
            client: Client::new(ClientOptions {
                policy: AddressPolicy { allowed },
                ..ClientOptions::default()
            })
            .unwrap(),
            schedule: schedule(pauses),
            refused_schedule: schedule(pauses_if_refused),
        };
        let deliverer = Arc::new(Deliverer::new(Arc::clone(&member.control_plane), options));
        let stop = CancellationToken::new();
        let task = tokio::spawn(deliverer.run(stop.clone()));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn name(text: &str) -> WebhookName {
    WebhookName::new(text).unwrap()
}

fn spec(receiver: &Receiver, kinds: &[&str]) -> WebhookSpec {
    WebhookSpec {
        url: receiver.url.clone(),
        filter: EventFilter {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..EventFilter::default()
        },
        secrets: vec![WebhookSecret::new(&[7; 32]).unwrap()],
    }
}

async fn create(member: &SingleMember, text: &str, receiver: &Receiver, kinds: &[&str]) {
    let (name, spec) = (name(text), spec(receiver, kinds));
    member.done(Command::CreateWebhook { name, spec }).await;
}

fn webhook(state: &State, text: &str) -> Webhook {
    Webhook::clone(state.webhook(&name(text)).unwrap())
}

fn letters(state: &State, text: &str) -> Vec<DeadLetter> {
    state
        .dead_letters(&name(text))
        .map(|letter| DeadLetter::clone(letter))
        .collect()
}

async fn until_done(member: &SingleMember, text: &str, sequence: u64) {
    let what = format!("{text} to have dealt with {sequence}");
    member
        .until(&what, |state| webhook(state, text).done.get() >= sequence)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_is_sent_again_and_those_behind_it_keep_their_order() {
    let member = SingleMember::start().await;
    let receiver = Receiver::start(&[500, 503, 200, 500, 200, 429], 200).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    let at_work = AtWork::begin(&member, 100, 0);
    for _ in 0..3 {
        member.happen().await;
    }
    eventually("three messages", || receiver.answered(200).len() == 3).await;
    let arrived = receiver.answered(200);
    assert!(arrived.is_sorted());
    let got = receiver.got();
    let ids: BTreeSet<_> = got.iter().map(|message| &message.id).collect();
    assert_eq!(
        (got.len(), ids.len()),
        (7, 3),
        "each attempt has the id of its event: {got:?}"
    );
    until_done(&member, "pager", arrived[2]).await;
    assert_eq!(webhook(&member.state(), "pager").state, WebhookState::Delivering);
    assert!(letters(&member.state(), "pager").is_empty());
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_attempt_a_message_is_a_dead_letter_and_the_next_is_delivered() {
    let member = SingleMember::start().await;
    let receiver = Receiver::start(&[500, 500, 500], 200).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    let (first, second) = (member.happen().await, member.happen().await);
    let at_work = AtWork::begin(&member, 2, 100);
    until_done(&member, "pager", second).await;
    assert_eq!(
        (receiver.answered(500), receiver.answered(200)),
        (vec![first; 3], vec![second])
    );
    let letters = letters(&member.state(), "pager");
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(
        (letter.first.get(), letter.last.get(), letter.attempts),
        (first, first, 3)
    );
    assert!(letter.failure.contains("500"), "{letter:?}");
    member
        .until("it to recover", |state| {
            webhook(state, "pager").state == WebhookState::Delivering
        })
        .await;
    let told = member.kinds();
    assert_eq!(told[2..], ["webhook-failing", "webhook-gave-up", "webhook-recovered"]);
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_receiver_itself_refuses_is_given_up_sooner() {
    let member = SingleMember::start().await;
    let receiver = Receiver::start(&[400, 400, 408], 200).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    let (first, second) = (member.happen().await, member.happen().await);
    let at_work = AtWork::begin(&member, 1_000, 1);
    until_done(&member, "pager", second).await;
    assert_eq!(receiver.answered(400), [first, first]);
    assert_eq!(
        (receiver.answered(408), receiver.answered(200)),
        (vec![second], vec![second]),
        "408 passes"
    );
    assert_eq!(letters(&member.state(), "pager").len(), 1);
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_a_failing_webhook_is_what_went_wrong_last() {
    let member = SingleMember::start().await;
    let receiver = Receiver::gated(&[500], 503).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    let at_work = AtWork::begin(&member, 100, 100);
    member.happen().await;
    for status in ["500", "503"] {
        receiver.let_pass(1);
        let shown = |state: &State| match webhook(state, "pager").state {
            WebhookState::Failing { failure, .. } => failure.contains(status),
            _ => false,
        };
        member.until(status, shown).await;
    }
    let told = member.kinds();
    let failing = told.iter().filter(|kind| **kind == "webhook-failing");
    assert_eq!(failing.count(), 1);
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_asked_no_more() {
    let member = SingleMember::start().await;
    let gone = Receiver::start(&[200, 410], 200).await;
    let witness = Receiver::start(&[], 200).await;
    create(&member, "pager", &gone, &["tokens-revoked"]).await;
    create(&member, "witness", &witness, &[]).await;
    let at_work = AtWork::begin(&member, 100, 100);
    let first = member.happen().await;
    member.happen().await;
    member
        .until("it to be disabled", |state| {
            matches!(webhook(state, "pager").state, WebhookState::Disabled { .. })
        })
        .await;
    let third = member.happen().await;
    eventually("the witness to see the last", || witness.answered(200).contains(&third)).await;
    let disabled = webhook(&member.state(), "pager");
    assert!(matches!(
        disabled.state,
        WebhookState::Disabled {
            by: DisabledBy::Receiver,
            ..
        }
    ));
    assert_eq!(
        disabled.done.get(),
        first,
        "what it did not take is still to be delivered"
    );
    assert_eq!(gone.got().len(), 2);
    assert!(witness.got().iter().any(|message| message.kind == "webhook-disabled"));
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_webhook_fails_is_told_to_the_others_and_not_to_itself() {
    let member = SingleMember::start().await;
    let failing = Receiver::start(&[500, 500], 200).await;
    let other = Receiver::start(&[], 200).await;
    create(&member, "pager", &failing, &[]).await;
    create(&member, "other", &other, &[]).await;
    let at_work = AtWork::begin(&member, 100, 100);
    let first = member.happen().await;
    let about = |receiver: &Receiver| {
        let kinds = receiver.got().into_iter().map(|message| message.kind);
        kinds.filter(|kind| kind.starts_with("webhook-")).collect::<Vec<_>>()
    };
    eventually("the other to be told", || {
        about(&other) == ["webhook-failing", "webhook-recovered"]
    })
    .await;
    let last = member.happen().await;
    eventually("the last event", || failing.answered(200).contains(&last)).await;
    assert_eq!(failing.answered(200), [first, last]);
    assert!(about(&failing).is_empty());
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_webhooks_that_refuse_everything_come_to_rest() {
    let member = SingleMember::start().await;
    let refusing = Receiver::start(&[], 400).await;
    create(&member, "pager", &refusing, &[]).await;
    create(&member, "chat", &refusing, &[]).await;
    let at_work = AtWork::begin(&member, 0, 0);
    member.happen().await;
    // Each is told of the other's first failure and of what that gave up of the event and of this news, and of no more.
    let rests = |state: &State| {
        let wanted = |text: &str| {
            let done = webhook(state, text).done;
            state
                .events_after(done)
                .filter(|event| !format!("{:?}", event.detail).contains(text))
                .count()
        };
        wanted("pager") == 0 && wanted("chat") == 0
    };
    member.until("nothing to be left to tell", rests).await;
    let events = member.state().last_event();
    assert!(events.get() < 12, "{:?}", member.kinds());
    let next = member.happen().await;
    until_done(&member, "pager", next).await;
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_webhooks_makes_no_news() {
    let member = SingleMember::start().await;
    let (one, other) = (Receiver::start(&[], 200).await, Receiver::start(&[], 200).await);
    create(&member, "pager", &one, &[]).await;
    create(&member, "chat", &other, &[]).await;
    // Both take each message at the second attempt only: that is told of each event, and not of what was told.
    one.fail_first();
    other.fail_first();
    let at_work = AtWork::begin(&member, 100, 100);
    for _ in 0..3 {
        let sequence = member.happen().await;
        until_done(&member, "pager", sequence).await;
        until_done(&member, "chat", sequence).await;
    }
    let last = member.happen().await;
    until_done(&member, "pager", last).await;
    until_done(&member, "chat", last).await;
    let events = member.kinds();
    assert!(events.len() <= 4 + 4 * 4, "{} events: {events:?}", events.len());
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_nobody_wants_are_recorded_as_dealt_with_now_and_then() {
    let member = SingleMember::start().await;
    member.register().await;
    let receiver = Receiver::start(&[], 200).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    let at_work = AtWork::begin(&member, 100, 100);
    member.report_thousand(0).await;
    until_done(&member, "pager", member.state().last_event().get()).await;
    assert_eq!(receiver.got().len(), 0);
    let wanted = member.happen().await;
    until_done(&member, "pager", wanted).await;
    assert_eq!(receiver.answered(200), [wanted]);
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_dropped_before_it_was_delivered_is_one_dead_letter() {
    let member = SingleMember::start().await;
    member.register().await;
    let receiver = Receiver::start(&[], 200).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    member.happen().await;
    for reported in 0..11 {
        member.report_thousand(1_000 * reported).await;
    }
    let wanted = member.happen().await;
    let at_work = AtWork::begin(&member, 100, 100);
    until_done(&member, "pager", wanted).await;
    let letters = letters(&member.state(), "pager");
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.first.get(), letter.attempts), (2, 0));
    // Up to where the news of it, and of others like it, pushes nothing out that is still to be delivered.
    assert_eq!(letter.last.get(), wanted - 9_000);
    assert_eq!(receiver.answered(200), [wanted]);
    let state = member.state();
    assert_eq!(
        webhook(&state, "pager").state,
        WebhookState::Delivering,
        "the receiver did nothing wrong"
    );
    let told = state
        .events_after(EventSequence(wanted))
        .map(|event| event.detail.kind());
    assert_eq!(told.collect::<Vec<_>>(), ["webhook-gave-up"]);
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_repeats_no_more_than_was_not_recorded() {
    let member = SingleMember::start().await;
    let receiver = Receiver::start(&[], 200).await;
    create(&member, "pager", &receiver, &["tokens-revoked"]).await;
    let mut events = Vec::new();
    for _ in 0..120 {
        events.push(member.happen().await);
    }
    // Each leader is stopped amid its work.
    for stopped_after in [20, 60, 100] {
        let at_work = AtWork::begin(&member, 100, 100);
        eventually("some messages", || receiver.got().len() >= stopped_after).await;
        at_work.end().await;
        let before = receiver.got();
        let done = webhook(&member.state(), "pager").done.get();
        // Each once: what is not recorded may have been repeated before.
        let unrecorded = before
            .iter()
            .map(|message| message.sequence)
            .filter(|sequence| *sequence > done);
        let repeated = unrecorded.collect::<BTreeSet<_>>().len();
        assert!(repeated <= 32, "{repeated} would be sent again");
    }
    let at_work = AtWork::begin(&member, 100, 100);
    until_done(&member, "pager", events[119]).await;
    let got = receiver.answered(200);
    let mut first_arrivals = Vec::new();
    for sequence in &got {
        if !first_arrivals.contains(sequence) {
            first_arrivals.push(*sequence);
        }
    }
    assert_eq!(first_arrivals, events);
    assert!(got.len() <= events.len() + 3 * 32, "{}", got.len());
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_changed_sends_nothing_more_to_where_it_was() {
    let member = SingleMember::start().await;
    let (old, new) = (Receiver::gated(&[], 200).await, Receiver::start(&[], 200).await);
    create(&member, "pager", &old, &["tokens-revoked"]).await;
    let at_work = AtWork::begin(&member, 100, 100);
    let first = member.happen().await;
    eventually("the first message", || old.got().len() == 1).await;
    let mut events = vec![first];
    for _ in 0..5 {
        events.push(member.happen().await);
    }
    let command = Command::UpdateWebhook {
        name: name("pager"),
        expected: None,
        spec: spec(&new, &["tokens-revoked"]),
        delivery: Delivery::Enabled,
    };
    member.done(command).await;
    old.let_pass(100);
    until_done(&member, "pager", events[5]).await;
    assert_eq!(
        new.answered(200),
        events,
        "what was under way is sent again, since it was not recorded"
    );
    assert_eq!(old.got().len(), 1);
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_silenced_or_deleted_sends_nothing_more() {
    for deleted in [false, true] {
        let member = SingleMember::start().await;
        let receiver = Receiver::gated(&[], 500).await;
        create(&member, "pager", &receiver, &["tokens-revoked"]).await;
        let at_work = AtWork::begin(&member, 1_000, 1_000);
        let first = member.happen().await;
        eventually("the first message", || receiver.got().len() == 1).await;
        let command = match deleted {
            true => Command::DeleteWebhook { name: name("pager") },
            false => Command::UpdateWebhook {
                name: name("pager"),
                expected: None,
                spec: spec(&receiver, &["tokens-revoked"]),
                delivery: Delivery::Disabled,
            },
        };
        member.done(command).await;
        // Only now the attempt fails, and would be made again.
        receiver.let_pass(1_000);
        let witness = Receiver::start(&[], 200).await;
        create(&member, "witness", &witness, &["tokens-revoked"]).await;
        let second = member.happen().await;
        eventually("the witness", || witness.answered(200) == [second]).await;
        assert_eq!(receiver.answered(500), [first], "deleted: {deleted}");
        at_work.end().await;
    }
}
