//! One member with its thread, on a disk that can be broken.

use std::time::Duration;

use bytes::Bytes;
use tenantry_types::MemberId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bag::id;
use super::key_values::{KeyValues, set};
use crate::raft::node::launch;
use crate::raft::{
    GENESIS, Health, InitialMembers, OutgoingSnapshot, Peers, ProposeError, RaftConfig, RaftHandle, RaftStatus,
    ReadError, Unreachable, bootstrap, open,
};
use crate::storage::{DiskFault, Identity, MemoryDisk, MemoryLogStore, SnapshotFolder};

struct Nobody;

impl Peers for Nobody {
    fn send(&mut self, _to: MemberId, _message: Bytes) -> Result<(), Unreachable> {
        Err(Unreachable)
    }

    fn send_snapshot(&mut self, _snapshot: OutgoingSnapshot) {}
}

fn start(folder: &std::path::Path, disk: &MemoryDisk, list: &str) -> RaftHandle<Option<String>> {
    let initial = InitialMembers::parse(id(1), list).unwrap();
    let fingerprint = initial.fingerprint();
    let mut config = RaftConfig::new(id(1), folder.to_owned(), initial.clone());
    config.tick = Duration::from_millis(5);
    config.storage_retry = Duration::from_millis(20);
    let identity = Identity {
        member: id(1),
        fingerprint,
    };
    let mut store = MemoryLogStore::open(disk.clone(), identity).unwrap();
    let snapshots = SnapshotFolder::open(folder, fingerprint).unwrap();
    let machine = KeyValues::default();
    bootstrap(&config.replica, &mut store, &snapshots, &machine, &initial, GENESIS).unwrap();
    let member = open(config.replica.clone(), store, snapshots, machine).unwrap();
    let nobody = |_: &_| Nobody;
    launch(&config, member, nobody, CancellationToken::new(), TaskTracker::new()).unwrap()
}

async fn until(handle: &RaftHandle<Option<String>>, what: impl FnMut(&RaftStatus) -> bool) {
    let mut status = handle.status();
    tokio::time::timeout(Duration::from_secs(20), status.wait_for(what))
        .await
        .expect("in time")
        .expect("running");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_once_freed_the_member_resumes_without_a_restart() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let handle = start(folder.path(), &disk, "1=a:1");
    until(&handle, RaftStatus::is_leader).await;
    let (first, _) = handle.propose(set("k", "1")).await.unwrap();
    disk.set_fault(DiskFault::Full);
    assert_eq!(handle.propose(set("k", "2")).await, Err(ProposeError::OutcomeUnknown));
    until(&handle, |status| matches!(status.health, Health::StorageFailed { .. })).await;
    assert!(matches!(
        handle.propose(set("k", "3")).await,
        Err(ProposeError::Unavailable { reason }) if reason.contains("append")  || reason.contains("open")
    ));
    let deadline = Instant::now() + Duration::from_secs(5);
    assert!(matches!(
        handle.read_index(deadline).await,
        Err(ReadError::Unavailable { .. })
    ));
    disk.set_fault(DiskFault::None);
    until(&handle, RaftStatus::is_leader).await;
    let (second, before) = handle.propose(set("k", "4")).await.unwrap();
    assert_eq!(before.as_deref(), Some("1"));
    assert!(second > first);
    handle.stop().await;
    assert_eq!(handle.status().borrow().health, Health::Stopped);
    assert_eq!(handle.propose(set("k", "5")).await, Err(ProposeError::Stopped));
}

#[tokio::test]
async fn a_fatal_error_is_in_the_status_and_callers_are_answered() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let handle = start(folder.path(), &disk, "1=a:1");
    until(&handle, RaftStatus::is_leader).await;
    let outcome = handle.propose(Bytes::from_static(b"nonsense")).await;
    assert_eq!(outcome, Err(ProposeError::OutcomeUnknown));
    until(
        &handle,
        |status| matches!(&status.health, Health::Fatal { reason } if reason.contains("unknown command")),
    )
    .await;
}

#[tokio::test]
async fn a_panic_of_the_raft_thread_is_in_the_status() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let handle = start(folder.path(), &disk, "1=a:1");
    until(&handle, RaftStatus::is_leader).await;
    // The test machine unwraps what is not text.
    let outcome = handle.propose(Bytes::from_static(b"\xff")).await;
    assert_eq!(outcome, Err(ProposeError::OutcomeUnknown));
    until(
        &handle,
        |status| matches!(&status.health, Health::Fatal { reason } if reason.contains("panicked")),
    )
    .await;
    handle.stop().await;
}

#[tokio::test]
async fn without_a_majority_nothing_is_promised() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let handle = start(folder.path(), &disk, "1=a:1,2=b:1");
    let outcome = handle.propose(set("k", "1")).await;
    assert_eq!(outcome, Err(ProposeError::NotLeader { leader: None }));
    let deadline = Instant::now() + Duration::from_millis(30);
    assert_eq!(handle.read_index(deadline).await, Err(ReadError::DeadlineExceeded));
    let large = Bytes::from(vec![0; 2 * 1024 * 1024]);
    assert!(matches!(
        handle.propose(large).await,
        Err(ProposeError::TooLarge { .. })
    ));
    handle.stop().await;
}

#[tokio::test]
async fn many_callers_are_answered_while_a_snapshot_is_taken() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let handle = start(folder.path(), &disk, "1=a:1");
    until(&handle, RaftStatus::is_leader).await;
    // A leader has something new to snapshot once its first entry is applied.
    handle.propose(set("k", "first")).await.unwrap();
    let calls = (0..500).map(|n| {
        let handle = handle.clone();
        async move { handle.propose(set("k", &n.to_string())).await }
    });
    let (outcomes, snapshot) = tokio::join!(futures_util::future::join_all(calls), handle.take_snapshot());
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(snapshot.unwrap().get() > 1);
    let last = outcomes.into_iter().map(|outcome| outcome.unwrap().0).max().unwrap();
    let again = handle.take_snapshot().await.unwrap();
    assert!(again >= last);
    assert_eq!(
        handle.take_snapshot().await,
        Ok(again),
        "nothing new, the newest will do"
    );
    handle.stop().await;
}
