//! Streams that break, go silent or lead elsewhere.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use control_client::{
    ClientOptions, EventFilter, EventReporter, EventStart, EventUpdate, EventWatch, RoutingPosition, RoutingUpdate,
    RoutingWatch, WatchError,
};
use support::{End, Member, Reply, client, dead, options};
use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_proto::v1::{
    Event, EventBookmark, NotificationServiceWatchResponse, PlacementServiceWatchResponse, ReportRequest,
    ReportedEvent, RoutingBookmark, RoutingDelta, RoutingResync, RoutingSnapshot, notification_service_watch_response,
};
use tenantry_types::{ClusterEpoch, ClusterUid, EventSequence, Revision};
use tokio::time::timeout;
use tonic::{Code, Status};

const CLUSTER: ClusterUid = ClusterUid::from_u128(7);
/// Only bounds a test that would hang.
const BOUND: Duration = Duration::from_secs(30);

fn part(part: Part) -> PlacementServiceWatchResponse {
    PlacementServiceWatchResponse { part: Some(part) }
}

fn snapshot(cluster: ClusterUid, revision: u64) -> PlacementServiceWatchResponse {
    part(Part::Snapshot(RoutingSnapshot {
        revision,
        cluster_uid: cluster.to_string(),
        cluster_epoch: ClusterEpoch::FIRST.get(),
        last: true,
        digest: revision * 100,
        ..Default::default()
    }))
}

fn delta(revision: u64) -> PlacementServiceWatchResponse {
    part(Part::Delta(RoutingDelta {
        revision,
        ..Default::default()
    }))
}

fn bookmark(revision: u64) -> PlacementServiceWatchResponse {
    part(Part::Bookmark(RoutingBookmark {
        revision,
        digest: revision * 100,
    }))
}

async fn revision(watch: &mut RoutingWatch) -> u64 {
    match timeout(BOUND, watch.next()).await.unwrap().unwrap() {
        RoutingUpdate::Replaced { revision, .. } | RoutingUpdate::Bookmark { revision, .. } => revision.get(),
        RoutingUpdate::Changed(delta) => delta.revision,
    }
}

#[tokio::test]
async fn a_routing_watch_resumes_after_the_last_revision_with_a_known_digest() {
    let member = Member::start([Reply::Answer]).await;
    *member.routing.lock().unwrap() = [
        (
            vec![snapshot(CLUSTER, 5), delta(6)],
            End::Fail(Status::unavailable("restarting")),
        ),
        (vec![delta(6), delta(7), bookmark(8)], End::Closed),
        (vec![bookmark(9)], End::Silent),
    ]
    .into();
    let dead = dead().await;
    let client = client(&[&dead, &member.endpoint], options());
    let mut watch = RoutingWatch::new(client, "node-1".into(), RoutingPosition::default());
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(revision(&mut watch).await);
    }
    assert_eq!(seen, [5, 6, 7, 8, 9]);
    let asked = member.routing_asked.lock().unwrap();
    let resumed: Vec<_> = asked
        .iter()
        .map(|request| (request.after_revision, request.digest, request.cluster_uid.clone()))
        .collect();
    let uid = CLUSTER.to_string();
    assert_eq!(resumed, [(0, 0, String::new()), (5, 500, uid.clone()), (8, 800, uid)]);
    assert!(asked.iter().all(|request| request.node_id == "node-1"));
}

#[tokio::test]
async fn a_kept_position_is_sent_with_the_first_request() {
    let member = Member::start([Reply::Answer]).await;
    *member.routing.lock().unwrap() = [(vec![delta(4), delta(5)], End::Silent)].into();
    let kept = RoutingPosition {
        cluster_uid: Some(CLUSTER),
        cluster_epoch: ClusterEpoch::FIRST,
        revision: Revision(4),
        digest: 99,
    };
    let mut watch = RoutingWatch::new(client(&[&member.endpoint], options()), "node-1".into(), kept);
    assert_eq!(revision(&mut watch).await, 5);
    let asked = member.routing_asked.lock().unwrap();
    assert_eq!((asked[0].after_revision, asked[0].digest), (4, 99));
}

#[tokio::test]
async fn a_silent_stream_is_taken_for_dead() {
    let member = Member::start([Reply::Answer]).await;
    *member.routing.lock().unwrap() = [(vec![snapshot(CLUSTER, 5)], End::Silent), (vec![delta(6)], End::Silent)].into();
    let options = ClientOptions {
        watch_silence: Duration::from_secs(1),
        ..options()
    };
    let mut watch = RoutingWatch::new(
        client(&[&member.endpoint], options),
        "node-1".into(),
        RoutingPosition::default(),
    );
    assert_eq!(revision(&mut watch).await, 5);
    assert_eq!(revision(&mut watch).await, 6);
}

#[tokio::test]
async fn a_resync_and_a_digest_that_differs_begin_with_a_snapshot() {
    let member = Member::start([Reply::Answer]).await;
    let resync = part(Part::Resync(RoutingResync { reason: "slow".into() }));
    *member.routing.lock().unwrap() = [
        (vec![snapshot(CLUSTER, 5), resync], End::Closed),
        (vec![snapshot(CLUSTER, 9)], End::Silent),
        (vec![snapshot(CLUSTER, 9)], End::Silent),
    ]
    .into();
    let mut watch = RoutingWatch::new(
        client(&[&member.endpoint], options()),
        "node-1".into(),
        RoutingPosition::default(),
    );
    assert_eq!(revision(&mut watch).await, 5);
    assert_eq!(revision(&mut watch).await, 9);
    watch.start_over();
    assert_eq!(revision(&mut watch).await, 9);
    let asked = member.routing_asked.lock().unwrap();
    assert_eq!(
        asked.iter().map(|request| request.after_revision).collect::<Vec<_>>(),
        [0, 0, 0]
    );
}

#[tokio::test]
async fn another_cluster_is_reported_and_its_table_is_not() {
    let member = Member::start([Reply::Answer]).await;
    *member.routing.lock().unwrap() = [(vec![snapshot(ClusterUid::from_u128(8), 50)], End::Silent)].into();
    let kept = RoutingPosition {
        cluster_uid: Some(CLUSTER),
        cluster_epoch: ClusterEpoch::FIRST,
        revision: Revision(4),
        digest: 99,
    };
    let mut watch = RoutingWatch::new(client(&[&member.endpoint], options()), "node-1".into(), kept);
    let error = timeout(BOUND, watch.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, WatchError::OtherCluster { expected, found } if expected == CLUSTER && found != CLUSTER));
    assert_eq!(watch.position(), kept);
}

#[tokio::test]
async fn a_dropped_wait_loses_no_update() {
    let member = Member::start([Reply::Answer]).await;
    let revisions: Vec<_> = (6..60).map(delta).collect();
    let messages = [vec![snapshot(CLUSTER, 5)], revisions].concat();
    *member.routing.lock().unwrap() = [(messages, End::Silent)].into();
    let mut watch = RoutingWatch::new(
        client(&[&member.endpoint], options()),
        "node-1".into(),
        RoutingPosition::default(),
    );
    let mut seen = Vec::new();
    let started = std::time::Instant::now();
    while seen.last() != Some(&59) {
        assert!(started.elapsed() < BOUND, "{seen:?}");
        // Poll once, drop, poll again: as in a `select!` whose other branch is always ready.
        tokio::select! {
            biased;
            found = revision(&mut watch) => seen.push(found),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(seen, (5..60).collect::<Vec<u64>>());
}

fn event(sequence: u64) -> NotificationServiceWatchResponse {
    NotificationServiceWatchResponse {
        part: Some(notification_service_watch_response::Part::Event(Event {
            sequence,
            ..Default::default()
        })),
    }
}

#[tokio::test]
async fn an_event_watch_resumes_after_its_cursor_with_its_filter() {
    let member = Member::start([Reply::Answer]).await;
    let mark = NotificationServiceWatchResponse {
        part: Some(notification_service_watch_response::Part::Bookmark(EventBookmark {
            sequence: 5,
        })),
    };
    *member.events.lock().unwrap() = [
        (vec![event(3), mark], End::Closed),
        (vec![event(5), event(6)], End::Silent),
    ]
    .into();
    let filter = EventFilter {
        kinds: vec!["hotspot-raised".into()],
        labels: [("plan".to_owned(), "paid".to_owned())].into(),
        ..EventFilter::default()
    };
    let mut watch = EventWatch::new(client(&[&member.endpoint], options()), filter, EventStart::OnlyNew);
    watch.connect(BOUND).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match timeout(BOUND, watch.next()).await.unwrap().unwrap() {
            EventUpdate::Event(event) => event.sequence,
            EventUpdate::Bookmark(sequence) => sequence.get(),
            EventUpdate::Gap { oldest } => panic!("no gap before {oldest}"),
        });
    }
    assert_eq!(seen, [3, 5, 6]);
    assert_eq!(watch.position(), EventStart::After(EventSequence(6)));
    let asked = member.events_asked.lock().unwrap();
    let starts: Vec<_> = asked
        .iter()
        .map(|request| (request.only_new, request.after_sequence))
        .collect();
    assert_eq!(starts, [(true, 0), (false, 5)]);
    assert!(asked.iter().all(|request| request.kinds == ["hotspot-raised"]));
    assert!(asked.iter().all(|request| request.labels["plan"] == "paid"));
}

#[tokio::test]
async fn a_watch_tells_a_refusal_from_a_member_that_is_not_there() {
    let refusing = Member::start([Reply::Fail(Status::invalid_argument("kinds: unknown"))]).await;
    let mut watch = EventWatch::new(
        client(&[&refusing.endpoint], options()),
        EventFilter::default(),
        EventStart::OnlyNew,
    );
    let error = timeout(BOUND, watch.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, WatchError::Refused(refusal) if refusal.code == Code::InvalidArgument));

    let dead = dead().await;
    let mut watch = EventWatch::new(client(&[&dead], options()), EventFilter::default(), EventStart::OnlyNew);
    let error = watch.connect(Duration::from_millis(200)).await.unwrap_err();
    let control_client::CallError::Unavailable { endpoint, .. } = error else {
        panic!("must be unavailable");
    };
    assert_eq!(endpoint, dead);
}

fn batch(first: u64) -> ReportRequest {
    let event = |sequence| ReportedEvent {
        sequence,
        ..Default::default()
    };
    ReportRequest {
        node_id: "node-1".into(),
        incarnation: 1,
        events: vec![event(first), event(first + 1)],
    }
}

#[tokio::test]
async fn batches_share_a_stream_until_it_fails_and_are_then_sent_again_to_the_leader() {
    let leader = Member::start([Reply::Answer]).await;
    let first = Member::start([
        Reply::Answer,
        Reply::Answer,
        Reply::NotLeader(Some(leader.endpoint.clone())),
    ])
    .await;
    let mut reporter = EventReporter::new(client(&[&first.endpoint, &leader.endpoint], options()));
    for sequence in [1, 3, 5, 7] {
        let response = reporter.report(batch(sequence)).await.unwrap();
        assert_eq!(response.acknowledged_sequence, sequence + 1);
    }
    assert_eq!(*first.reported.lock().unwrap(), [(1, 1), (1, 3), (1, 5)]);
    assert_eq!(*leader.reported.lock().unwrap(), [(1, 5), (1, 7)]);
}

async fn arrived(member: &Member, batches: usize) {
    while member.reported.lock().unwrap().len() < batches {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dropped_report_never_lends_its_answer_to_the_next_batch() {
    let member = Member::start([Reply::Answer, Reply::Hang, Reply::Answer]).await;
    let mut reporter = EventReporter::new(client(&[&member.endpoint], options()));
    reporter.report(batch(1)).await.unwrap();
    tokio::select! {
        _ = reporter.report(batch(3)) => panic!("the member does not answer this batch"),
        () = arrived(&member, 2) => {}
    }
    assert_eq!(reporter.report(batch(5)).await.unwrap().acknowledged_sequence, 6);
    assert_eq!(member.reported.lock().unwrap().last(), Some(&(2, 5)));
}

#[tokio::test]
async fn calls_watches_and_reports_run_in_tasks_of_their_own() {
    let member = Member::start([Reply::Answer]).await;
    *member.routing.lock().unwrap() = [(vec![snapshot(CLUSTER, 5)], End::Silent)].into();
    *member.events.lock().unwrap() = [(vec![event(1)], End::Silent)].into();
    let client = client(&[&member.endpoint], options());
    let mut routing = RoutingWatch::new(client.clone(), String::new(), RoutingPosition::default());
    let mut events = EventWatch::new(client.clone(), EventFilter::default(), EventStart::OnlyNew);
    let mut reporter = EventReporter::new(client.clone());
    let routing = tokio::spawn(async move { routing.next().await.is_ok() });
    let events = tokio::spawn(async move { events.next().await.is_ok() });
    let reported = tokio::spawn(async move { reporter.report(batch(1)).await.is_ok() });
    let created = tokio::spawn(async move { client.admin().create_tenant(Default::default()).await.is_ok() });
    for task in [routing, events, reported, created] {
        assert!(timeout(BOUND, task).await.unwrap().unwrap());
    }
}
