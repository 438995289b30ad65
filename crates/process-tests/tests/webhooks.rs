//! Webhooks of real members: what a receiver is sent while it misbehaves and while leaders die, and what operators are shown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

#[path = "webhooks/receiver.rs"]
mod receiver;

use std::collections::BTreeSet;
use std::time::Duration;

use process_tests::{Cluster, value_of};
use receiver::{Answer, Message, Receiver};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// A message that a receiver refuses is given up after the third pause, any other long after the end of the test.
const PAUSES: &str = "200,200,200,200,200,200,200,200,200,200,400,400,400,400,400,400,800,800,800,800,2000,2000,2000,2000,4000,4000,60000,60000";

/// Three members that may send to loopback, and a tenant whose tokens are revoked to make events.
struct Desk {
    cluster: Cluster,
}

impl Desk {
    fn open() -> Self {
        Self::over(Cluster::start_members_with(&[
            ("webhook-networks", "127.0.0.1"),
            ("webhook-pauses-ms", PAUSES),
        ]))
    }

    fn over(cluster: Cluster) -> Self {
        let desk = Self { cluster };
        let _ = desk.ctl(&["tenant", "create", "acme"]);
        desk
    }

    /// Waits for a leader, if there is none at this moment.
    fn ctl(&self, arguments: &[&str]) -> Value {
        value_of(&format!("tenantctl {arguments:?}"), PATIENCE, || {
            self.cluster.try_ctl(arguments)
        })
    }

    fn create(&self, name: &str, receiver: &Receiver, flags: &[&str]) -> Value {
        let url = receiver.url();
        self.ctl(&[&["webhook", "create", name, "--url", &url], flags].concat())
    }

    /// One more event.
    fn happen(&self) {
        let _ = self.ctl(&["token", "revoke-all", "acme", "--yes"]);
    }

    fn webhook(&self, name: &str) -> Value {
        let all = self.ctl(&["webhook", "list"]);
        let mut all = all.as_array().unwrap().iter();
        all.find(|webhook| webhook["webhook"] == name).unwrap().clone()
    }

    fn wait_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        value_of(&format!("the webhook {name}: {what}"), PATIENCE, || {
            let webhook = self.webhook(name);
            if holds(&webhook) {
                Ok(webhook)
            } else {
                Err(webhook.to_string())
            }
        })
    }

    fn wait_until_state(&self, name: &str, state: &str) -> Value {
        self.wait_until(name, state, |webhook| webhook["state"] == state)
    }

    fn events(&self) -> Vec<Value> {
        value_of("the list of events", PATIENCE, || {
            self.cluster.operator().try_ctl_lines(&["events", "list"])
        })
    }

    /// Sequences of the events after `after` that are not about the webhook itself.
    fn owed(&self, name: &str, after: u64) -> Vec<u64> {
        let owed = self
            .events()
            .into_iter()
            .filter(|event| event["detail"]["webhook"] != name);
        let sequences = owed.filter_map(|event| event["sequence"].as_u64());
        sequences.filter(|sequence| *sequence > after).collect()
    }

    /// The kinds of the events that are about the webhook itself, oldest first.
    fn told_about(&self, name: &str) -> Vec<String> {
        let about = self
            .events()
            .into_iter()
            .filter(|event| event["detail"]["webhook"] == name);
        about.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the receiver has taken all that it is owed, in the order of the log.
    fn wait_until_all_arrived(&self, name: &str, receiver: &Receiver, after: u64) {
        value_of("all events to arrive in order", PATIENCE, || {
            let (owed, arrived) = (self.owed(name, after), receiver.first_arrivals());
            if owed == arrived {
                Ok(())
            } else {
                Err(format!("owed {owed:?}, arrived {arrived:?}"))
            }
        });
    }
}

fn ids(messages: &[Message]) -> BTreeSet<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}

#[test]
fn events_arrive_signed_and_in_order_and_operators_can_test_silence_repeat_and_delete() {
    let desk = Desk::open();
    let receiver = Receiver::start(Answer::Take);
    let created = desk.create("pager", &receiver, &[]);
    let secret = created["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{created}");
    let begun = created["done_sequence"].as_u64().unwrap();
    for _ in 0..3 {
        desk.happen();
    }
    desk.wait_until_all_arrived("pager", &receiver, begun);
    let taken = receiver.taken();
    assert!(taken.iter().all(|message| message.is_signed_with(&secret)));
    assert!(taken.iter().any(|message| message.kind() == "tokens-revoked"));
    assert_eq!(ids(&taken).len(), taken.len(), "a message for each event");
    let shown = desk.ctl(&["webhook", "list"]).to_string();
    assert!(!shown.contains("whsec_") && !shown.contains(&secret[6..]), "{shown}");

    let tested = desk.ctl(&["webhook", "test", "pager"]);
    assert!(tested["outcome"].as_str().unwrap().contains("204"), "{tested}");
    receiver.wait_for("the test message", |messages| {
        messages
            .iter()
            .any(|message| message.kind() == "webhook-test" && message.is_signed_with(&secret))
    });
    receiver.will(Answer::Refuse);
    let refused = desk.cluster.try_ctl(&["webhook", "test", "pager"]).unwrap_err();
    assert!(refused.contains("400"), "{refused}");
    assert_eq!(
        desk.webhook("pager")["state"],
        "delivering",
        "a test says nothing of delivery"
    );
    receiver.will(Answer::Take);

    let _ = desk.ctl(&["webhook", "disable", "pager"]);
    assert_eq!(desk.webhook("pager")["state"], "disabled");
    let silent = receiver.messages().len();
    desk.happen();
    // A second receiver shows that the event was there to be delivered.
    let witness = Receiver::start(Answer::Take);
    let _ = desk.create("witness", &witness, &[]);
    desk.happen();
    witness.wait_for("an event at the witness", |messages| !messages.is_empty());
    assert_eq!(receiver.messages().len(), silent);
    let _ = desk.ctl(&["webhook", "enable", "pager"]);
    let events_only = |messages: &[Message]| {
        // By first arrival: what had arrived in the half second before it was silenced is sent once more.
        let mut seen = BTreeSet::new();
        let mut events = messages.to_vec();
        events.retain(|message| message.kind() != "webhook-test" && seen.insert(message.sequence()));
        events.iter().map(Message::sequence).collect::<Vec<_>>()
    };
    receiver.wait_for("what was missed", |messages| {
        events_only(messages) == desk.owed("pager", begun)
    });

    // Again from the beginning: the same messages under the same ids.
    let before = receiver.messages();
    let _ = desk.ctl(&["webhook", "redeliver", "pager", "--after", &begun.to_string()]);
    let known = events_only(&before);
    receiver.wait_for("all of it again", |messages| {
        let again = events_only(&messages[before.len()..]);
        known.iter().all(|sequence| again.contains(sequence))
    });
    // What happened meanwhile comes for the first time.
    let mut repeated = receiver.messages().split_off(before.len());
    repeated.retain(|message| message.kind() != "webhook-test" && known.contains(&message.sequence()));
    assert!(ids(&repeated).is_subset(&ids(&before)), "{repeated:?}");

    let _ = desk.ctl(&["webhook", "delete", "pager", "--yes"]);
    assert!(desk.cluster.try_ctl(&["webhook", "test", "pager"]).is_err());
}

#[test]
fn a_receiver_that_fails_is_sent_the_same_message_until_it_recovers_and_the_others_wait() {
    let desk = Desk::open();
    let receiver = Receiver::start(Answer::Fail);
    let created = desk.create("pager", &receiver, &[]);
    let begun = created["done_sequence"].as_u64().unwrap();
    desk.happen();
    desk.happen();
    let failing = desk.wait_until_state("pager", "failing");
    assert!(failing["failure"].as_str().unwrap().contains("500"), "{failing}");
    receiver.wait_for("some attempts", |messages| messages.len() >= 3);
    let attempts = receiver.messages();
    assert_eq!(ids(&attempts).len(), 1, "{attempts:?}");

    receiver.will(Answer::Hang);
    receiver.wait_for("an attempt that hangs", |messages| {
        messages.iter().any(|message| message.answered == Answer::Hang)
    });
    receiver.will(Answer::Take);
    desk.wait_until_all_arrived("pager", &receiver, begun);
    assert_eq!(receiver.taken()[0].id, attempts[0].id);
    desk.wait_until_state("pager", "delivering");
    assert_eq!(desk.told_about("pager"), ["webhook-failing", "webhook-recovered"]);
}

#[test]
fn a_receiver_that_hangs_is_failing_and_one_that_redirects_leads_nowhere() {
    let desk = Desk::open();
    let elsewhere = Receiver::start(Answer::Take);
    let hanging = Receiver::start(Answer::Hang);
    let redirecting = Receiver::start(Answer::Redirect(elsewhere.url()));
    let busy = Receiver::start(Answer::Busy(2));
    for (name, receiver) in [("hanging", &hanging), ("redirecting", &redirecting), ("busy", &busy)] {
        let _ = desk.create(name, receiver, &["--kind", "tokens-revoked"]);
    }
    desk.happen();
    for (name, word) in [
        ("redirecting", "redirected"),
        ("busy", "too many requests"),
        ("hanging", "no answer"),
    ] {
        let failing = desk.wait_until_state(name, "failing");
        assert!(failing["failure"].as_str().unwrap().contains(word), "{failing}");
    }
    busy.wait_for("a second attempt", |messages| messages.len() >= 2);
    let messages = busy.messages();
    let pause = messages[1].at - messages[0].at;
    assert!(pause >= Duration::from_secs(2), "it was left alone for {pause:?}");
    for receiver in [&hanging, &redirecting, &busy] {
        receiver.will(Answer::Take);
    }
    for (name, receiver) in [("hanging", &hanging), ("redirecting", &redirecting), ("busy", &busy)] {
        receiver.wait_for("the event", |messages| {
            messages.iter().any(|message| message.answered == Answer::Take)
        });
        desk.wait_until_state(name, "delivering");
        assert_eq!(ids(&receiver.messages()).len(), 1);
    }
    assert_eq!(elsewhere.messages().len(), 0);
}

#[test]
fn what_a_receiver_refuses_is_a_dead_letter_soon_and_one_that_is_gone_is_left_alone() {
    let desk = Desk::open();
    let refusing = Receiver::start(Answer::Refuse);
    let gone = Receiver::start(Answer::Gone);
    let created = desk.create("refusing", &refusing, &["--kind", "tokens-revoked"]);
    let begun = created["done_sequence"].as_u64().unwrap();
    let _ = desk.create("gone", &gone, &["--kind", "tokens-revoked"]);
    desk.happen();
    desk.wait_until("refusing", "a dead letter", |webhook| webhook["dead_letters"] == 1);
    let letters = desk.ctl(&["webhook", "dead-letters", "refusing"]);
    let letter = &letters[0];
    assert_eq!(letter["attempts"], 4, "{letters}");
    assert!(letter["failure"].as_str().unwrap().contains("400"), "{letters}");
    assert_eq!(letter["event"]["kind"], "tokens-revoked", "{letters}");
    assert_eq!(ids(&refusing.messages()).len(), 1);

    assert_eq!(desk.wait_until_state("gone", "gone")["dead_letters"], 0);
    assert_eq!(gone.messages().len(), 1);
    // The next one's turn has come, and it is taken.
    refusing.will(Answer::Take);
    desk.happen();
    desk.wait_until_state("refusing", "delivering");
    assert_eq!(refusing.taken().len(), 1);
    assert_eq!(gone.messages().len(), 1);
    assert_eq!(desk.told_about("gone"), ["webhook-disabled"]);
    assert_eq!(
        desk.told_about("refusing"),
        ["webhook-failing", "webhook-gave-up", "webhook-recovered"]
    );

    // By hand it is sent again, and is no dead letter any more.
    let _ = desk.ctl(&["webhook", "redeliver", "refusing", "--after", &begun.to_string()]);
    refusing.wait_for("both again", |messages| {
        messages
            .iter()
            .filter(|message| message.answered == Answer::Take)
            .count()
            == 3
    });
    assert_eq!(desk.webhook("refusing")["dead_letters"], 0);
    gone.will(Answer::Take);
    let _ = desk.ctl(&["webhook", "enable", "gone"]);
    gone.wait_for("what it missed", |messages| {
        messages
            .iter()
            .filter(|message| message.answered == Answer::Take)
            .count()
            == 2
    });
}

#[test]
fn loopback_is_sent_nothing_unless_it_was_allowed() {
    let desk = Desk::over(Cluster::start_members_with(&[("webhook-pauses-ms", PAUSES)]));
    let receiver = Receiver::start(Answer::Take);
    let _ = desk.create("inward", &receiver, &[]);
    desk.happen();
    let failing = desk.wait_until_state("inward", "failing");
    assert!(failing["failure"].as_str().unwrap().contains("forbidden"), "{failing}");
    let tested = desk.cluster.try_ctl(&["webhook", "test", "inward"]).unwrap_err();
    assert!(tested.contains("forbidden"), "{tested}");
    assert_eq!(receiver.messages().len(), 0);
}

#[test]
fn no_event_is_lost_or_overtakes_another_while_leaders_are_killed() {
    let mut desk = Desk::open();
    let receiver = Receiver::start(Answer::Take);
    let created = desk.create("pager", &receiver, &[]);
    let secret = created["secret"].as_str().unwrap().to_owned();
    let begun = created["done_sequence"].as_u64().unwrap();
    for round in 0..4 {
        // Some events wait; then they leave faster than they are recorded, and the leader dies among them.
        receiver.will(Answer::Fail);
        for _ in 0..8 {
            desk.happen();
        }
        let leader = desk.cluster.leader(None);
        let before = receiver.taken().len();
        receiver.will(Answer::Take);
        receiver.wait_for("some of them", |messages| {
            let taken = messages.iter().filter(|message| message.answered == Answer::Take);
            taken.count() >= before + 1 + round
        });
        desk.cluster.members[leader].kill();
        let _ = desk.cluster.leader(Some(leader));
        desk.cluster.members[leader].start();
        desk.cluster.members[leader].wait_until_ready();
    }
    desk.happen();
    desk.wait_until_all_arrived("pager", &receiver, begun);
    let taken = receiver.taken();
    assert!(taken.iter().all(|message| message.is_signed_with(&secret)));
    let of_event = |sequence| taken.iter().filter(move |message| message.sequence() == sequence);
    for message in &taken {
        assert!(of_event(message.sequence()).all(|same| same.id == message.id));
    }
    desk.wait_until("pager", "nothing waits", |webhook| webhook["state"] == "delivering");
}
