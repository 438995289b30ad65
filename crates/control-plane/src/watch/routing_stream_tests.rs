//! Streams of the routing table as watchers see them, driven by real commands.

use std::time::Duration;

use futures_util::StreamExt as _;
use prost::Message as _;
use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_proto::v1::{PlacementServiceWatchResponse, RoutingSnapshot};
use tenantry_state::strategies::{every_command_once, initialize, member_id, tenant_of};
use tenantry_state::{Command, Envelope, Rules};
use tenantry_types::{ClusterEpoch, ClusterUid, Revision, TenantName, TenantUid, Tier, TierPolicy, UnixMillis};

use super::*;
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
const NOTHING: RoutingCursor = RoutingCursor {
    revision: Revision::ZERO,
    cluster: None,
    epoch: ClusterEpoch::ZERO,
    digest: 0,
};

/// A member's state, fed by commands.
struct Member {
    machine: ReplicatedState,
    published: PublishedState,
    revision: u64,
}

impl Member {
    fn new() -> Self {
        let (machine, published) = ReplicatedState::new();
        Self {
            machine,
            published,
            revision: 0,
        }
    }

    /// Has an identity: revision 1.
    fn initialized(cluster: u128) -> Self {
        let mut member = Self::new();
        member.apply(initialize(cluster));
        member
    }

    fn apply(&mut self, command: Command) {
        self.revision += 1;
        let envelope = Envelope {
            rules: Rules::default(),
            now: UnixMillis(1),
            proposed_by: member_id(1),
            request: None,
            command,
        };
        let bytes = encode_command(&envelope).unwrap();
        let revision = Revision(self.revision);
        self.machine.apply(revision, &bytes).unwrap().unwrap();
        self.machine.applied(revision);
    }

    fn create(&mut self, number: u128) {
        self.apply(Command::CreateTenant {
            uid: TenantUid::from_u128(number),
            name: TenantName::new(&format!("tenant-{number}")).unwrap(),
            spec: tenant_of(Tier::Small, TierPolicy::Pinned).spec,
            node: None,
        });
    }

    fn watch(&self, cursor: RoutingCursor, timing: WatchTiming) -> Outbox {
        let (out, outbox) = outgoing(timing.patience);
        tokio::spawn(routing_stream(self.published.clone(), cursor, timing, out));
        outbox
    }

    /// Where a watcher stands that has everything.
    fn cursor(&self) -> RoutingCursor {
        let current = self.published.current();
        RoutingCursor {
            revision: current.revision,
            cluster: current.state.cluster().map(|cluster| cluster.uid),
            epoch: current
                .state
                .cluster()
                .map_or(ClusterEpoch::ZERO, |cluster| cluster.epoch),
            digest: current.routing_digest,
        }
    }
}

async fn next(outbox: &mut Outbox) -> Option<Part> {
    let message = tokio::time::timeout(BOUND, outbox.next()).await.unwrap()?;
    PlacementServiceWatchResponse::decode(message.unwrap()).unwrap().part
}

async fn described(outbox: &mut Outbox) -> String {
    match next(outbox).await {
        Some(Part::Snapshot(RoutingSnapshot {
            revision,
            tenants,
            last,
            ..
        })) => format!(
            "snapshot {revision} of {}{}",
            tenants.len(),
            if last { "" } else { " and more" }
        ),
        Some(Part::Delta(delta)) => format!("change {}", delta.revision),
        Some(Part::Bookmark(bookmark)) => format!("bookmark {}", bookmark.revision),
        Some(Part::Resync(resync)) => format!("resync: {}", resync.reason),
        None => "end".to_owned(),
    }
}

/// Whether the stream's task has nothing to say, given every chance to.
async fn is_quiet(outbox: &mut Outbox) -> bool {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    futures_util::FutureExt::now_or_never(outbox.next()).is_none()
}

#[tokio::test]
async fn a_watcher_gets_the_table_and_then_every_change() {
    let mut member = Member::initialized(1);
    member.create(1);
    let mut stream = member.watch(NOTHING, NEVER);
    assert_eq!(described(&mut stream).await, "snapshot 2 of 1");
    member.create(2);
    member.create(3);
    assert_eq!(described(&mut stream).await, "change 3");
    assert_eq!(described(&mut stream).await, "change 4");
    // A lost connection costs only what came since.
    let cursor = member.cursor();
    member.create(4);
    let mut resumed = member.watch(cursor, NEVER);
    assert_eq!(described(&mut resumed).await, "change 5");
}

#[tokio::test]
async fn a_table_that_is_not_ours_is_replaced() {
    let mut member = Member::initialized(1);
    member.create(1);
    let good = member.cursor();
    member.create(2);
    // As it was at its own revision, however much has changed since.
    let mut resumed = member.watch(good, NEVER);
    assert_eq!(described(&mut resumed).await, "change 3");
    let other = [
        RoutingCursor { digest: 5, ..good },
        RoutingCursor { cluster: None, ..good },
        RoutingCursor {
            cluster: Some(ClusterUid::from_u128(9)),
            ..good
        },
        // A cluster that was further: nothing to wait for.
        RoutingCursor {
            cluster: Some(ClusterUid::from_u128(9)),
            revision: Revision(1_000),
            ..good
        },
    ];
    for cursor in other {
        let mut stream = member.watch(cursor, NEVER);
        assert_eq!(described(&mut stream).await, "snapshot 3 of 2", "{cursor:?}");
    }
}

#[tokio::test]
async fn after_a_restore_the_old_table_is_replaced_and_a_member_of_before_sends_nothing() {
    let mut member = Member::initialized(1);
    member.create(1);
    let good = member.cursor();
    // A watcher of the time before the restore, however far it was.
    let before = RoutingCursor {
        epoch: ClusterEpoch::ZERO,
        revision: Revision(1_000),
        ..good
    };
    let mut stream = member.watch(before, NEVER);
    assert_eq!(described(&mut stream).await, "snapshot 2 of 1");
    // One that follows the restored cluster, while this member does not.
    let after = RoutingCursor {
        epoch: ClusterEpoch(good.epoch.get() + 1),
        ..good
    };
    let mut stream = member.watch(after, NEVER);
    let ending = tokio::time::timeout(BOUND, stream.next()).await.unwrap().unwrap();
    assert_eq!(ending.unwrap_err().code(), tonic::Code::Unavailable);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_watcher_that_is_ahead_is_never_sent_what_is_older() {
    let mut ahead = Member::initialized(1);
    let mut lagging = Member::new();
    (1..=5).for_each(|number| ahead.create(number));
    let cursor = ahead.cursor();
    assert_eq!(cursor.revision, Revision(6));
    let mut stream = lagging.watch(cursor, NEVER);
    assert!(is_quiet(&mut stream).await, "the member knows nothing at all");
    lagging.apply(initialize(1));
    (1..=4).for_each(|number| lagging.create(number));
    assert!(is_quiet(&mut stream).await, "the member is at revision 5");
    lagging.create(5);
    assert!(is_quiet(&mut stream).await, "the member is where the watcher is");
    lagging.create(6);
    assert_eq!(described(&mut stream).await, "change 7");
    // The same for one that must have a snapshot: it waits for one that is new enough.
    let wrong = RoutingCursor {
        revision: Revision(8),
        digest: 1,
        ..cursor
    };
    let mut stream = lagging.watch(wrong, NEVER);
    assert!(is_quiet(&mut stream).await);
    lagging.create(7);
    assert_eq!(described(&mut stream).await, "snapshot 8 of 7");
}

#[tokio::test]
async fn a_quiet_stream_says_how_far_it_has_come_and_what_the_digest_is() {
    let mut member = Member::initialized(1);
    let timing = WatchTiming {
        bookmark: Duration::from_millis(1),
        ..NEVER
    };
    let mut stream = member.watch(NOTHING, timing);
    assert_eq!(described(&mut stream).await, "snapshot 1 of 0");
    // A revision without a change for watchers: the same command again.
    member.create(1);
    let mut last = String::new();
    while last != "bookmark 2" {
        last = described(&mut stream).await;
    }
    let Some(Part::Bookmark(bookmark)) = next(&mut stream).await else {
        panic!("a bookmark was expected");
    };
    assert_eq!(bookmark.digest, member.cursor().digest);
}

#[tokio::test]
async fn a_busy_stream_carries_the_digest_of_the_revision_that_it_reached() {
    let mut member = Member::initialized(1);
    let timing = WatchTiming {
        digest: Duration::ZERO,
        ..NEVER
    };
    let mut stream = member.watch(NOTHING, timing);
    assert_eq!(described(&mut stream).await, "snapshot 1 of 0");
    for number in 1..=3 {
        member.create(number);
        let revision = member.revision;
        assert_eq!(described(&mut stream).await, format!("change {revision}"));
        let Some(Part::Bookmark(bookmark)) = next(&mut stream).await else {
            panic!("a digest was expected");
        };
        assert_eq!((bookmark.revision, bookmark.digest), (revision, member.cursor().digest));
    }
}

#[tokio::test]
async fn a_watcher_that_stops_reading_is_told_to_start_over_and_nobody_waits_for_it() {
    let mut member = Member::initialized(1);
    let slow = WatchTiming {
        patience: Duration::from_millis(1),
        ..NEVER
    };
    let mut stalled = member.watch(NOTHING, slow);
    let mut reading = member.watch(NOTHING, NEVER);
    assert_eq!(described(&mut reading).await, "snapshot 1 of 0");
    let mut changes = 0;
    while !stalled.has_ended() {
        changes += 1;
        member.create(changes);
        assert_eq!(described(&mut reading).await, format!("change {}", changes + 1));
        // Time for the patience to run out; how much does not matter.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(changes < 10_000, "the stream of a watcher that does not read goes on");
    }
    let mut told = Vec::new();
    loop {
        match described(&mut stalled).await.as_str() {
            "end" => break,
            part => told.push(part.to_owned()),
        }
    }
    assert_eq!(told.last().unwrap(), "resync: no message was taken for too long");
    assert!(told.len() < 70, "{} messages were kept", told.len());
}

#[tokio::test]
async fn watchers_of_a_member_that_skips_ahead_by_a_snapshot_start_over() {
    let mut ahead = Member::initialized(1);
    let mut lagging = Member::initialized(1);
    let mut stream = lagging.watch(NOTHING, NEVER);
    assert_eq!(described(&mut stream).await, "snapshot 1 of 0");
    (1..=3).for_each(|number| ahead.create(number));
    let mut bytes = Vec::new();
    ReplicatedState::write_snapshot(&ahead.machine.cut(), &mut bytes).unwrap();
    lagging.machine.restore(&mut bytes.as_slice()).unwrap();
    lagging.machine.applied(Revision(4));
    assert!(described(&mut stream).await.starts_with("resync: "));
    assert_eq!(described(&mut stream).await, "end");
    // Who is there already goes on.
    let mut stream = lagging.watch(ahead.cursor(), NEVER);
    lagging.revision = 4;
    lagging.create(4);
    assert_eq!(described(&mut stream).await, "change 5");
}

#[tokio::test]
async fn watchers_that_come_together_are_sent_the_same_bytes() {
    let mut member = Member::initialized(1);
    (1..=5_000).for_each(|number| member.create(number));
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(member.watch(NOTHING, NEVER));
    }
    let mut addresses = Vec::new();
    for stream in &mut streams {
        let mut of_one = Vec::new();
        loop {
            let message = tokio::time::timeout(BOUND, stream.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            of_one.push(message.as_ptr());
            let part = PlacementServiceWatchResponse::decode(message).unwrap().part;
            let Some(Part::Snapshot(piece)) = part else {
                panic!("a snapshot was expected, not {part:?}");
            };
            if piece.last {
                break;
            }
        }
        assert!(of_one.len() > 2, "cut into {} messages", of_one.len());
        addresses.push(of_one);
    }
    assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]));
    // A change goes to all of them in the same bytes, too.
    member.create(5_001);
    let mut changes = Vec::new();
    for stream in &mut streams {
        changes.push(stream.next().await.unwrap().unwrap().as_ptr());
    }
    assert!(changes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_snapshot_in_pieces_holds_the_whole_table_and_its_digest() {
    let mut member = Member::initialized(1);
    for envelope in every_command_once().into_iter().skip(1) {
        member.apply(envelope.command);
    }
    (100..3_000).for_each(|number| member.create(number));
    let published = member.published.current();
    let pieces = routing_snapshot::messages(&published);
    let mut whole = RoutingSnapshot::default();
    for (index, piece) in pieces.iter().enumerate() {
        let part = PlacementServiceWatchResponse::decode(piece.clone()).unwrap().part;
        let Some(Part::Snapshot(piece)) = part else {
            panic!("a snapshot was expected, not {part:?}");
        };
        assert_eq!(piece.revision, member.revision);
        assert_eq!(piece.last, index + 1 == pieces.len());
        whole.tenants.extend(piece.tenants);
        whole.nodes.extend(piece.nodes);
        whole.token_keys.extend(piece.token_keys);
        whole.tiers.extend(piece.tiers);
        whole.digest = piece.digest;
    }
    use tenantry_proto::convert::digest;
    let tenants = whole.tenants.iter().map(digest::tenant_route);
    let nodes = whole.nodes.iter().map(digest::node_route);
    let keys = whole.token_keys.iter().map(digest::token_key);
    let tiers = whole.tiers.iter().map(digest::tier);
    let digest = tenants
        .chain(nodes)
        .chain(keys)
        .chain(tiers)
        .fold(0, |all, one| all ^ one);
    assert_eq!(whole.digest, digest);
    assert_eq!(whole.tenants.len() as u64, published.state.active_tenants());
}
