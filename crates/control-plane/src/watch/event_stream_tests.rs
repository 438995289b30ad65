//! Streams of the event log as watchers see them, driven by real commands.

use std::time::Duration;

use tenantry_proto::v1::NotificationServiceWatchResponse;
use tenantry_proto::v1::notification_service_watch_response::Part;
use tenantry_state::strategies::{at, initialize, tenant_of};
use tenantry_state::{Command, EVENT_LIFETIME_MS};
use tenantry_types::{
    EventFilter, EventSequence, Labels, Revision, TenantName, TenantSpec, TenantUid, Tier, TierPolicy,
};
use tokio::sync::mpsc;
use tonic::Status;

use super::{EventMatcher, WatchTiming, event_stream};
use crate::codec::encode_command;
use crate::machine::{PublishedState, ReplicatedState};
use crate::raft::StateMachine as _;

/// Only bounds a test that would hang.
const BOUND: Duration = Duration::from_secs(30);
/// Nothing happens by the clock.
const NEVER: WatchTiming = WatchTiming {
    bookmark: Duration::from_secs(3_600),
    digest: Duration::from_secs(3_600),
    patience: Duration::from_secs(3_600),
};
const ACME: TenantUid = TenantUid::from_u128(1);
const OTHER: TenantUid = TenantUid::from_u128(2);

/// A member's state, fed by commands: `acme` is on the plan `gold`, `other` is not.
struct Member {
    machine: ReplicatedState,
    published: PublishedState,
    revision: u64,
    now: u64,
}

impl Member {
    fn new() -> Self {
        let (machine, published) = ReplicatedState::new();
        let mut member = Self {
            machine,
            published,
            revision: 0,
            now: 1_000,
        };
        member.apply(initialize(1));
        for (uid, name, plan) in [(ACME, "acme", "gold"), (OTHER, "other", "free")] {
            member.apply(Command::CreateTenant {
                uid,
                name: TenantName::new(name).unwrap(),
                spec: on_plan(plan),
                node: None,
            });
        }
        member
    }

    fn apply(&mut self, command: Command) {
        self.revision += 1;
        let bytes = encode_command(&at(self.now, command)).unwrap();
        let revision = Revision(self.revision);
        self.machine.apply(revision, &bytes).unwrap().unwrap();
        self.machine.applied(revision);
    }

    /// Makes one event about the tenant.
    fn happen(&mut self, uid: TenantUid) {
        self.apply(Command::RevokeTokens { uid });
    }

    /// Lets all events grow old, with a command that makes none.
    fn expire(&mut self) {
        self.now += EVENT_LIFETIME_MS + 1;
        self.apply(Command::RecordAvailability { changes: Vec::new() });
    }

    fn watch(&self, after: Option<u64>, filter: EventFilter, queue: usize) -> Watcher {
        let (out, parts) = mpsc::channel(queue);
        let (published, matcher) = (self.published.clone(), EventMatcher::new(filter));
        tokio::spawn(event_stream(published, after.map(EventSequence), matcher, NEVER, out));
        Watcher(parts)
    }
}

fn on_plan(plan: &str) -> TenantSpec {
    TenantSpec {
        labels: Labels::new([("plan".to_owned(), plan.to_owned())].into()).unwrap(),
        ..tenant_of(Tier::Small, TierPolicy::Pinned).spec
    }
}

/// What a watcher is sent, in short.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Event(u64),
    Gap(u64),
    Bookmark(u64),
}

struct Watcher(mpsc::Receiver<Result<NotificationServiceWatchResponse, Status>>);

impl Watcher {
    async fn next(&mut self) -> Sent {
        let message = tokio::time::timeout(BOUND, self.0.recv())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        match message.part.unwrap() {
            Part::Event(event) => Sent::Event(event.sequence),
            Part::Gap(gap) => Sent::Gap(gap.oldest_sequence),
            Part::Bookmark(bookmark) => Sent::Bookmark(bookmark.sequence),
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Sent> {
        let mut sent = Vec::new();
        while sent.len() < count {
            sent.push(self.next().await);
        }
        sent
    }
}

#[tokio::test]
async fn a_watcher_gets_what_is_kept_and_then_what_happens() {
    let mut member = Member::new();
    member.happen(ACME);
    member.happen(ACME);
    let mut all = member.watch(Some(0), EventFilter::default(), 8);
    let mut resumed = member.watch(Some(1), EventFilter::default(), 8);
    let mut only_new = member.watch(None, EventFilter::default(), 8);
    assert_eq!(all.take(2).await, [Sent::Event(1), Sent::Event(2)]);
    assert_eq!(resumed.next().await, Sent::Event(2));
    assert_eq!(only_new.next().await, Sent::Bookmark(2), "where to resume");
    member.happen(OTHER);
    for watcher in [&mut all, &mut resumed, &mut only_new] {
        assert_eq!(watcher.next().await, Sent::Event(3));
    }
}

#[tokio::test]
async fn a_cursor_behind_the_log_finds_a_gap_and_goes_on_behind_it() {
    let mut member = Member::new();
    member.happen(ACME);
    member.happen(ACME);
    member.expire();
    member.happen(ACME);
    let mut behind = member.watch(Some(0), EventFilter::default(), 8);
    assert_eq!(behind.take(2).await, [Sent::Gap(3), Sent::Event(3)]);
    let mut just_in_time = member.watch(Some(2), EventFilter::default(), 8);
    assert_eq!(just_in_time.next().await, Sent::Event(3), "it missed nothing");
}

#[tokio::test]
async fn a_log_that_expired_to_nothing_is_a_gap_once() {
    let mut member = Member::new();
    member.happen(ACME);
    member.happen(ACME);
    member.expire();
    let mut behind = member.watch(Some(1), EventFilter::default(), 8);
    let mut up_to_date = member.watch(Some(2), EventFilter::default(), 8);
    assert_eq!(behind.next().await, Sent::Gap(3), "the next one to come");
    member.expire();
    member.happen(ACME);
    assert_eq!(behind.next().await, Sent::Event(3));
    assert_eq!(up_to_date.next().await, Sent::Event(3));
}

#[tokio::test]
async fn a_cursor_ahead_of_this_member_waits_for_it() {
    let mut member = Member::new();
    member.happen(ACME);
    // It has seen the first two from another member.
    let mut ahead = member.watch(Some(2), EventFilter::default(), 8);
    member.happen(ACME);
    member.happen(ACME);
    assert_eq!(ahead.next().await, Sent::Event(3));
    let mut never = member.watch(Some(u64::MAX), EventFilter::default(), 8);
    member.happen(ACME);
    assert_eq!(ahead.next().await, Sent::Event(4));
    assert!(never.0.try_recv().is_err());
}

#[tokio::test]
async fn labels_are_those_that_a_tenant_has_now() {
    let mut member = Member::new();
    let gold = || EventFilter {
        labels: [("plan".to_owned(), "gold".to_owned())].into(),
        ..EventFilter::default()
    };
    member.happen(ACME);
    member.happen(OTHER);
    let mut watcher = member.watch(Some(0), gold(), 8);
    assert_eq!(watcher.next().await, Sent::Event(1));
    let relabel = |uid, plan| Command::UpdateTenant {
        uid,
        expected: None,
        spec: on_plan(plan),
    };
    member.apply(relabel(ACME, "free"));
    member.happen(ACME);
    member.apply(relabel(OTHER, "gold"));
    member.happen(OTHER);
    assert_eq!(watcher.next().await, Sent::Event(4));
    // Who asks for old events now is shown them by today's labels, too.
    assert_eq!(
        member.watch(Some(0), gold(), 8).take(2).await,
        [Sent::Event(2), Sent::Event(4)]
    );
}

#[tokio::test]
async fn a_watcher_that_does_not_read_finds_a_gap_and_nobody_waits_for_it() {
    let mut member = Member::new();
    let mut slow = member.watch(Some(0), EventFilter::default(), 1);
    let mut quick = member.watch(Some(0), EventFilter::default(), 1);
    for _ in 0..300 {
        member.happen(ACME);
    }
    let sent = quick.take(300).await;
    assert_eq!(sent.last(), Some(&Sent::Event(300)));
    member.expire();
    member.happen(ACME);
    assert_eq!(quick.next().await, Sent::Event(301), "nobody waits for the slow one");
    // It gets what was on its way, then learns that it missed some.
    let mut read = 0;
    loop {
        match slow.next().await {
            Sent::Event(sequence) => read = sequence,
            Sent::Gap(oldest) => {
                assert_eq!(oldest, 301);
                break;
            }
            Sent::Bookmark(_) => {}
        }
    }
    assert!(read < 300, "{read}");
    assert_eq!(slow.next().await, Sent::Event(301));
}
