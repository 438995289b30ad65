//! What the reporter makes of each answer, with a scripted receiver.

use std::collections::{BTreeSet, VecDeque};

use control_client::FieldViolation;
use parking_lot::Mutex;
use tenantry_types::Incarnation;
use tonic::{Code, Status};

use super::super::test_events::{batch, crossed};
use super::*;

/// How the control plane answers a batch.
#[derive(Clone)]
enum Reply {
    Silence,
    Refuse(&'static str, &'static str),
    /// Takes it, and the answer gets lost.
    TakeSilently,
}

/// Applies each sequence once, as the state machine does.
#[derive(Default)]
struct Log {
    replies: VecDeque<Reply>,
    /// Used figures of crossed quotas that it cannot read.
    malformed: BTreeSet<u64>,
    cursor: (u64, u64),
    taken: Vec<u64>,
    largest: usize,
    calls: usize,
}

struct ControlPlane(Arc<Mutex<Log>>);

fn used(event: &v1::ReportedEvent) -> u64 {
    match event.detail.as_ref().and_then(|detail| detail.kind.as_ref()) {
        Some(v1::event_detail::Kind::QuotaCrossed(crossed)) => crossed.used,
        other => panic!("{other:?} was not appended"),
    }
}

fn silence() -> CallError {
    CallError::Unavailable {
        attempts: 3,
        endpoint: "127.0.0.1:1".parse().unwrap(),
        last: Box::new(Status::unavailable("nobody leads")),
    }
}

fn refused(code: Code, reason: &str, field: String) -> CallError {
    CallError::Refused(Box::new(Refusal {
        code,
        message: String::new(),
        reason: reason.into(),
        metadata: std::collections::BTreeMap::new(),
        violations: match field.as_str() {
            "" => Vec::new(),
            _ => vec![FieldViolation {
                field,
                description: "makes no sense".into(),
            }],
        },
        retry_after: None,
    }))
}

impl Log {
    fn take(&mut self, batch: &v1::ReportRequest) -> Result<v1::ReportResponse, CallError> {
        self.calls += 1;
        self.largest = self.largest.max(batch.events.len());
        let reply = self.replies.pop_front();
        match &reply {
            Some(Reply::Silence) => return Err(silence()),
            Some(Reply::Refuse(reason, field)) => {
                return Err(refused(Code::FailedPrecondition, reason, (*field).into()));
            }
            Some(Reply::TakeSilently) | None => {}
        }
        if let Some(index) = batch
            .events
            .iter()
            .position(|event| self.malformed.contains(&used(event)))
        {
            return Err(refused(Code::InvalidArgument, "", format!("events[{index}].detail")));
        }
        if batch.incarnation > self.cursor.0 {
            self.cursor = (batch.incarnation, 0);
        }
        for event in &batch.events {
            if event.sequence > self.cursor.1 {
                self.cursor.1 = event.sequence;
                self.taken.push(used(event));
            }
        }
        match reply {
            Some(_) => Err(silence()),
            None => Ok(v1::ReportResponse {
                acknowledged_sequence: self.cursor.1,
            }),
        }
    }
}

impl Receiver for ControlPlane {
    async fn take(&mut self, batch: v1::ReportRequest) -> Result<v1::ReportResponse, CallError> {
        self.0.lock().take(&batch)
    }
}

/// What a control plane that answers like this has taken when the outbox is empty.
async fn report_all(events: u64, replies: &[Reply], malformed: &[u64]) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _) = Outbox::open(&folder.path().join("outbox.db"), Incarnation(1), 10_000).unwrap();
    outbox
        .append(batch((1..=events).map(|used| crossed(1, used))))
        .await
        .unwrap();
    let log = Arc::new(Mutex::new(Log {
        replies: replies.to_vec().into(),
        malformed: malformed.iter().copied().collect(),
        ..Log::default()
    }));
    let mut pending = outbox.pending();
    tokio::select! {
        () = drain(ControlPlane(Arc::clone(&log)), NodeId::new("node-1").unwrap(), &outbox) => panic!("it never ends"),
        emptied = pending.wait_for(|count| *count == 0) => drop(emptied.unwrap()),
    }
    outbox.close();
    std::mem::take(&mut log.lock())
}

// Time stands still but for waits, which take none.
#[tokio::test(start_paused = true)]
async fn a_malformed_event_is_dropped_alone() {
    let log = report_all(1_000, &[], &[3, 500, 501, 1_000]).await;
    let expected: Vec<_> = (1..=1_000)
        .filter(|used| ![3, 500, 501, 1_000].contains(used))
        .collect();
    assert_eq!(log.taken, expected);
    assert_eq!(log.largest, BATCH);
    assert!(log.calls < 120, "{} calls", log.calls);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_was_away_gets_everything_once_and_in_order() {
    let mut replies = vec![Reply::Silence; 200];
    // Nobody heard that these were taken.
    replies.extend([
        Reply::TakeSilently,
        Reply::Silence,
        Reply::TakeSilently,
        Reply::TakeSilently,
    ]);
    replies.extend(vec![Reply::Refuse("REGISTER_FIRST", ""); 3]);
    let log = report_all(500, &replies, &[]).await;
    assert_eq!(log.taken, (1..=500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_not_about_events_drops_none() {
    let replies = vec![Reply::Refuse("INVALID_FIELDS", "node_id"); 5];
    assert_eq!(report_all(300, &replies, &[]).await.taken.len(), 300);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_start_that_is_over_do_not_block_the_others() {
    let replies = [Reply::Refuse("STALE_INCARNATION", "")];
    let log = report_all(450, &replies, &[]).await;
    assert_eq!(log.taken, (201..=450).collect::<Vec<_>>());
}
